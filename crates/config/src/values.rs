//! The values of all keys on their way from the layers to the checked configuration.

use std::collections::BTreeMap;

use super::keys::{Fallback, KEYS, Key};
use super::origin::Origin;
use super::value::Value;

/// A value and where it came from; none when the key is not set, or wrongly.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Option<Value>,
    pub(crate) origin: Origin,
}

/// One entry a key.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, Entry>);

impl Values {
    pub(crate) fn is_set(&self, key: &Key) -> bool {
        self.0.contains_key(key.name)
    }

    pub(crate) fn set(&mut self, key: &Key, entry: Entry) {
        self.0.insert(key.name, entry);
    }

    /// Gives every key that no layer set its default.
    pub(crate) fn fill(&mut self) {
        for key in KEYS {
            self.0.entry(key.name).or_insert_with(|| {
                let value = match key.fallback {
                    Fallback::Value(text) => {
                        Some(key.kind.parse(text).expect("a test reads every default"))
                    }
                    Fallback::Unset(_) => None,
                };
                Entry {
                    value,
                    origin: Origin::Default,
                }
            });
        }
    }

    pub(crate) fn entry(&self, name: &str) -> &Entry {
        self.0
            .get(name)
            .expect("every name that the code uses is in the table of keys")
    }

    pub(crate) fn entry_mut(&mut self, name: &str) -> &mut Entry {
        self.0
            .get_mut(name)
            .expect("every name that the code uses is in the table of keys")
    }

    /// Takes the value out, so that a test can see that each is used.
    pub(crate) fn optional<T: TryFrom<Value>>(&mut self, name: &str) -> Option<T> {
        let entry = self
            .0
            .remove(name)
            .expect("every name that the code uses is in the table of keys, once");
        entry.value.map(|value| {
            T::try_from(value)
                .ok()
                .expect("a key's kind gives the type of its field")
        })
    }

    pub(crate) fn take<T: TryFrom<Value>>(&mut self, name: &str) -> T {
        self.optional(name)
            .expect("a key with a default has a value")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn optional_number<T: TryFrom<u64>>(&mut self, name: &str) -> Option<T> {
        let number = self.optional::<u64>(name)?;
        let number = T::try_from(number).ok();
        Some(number.expect("a key's bounds fit the type of its field"))
    }

    pub(crate) fn number<T: TryFrom<u64>>(&mut self, name: &str) -> T {
        T::try_from(self.take::<u64>(name))
            .ok()
            .expect("a key's bounds fit the type of its field")
    }
}
