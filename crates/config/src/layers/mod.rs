//! What the layers say together: of each key the value of the strongest layer that sets it.

mod dotenv;
mod file;
mod read;
mod sources;
mod variables;

use crate::error::Problem;
use crate::keys::Key;
use crate::origin::Origin;
use crate::value::Raw;
use crate::values::{Entry, Values};
pub use sources::Sources;

/// What all layers together say, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Layers {
    pub(crate) values: Values,
    pub(crate) problems: Vec<Problem>,
}

impl Layers {
    /// Checks and keeps the value unless a stronger layer has set the key: a wrong value that does
    /// not count is no reason to stop, and often a workaround.
    pub(crate) fn offer(&mut self, key: &'static Key, raw: Raw<'_>, origin: Origin) {
        if self.values.is_set(key) {
            return;
        }
        let value = key.kind.check(raw).map_err(|mismatch| {
            self.problems.push(Problem::WrongValue {
                origin: origin.clone(),
                key: key.name,
                written: raw.shown(key.kind),
                expected: key.expected().describe(raw),
                nearest: mismatch.nearest,
            });
        });
        self.values.set(
            key,
            Entry {
                value: value.ok(),
                origin,
            },
        );
    }
}
