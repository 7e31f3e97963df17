//! The names of the variables that mean something here.

use crate::keys::{KEYS, Key, VARIABLE_PREFIX};

/// The variable that names the configuration file.
pub(crate) const CONFIG_VARIABLE: &str = "ISOBAR_CONFIG";

/// Behind the name of a secret's variable: the value is the path of a file that holds the secret.
pub(crate) const FILE_SUFFIX: &str = "_FILE";

/// Whether a variable of this name means something here.
pub(crate) fn is_ours(name: &str) -> bool {
    let older = |key: &Key| {
        key.older
            .is_some_and(|older| match name.strip_prefix(older) {
                Some("") => true,
                Some(suffix) => key.is_secret() && suffix == FILE_SUFFIX,
                None => false,
            })
    };
    name == CONFIG_VARIABLE || name.starts_with(VARIABLE_PREFIX) || KEYS.iter().any(older)
}
