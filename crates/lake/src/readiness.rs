//! Whether the storage answers, for the readiness of a service.

use std::sync::Arc;

use service::readiness::Readiness;
use service::{error_chain, error_chain_led_by};

use crate::store::{Failure, Location};

/// Ready when the storage of `location` answers, even without tables.
pub fn storage_ready(location: &Location) -> Readiness {
    let location = location.clone();
    Arc::new(move || {
        let location = location.clone();
        Box::pin(async move {
            let listed = location.directories().await;
            listed
                .map(drop)
                .map_err(|error| match Failure::find(&error) {
                    Some(failure) => error_chain_led_by(failure, &error),
                    None => error_chain(&error),
                })
        })
    })
}
