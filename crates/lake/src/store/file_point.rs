//! The fail points of storing a file, named after the kind of the file.

use service::fail;

/// A step of storing the file at `path` is reached: `step`, a dot, and what kind of file it is.
#[inline]
pub(super) fn file_point(step: &str, path: &str) {
    if fail::IS_ENABLED {
        let kind = if path.ends_with("_last_checkpoint") {
            "last_checkpoint"
        } else if path.contains(".checkpoint.") {
            "checkpoint"
        } else if path.contains("_delta_log/") {
            "log_entry"
        } else {
            "data_file"
        };
        fail::point(&format!("{kind}.{step}"));
    }
}
