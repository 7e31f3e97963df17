//! Whether the storage answers, for the readiness of a service.

use std::sync::Arc;

use service::readiness::Readiness;

use crate::store::{Failure, Location};

/// Ready when the storage of `location` answers, even without tables.
pub fn storage_ready(location: &Location) -> Readiness {
    let location = location.clone();
    Arc::new(move || {
        let location = location.clone();
        Box::pin(async move {
            let listed = location.directories().await;
            listed.map(drop).map_err(|error| Failure::chain(&error))
        })
    })
}
