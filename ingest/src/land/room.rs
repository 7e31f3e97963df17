//! What landings that run side by side share, so that together they stay within the bounds of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::Limits;

/// Lots that are encoded at the same time. More only take memory.
const LOTS: usize = 3;

/// The room of all landings that hold a clone of it.
#[derive(Clone, Debug)]
pub struct Room {
    held: Arc<Held>,
    /// For rows that are being encoded.
    pub(super) lots: Arc<Semaphore>,
    /// For the commits to the table that landings of several topics share: taking turns, none has to try again
    /// because of another.
    pub(super) turn: Arc<Semaphore>,
}

/// What has come and is not committed yet, of all landings.
#[derive(Debug, Default)]
struct Held {
    landings: AtomicUsize,
    rows: AtomicUsize,
    bytes: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            held: Arc::default(),
            lots: Arc::new(Semaphore::new(LOTS)),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Room {
    /// One more landing shares the room, until what is returned is dropped.
    pub(super) fn enter(&self) -> Guest {
        self.held.landings.fetch_add(1, Ordering::Relaxed);
        Guest(self.clone())
    }
}

/// A landing that shares a room.
#[derive(Debug)]
pub(super) struct Guest(Room);

impl Guest {
    /// For what will be committed together; it is empty.
    pub(super) fn hand(&self) -> Hand {
        Hand {
            held: Arc::clone(&self.0.held),
            rows: 0,
            bytes: 0,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.held.landings.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much one landing has for one commit. Dropped, it is committed, or will come again.
#[derive(Debug)]
pub(super) struct Hand {
    held: Arc<Held>,
    rows: usize,
    bytes: u64,
}

impl Hand {
    pub(super) fn add_rows(&mut self, rows: usize) {
        self.rows += rows;
        self.held.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Bytes of messages.
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.held.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Nothing has come, and what follows counts here.
    pub(super) fn anew(&self) -> Self {
        Self {
            held: Arc::clone(&self.held),
            rows: 0,
            bytes: 0,
        }
    }

    /// Whether it is time to commit: all landings together hold as much as one may, and this one its part of it.
    ///
    /// So a busy topic beside quiet ones has all the room. While the whole is full somebody has his part, and
    /// commits; who has less may fill up to his part, and what is being committed counts until it is.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        let landings = self.held.landings.load(Ordering::Relaxed).max(1);
        let (rows, bytes) = (
            self.held.rows.load(Ordering::Relaxed),
            self.held.bytes.load(Ordering::Relaxed),
        );
        (rows >= limits.rows_max && self.rows >= limits.rows_max.div_ceil(landings))
            || (bytes >= limits.bytes_max
                && self.bytes >= limits.bytes_max.div_ceil(landings as u64))
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.held.rows.fetch_sub(self.rows, Ordering::Relaxed);
        self.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Limits, Room};

    const LIMITS: Limits = Limits {
        rows_max: 100,
        bytes_max: 1_000,
        interval: Duration::from_secs(60),
    };

    #[test]
    fn a_landing_alone_has_all_the_room() {
        let room = Room::default();
        let guest = room.enter();
        let mut hand = guest.hand();
        hand.add_rows(99);
        hand.add_bytes(999);
        assert!(!hand.is_full(&LIMITS));
        hand.add_bytes(1);
        assert!(hand.is_full(&LIMITS));
        let mut next = hand.anew();
        next.add_rows(99);
        assert!(!next.is_full(&LIMITS), "the one before is being committed");
        next.add_rows(1);
        assert!(next.is_full(&LIMITS));
    }

    #[test]
    fn the_one_that_has_its_part_commits_when_the_whole_is_full() {
        let room = Room::default();
        let guests = [room.enter(), room.enter()];
        let [mut busy, mut quiet] = [guests[0].hand(), guests[1].hand()];
        quiet.add_bytes(10);
        busy.add_bytes(980);
        assert!(!busy.is_full(&LIMITS) && !quiet.is_full(&LIMITS));
        busy.add_bytes(10);
        assert!(busy.is_full(&LIMITS) && !quiet.is_full(&LIMITS));
        drop(busy);
        quiet.add_bytes(600);
        assert!(!quiet.is_full(&LIMITS), "the room is free again");
        let [busy, _quiet_one] = guests;
        drop(busy);
        quiet.add_bytes(390);
        assert!(quiet.is_full(&LIMITS));
    }
}
