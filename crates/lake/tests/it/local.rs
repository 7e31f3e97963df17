//! Where the tests have their lakes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lake::{Lake, StoreOptions, Stores};
use url::Url;

/// The lake in `directory`.
pub(crate) fn lake_in(directory: &Path) -> Arc<Lake> {
    let stores = Stores::new(StoreOptions {
        user: "tester".to_owned(),
        limit: Duration::from_secs(30),
    });
    let url = Url::from_directory_path(directory).expect("a URL");
    Lake::new(&url, stores).expect("a lake")
}
