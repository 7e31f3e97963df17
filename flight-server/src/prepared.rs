//! Prepared statements: the one thing that is kept between requests, in a bounded number, for a bounded time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;

use crate::parameters;

/// Idle time after which a prepared statement is dropped.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Most bytes of all texts and values together.
const BYTES_MAX: usize = 64 << 20;

/// A text and the values bound to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    pub(crate) parameters: Bytes,
    /// Time that its preparation took, see [`crate::budget`].
    pub(crate) spent: Duration,
}

impl Prepared {
    /// What a client wrote, without values.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: parameters::numbered(text),
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
pub(crate) struct Statements {
    count_max: usize,
    kept: Mutex<HashMap<Uuid, Kept>>,
}

#[derive(Debug)]
struct Kept {
    prepared: Prepared,
    used: Instant,
}

impl Statements {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            count_max,
            kept: Mutex::default(),
        }
    }

    /// Keeps a statement and returns its handle.
    pub(crate) fn add(&self, prepared: Prepared, now: Instant) -> Bytes {
        let handle = Uuid::new_v4();
        let mut kept = self.lock();
        kept.insert(
            handle,
            Kept {
                prepared,
                used: now,
            },
        );
        self.forget(&mut kept, now);
        Bytes::copy_from_slice(handle.as_bytes())
    }

    /// Binds values to a statement, in place of those bound before.
    pub(crate) fn bind(
        &self,
        handle: &[u8],
        parameters: Bytes,
        now: Instant,
    ) -> Result<(), Status> {
        let mut kept = self.lock();
        let found = find(&mut kept, handle)?;
        found.used = now;
        found.prepared.parameters = parameters;
        self.forget(&mut kept, now);
        Ok(())
    }

    pub(crate) fn get(&self, handle: &[u8], now: Instant) -> Result<Prepared, Status> {
        let mut kept = self.lock();
        let found = find(&mut kept, handle)?;
        found.used = now;
        Ok(found.prepared.clone())
    }

    /// Forgets a statement; one that is not known is forgotten already.
    pub(crate) fn close(&self, handle: &[u8]) {
        if let Ok(handle) = Uuid::from_slice(handle) {
            self.lock().remove(&handle);
        }
    }

    /// Makes room: first what is too old, then what was unused for the longest time.
    fn forget(&self, kept: &mut HashMap<Uuid, Kept>, now: Instant) {
        kept.retain(|_, kept| now.duration_since(kept.used) < AGE_MAX);
        let mut bytes: usize = kept.values().map(|kept| kept.prepared.bytes()).sum();
        while kept.len() > self.count_max || (bytes > BYTES_MAX && kept.len() > 1) {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some(handle) = oldest.map(|(handle, _)| *handle) else {
                return;
            };
            bytes -= kept.remove(&handle).map_or(0, |kept| kept.prepared.bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<'a>(kept: &'a mut HashMap<Uuid, Kept>, handle: &[u8]) -> Result<&'a mut Kept, Status> {
    let handle = Uuid::from_slice(handle).ok();
    handle
        .and_then(|handle| kept.get_mut(&handle))
        .ok_or_else(|| {
            Status::not_found("there is no such prepared statement (any more): prepare it again")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_kept_until_it_is_closed() {
        let (statements, now) = (Statements::new(10), Instant::now());
        let handle = statements.add(Prepared::new("SELECT $1"), now);
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
    fn there_is_an_end_to_number_age_and_bytes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let statements = Statements::new(2);
        let first = statements.add(Prepared::new("1"), at(0));
        let second = statements.add(Prepared::new("2"), at(1));
        statements
            .get(&first, at(2))
            .expect("used, so younger than the second");
        let third = statements.add(Prepared::new("3"), at(3));
        assert!(statements.get(&second, at(4)).is_err());
        assert!(statements.get(&first, at(4)).is_ok());

        let late = at(4) + AGE_MAX;
        statements.add(Prepared::new("4"), late);
        assert!(statements.get(&third, late).is_err());

        let roomy = Statements::new(1000);
        let large = || Prepared::new(&"x".repeat(BYTES_MAX / 2));
        let (a, _, c) = (
            roomy.add(large(), at(0)),
            roomy.add(large(), at(1)),
            roomy.add(large(), at(2)),
        );
        assert!(roomy.get(&a, at(3)).is_err() && roomy.get(&c, at(3)).is_ok());
    }
}
