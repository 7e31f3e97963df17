//! Prepared statements, which the server keeps between requests: bounded in number, bytes and age.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;

use crate::statements::parameters;

/// Idle time after which a prepared statement is dropped.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Limit of the bytes of all texts and values together.
const BYTES_MAX: usize = 64 << 20;

/// The text of a statement and the values bound to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PreparedStatement {
    /// The text, with numbered placeholders.
    pub(crate) text: String,
    /// The encoded values of its parameters; empty when none are bound.
    pub(crate) parameters: Bytes,
    /// Time that its preparation took, see [`crate::execution::budget`].
    pub(crate) spent: Duration,
}

impl PreparedStatement {
    /// The statement that a client sent, without values.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: parameters::number_placeholders(text),
            parameters: Bytes::new(),
            spent: Duration::ZERO,
        }
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.parameters.len()
    }
}

/// The prepared statements of all clients.
#[derive(Debug)]
pub(crate) struct PreparedStatements {
    count_max: usize,
    stored: Mutex<HashMap<Uuid, StoredStatement>>,
}

#[derive(Debug)]
struct StoredStatement {
    prepared: PreparedStatement,
    used: Instant,
}

impl StoredStatement {
    fn is_expired(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= AGE_MAX
    }
}

impl PreparedStatements {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            count_max,
            stored: Mutex::default(),
        }
    }

    /// Stores a statement, and returns its handle.
    pub(crate) fn add(&self, prepared: PreparedStatement, now: Instant) -> Bytes {
        let handle = Uuid::new_v4();
        let mut stored = self.lock();
        stored.insert(
            handle,
            StoredStatement {
                prepared,
                used: now,
            },
        );
        self.evict(&mut stored, now);
        Bytes::copy_from_slice(handle.as_bytes())
    }

    /// Binds values to a statement, and replaces earlier ones.
    pub(crate) fn bind(
        &self,
        handle: &[u8],
        parameters: Bytes,
        now: Instant,
    ) -> Result<(), Status> {
        let mut stored = self.lock();
        let found = find(&mut stored, handle, now)?;
        found.used = now;
        found.prepared.parameters = parameters;
        self.evict(&mut stored, now);
        Ok(())
    }

    pub(crate) fn get(&self, handle: &[u8], now: Instant) -> Result<PreparedStatement, Status> {
        let mut stored = self.lock();
        let found = find(&mut stored, handle, now)?;
        found.used = now;
        Ok(found.prepared.clone())
    }

    /// Removes a statement, if it is stored.
    pub(crate) fn close(&self, handle: &[u8]) {
        if let Ok(handle) = Uuid::from_slice(handle) {
            self.lock().remove(&handle);
        }
    }

    /// Removes expired statements, and then the least recently used ones until the limits hold.
    fn evict(&self, stored: &mut HashMap<Uuid, StoredStatement>, now: Instant) {
        stored.retain(|_, stored| !stored.is_expired(now));
        let mut bytes: usize = stored.values().map(|stored| stored.prepared.bytes()).sum();
        while stored.len() > self.count_max || (bytes > BYTES_MAX && stored.len() > 1) {
            let oldest = stored.iter().min_by_key(|(_, stored)| stored.used);
            let Some(handle) = oldest.map(|(handle, _)| *handle) else {
                return;
            };
            bytes -= stored
                .remove(&handle)
                .map_or(0, |stored| stored.prepared.bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, StoredStatement>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<'a>(
    stored: &'a mut HashMap<Uuid, StoredStatement>,
    handle: &[u8],
    now: Instant,
) -> Result<&'a mut StoredStatement, Status> {
    let handle = Uuid::from_slice(handle).ok();
    handle
        .and_then(|handle| stored.get_mut(&handle))
        .filter(|stored| !stored.is_expired(now))
        .ok_or_else(|| {
            Status::not_found("there is no such prepared statement (any more): prepare it again")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_is_stored_until_it_is_closed() {
        let (statements, now) = (PreparedStatements::new(10), Instant::now());
        let handle = statements.add(PreparedStatement::new("SELECT $1"), now);
        let values = Bytes::from_static(b"values");
        statements
            .bind(&handle, values.clone(), now)
            .expect("known");
        assert_eq!(
            statements.get(&handle, now).expect("known").parameters,
            values
        );
        statements.close(&handle);
        assert!(statements.get(&handle, now).is_err());
        assert!(statements.get(b"no handle", now).is_err());
    }

    #[test]
    fn statements_are_bounded_in_number_age_and_bytes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let statements = PreparedStatements::new(2);
        let first = statements.add(PreparedStatement::new("1"), at(0));
        let second = statements.add(PreparedStatement::new("2"), at(1));
        statements
            .get(&first, at(2))
            .expect("used, so younger than the second");
        let third = statements.add(PreparedStatement::new("3"), at(3));
        assert!(statements.get(&second, at(4)).is_err());
        assert!(statements.get(&first, at(4)).is_ok());

        let late = at(4) + AGE_MAX;
        assert!(
            statements.get(&third, late).is_err(),
            "before anything is evicted"
        );
        statements.add(PreparedStatement::new("4"), late);
        assert!(statements.get(&third, late).is_err());

        let large_store = PreparedStatements::new(1000);
        let large = || PreparedStatement::new(&"x".repeat(BYTES_MAX / 2));
        let (a, _, c) = (
            large_store.add(large(), at(0)),
            large_store.add(large(), at(1)),
            large_store.add(large(), at(2)),
        );
        assert!(large_store.get(&a, at(3)).is_err() && large_store.get(&c, at(3)).is_ok());
    }
}
