//! Prepared statements, which the service keeps between requests: bounded in number, bytes and age.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bytes::Bytes;
use uuid::Uuid;

use crate::error::Error;
use crate::statements::statement::{Statement, StatementId};

/// Idle time after which a prepared statement is dropped.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Limit of the bytes of all texts and values together.
const BYTES_MAX: usize = 64 << 20;

/// The prepared statements of all clients.
#[derive(Debug)]
pub(crate) struct PreparedStatements {
    count_max: usize,
    stored: Mutex<HashMap<Uuid, StoredStatement>>,
}

#[derive(Debug)]
struct StoredStatement {
    statement: Statement,
    /// [`Statement::bytes`], which evictions add up.
    bytes: usize,
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
    pub(crate) fn add(&self, statement: Statement, now: Instant) -> Bytes {
        let handle = Uuid::new_v4();
        let mut stored = self.lock();
        stored.insert(
            handle,
            StoredStatement {
                bytes: statement.bytes(),
                statement,
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
        values: Option<RecordBatch>,
        now: Instant,
    ) -> Result<(), Error> {
        let mut stored = self.lock();
        let found = find(&mut stored, handle, now)?;
        found.used = now;
        found.statement.values = values;
        found.bytes = found.statement.bytes();
        self.evict(&mut stored, now);
        Ok(())
    }

    /// A statement to describe or to execute, with an id of its own: each execution of a prepared
    /// statement is cancelled alone.
    pub(crate) fn get(&self, handle: &[u8], now: Instant) -> Result<Statement, Error> {
        let mut stored = self.lock();
        let found = find(&mut stored, handle, now)?;
        found.used = now;
        Ok(Statement {
            id: StatementId::random(),
            ..found.statement.clone()
        })
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
        let mut bytes: usize = stored.values().map(|stored| stored.bytes).sum();
        while stored.len() > self.count_max || (bytes > BYTES_MAX && stored.len() > 1) {
            let oldest = stored.iter().min_by_key(|(_, stored)| stored.used);
            let Some(handle) = oldest.map(|(handle, _)| *handle) else {
                return;
            };
            bytes -= stored.remove(&handle).map_or(0, |stored| stored.bytes);
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
) -> Result<&'a mut StoredStatement, Error> {
    let handle = Uuid::from_slice(handle).ok();
    handle
        .and_then(|handle| stored.get_mut(&handle))
        .filter(|stored| !stored.is_expired(now))
        .ok_or(Error::NoSuchPreparedStatement)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    fn statement(text: &str) -> Statement {
        Statement::new("test", text)
    }

    #[test]
    fn statement_is_stored_until_it_is_closed() {
        let (statements, now) = (PreparedStatements::new(10), Instant::now());
        let handle = statements.add(statement("SELECT $1"), now);
        let column: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let values = RecordBatch::try_from_iter([("1", column)]).expect("a row");
        let bound = statements.bind(&handle, Some(values.clone()), now);
        bound.expect("known");
        let [first, second] = [0, 1].map(|_| statements.get(&handle, now).expect("known"));
        assert_eq!(first.values, Some(values));
        assert_ne!(first.id, second.id);
        statements.close(&handle);
        assert!(statements.get(&handle, now).is_err());
        assert!(statements.get(b"no handle", now).is_err());
    }

    #[test]
    fn statements_are_bounded_in_number_age_and_bytes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let statements = PreparedStatements::new(2);
        let first = statements.add(statement("1"), at(0));
        let second = statements.add(statement("2"), at(1));
        statements
            .get(&first, at(2))
            .expect("used, so younger than the second");
        let third = statements.add(statement("3"), at(3));
        assert!(statements.get(&second, at(4)).is_err());
        assert!(statements.get(&first, at(4)).is_ok());

        let late = at(4) + AGE_MAX;
        assert!(
            statements.get(&third, late).is_err(),
            "before anything is evicted"
        );
        statements.add(statement("4"), late);
        assert!(statements.get(&third, late).is_err());

        let large_store = PreparedStatements::new(1000);
        let large = || statement(&"x".repeat(BYTES_MAX / 2));
        let (a, _, c) = (
            large_store.add(large(), at(0)),
            large_store.add(large(), at(1)),
            large_store.add(large(), at(2)),
        );
        assert!(large_store.get(&a, at(3)).is_err() && large_store.get(&c, at(3)).is_ok());
    }
}
