//! The way of blocks from a source to those who decode them.
//!
//! Blocks of a source with an order are accepted in that order, so that those behind a slow one wait. All that are on their
//! way are bounded therefore, and not only those that nobody has taken yet: a source waits for a place before it sends.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Block;

/// Where a source sends what it reads. Clones share the places.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    sender: mpsc::Sender<Sent>,
    places: Arc<Semaphore>,
}

/// A block on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) block: Block,
    pub(crate) place: Place,
}

/// The place of a block among those that are on their way. It is free again once this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Nobody receives any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unheard;

/// One of those who take blocks. When one has ended, also by a panic, nobody waits for a place any more: the one that its
/// block had might never be free again.
#[derive(Debug)]
pub(crate) struct Taker {
    places: Arc<Semaphore>,
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.places.close();
    }
}

/// A way for so many blocks at a time.
pub(crate) fn way(places: usize) -> (Blocks, mpsc::Receiver<Sent>) {
    let (sender, receiver) = mpsc::channel(1);
    let places = Arc::new(Semaphore::new(places));
    (Blocks { sender, places }, receiver)
}

impl Blocks {
    pub(crate) fn taker(&self) -> Taker {
        Taker {
            places: Arc::clone(&self.places),
        }
    }

    /// Sends a block as soon as there is a place.
    ///
    /// # Errors
    /// When nobody receives any more.
    pub(crate) async fn send(&self, block: Block) -> Result<(), Unheard> {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        let place = Place {
            _permit: permit.map_err(|_| Unheard)?,
        };
        let sent = self.sender.send(Sent { block, place }).await;
        sent.map_err(|_| Unheard)
    }

    /// The same from a thread that may wait. It is one of the runtime's.
    pub(crate) fn send_blocking(&self, block: Block) -> Result<(), Unheard> {
        Handle::current().block_on(self.send(block))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::super::Gathered;
    use super::{Block, Unheard, way};

    fn block() -> Block {
        Block::Records(Gathered::new("test").seal())
    }

    #[tokio::test]
    async fn blocks_behind_a_slow_one_are_no_more_than_there_are_places() {
        let (blocks, mut receiver) = way(3);
        let mut behind = Vec::new();
        blocks.send(block()).await.expect("sent");
        let slow = receiver.recv().await.expect("received").place;
        for _ in 0..2 {
            blocks.send(block()).await.expect("sent");
            behind.push(receiver.recv().await.expect("received").place);
        }
        // Somebody receives, and there is no place all the same.
        let mut next = pin!(blocks.send(block()));
        assert!(futures::poll!(next.as_mut()).is_pending());
        drop(slow);
        next.await.expect("sent");
        assert_eq!(behind.len(), 2);
    }

    #[tokio::test]
    async fn a_source_does_not_wait_for_a_place_that_nobody_will_free() {
        let (blocks, mut receiver) = way(1);
        let taker = blocks.taker();
        blocks.send(block()).await.expect("sent");
        let lost = receiver.recv().await.expect("received").place;
        let mut next = pin!(blocks.send(block()));
        assert!(futures::poll!(next.as_mut()).is_pending());
        drop(taker);
        assert_eq!(next.await, Err(Unheard));
        drop(lost);
        let (blocks, receiver) = way(1);
        drop(receiver);
        assert_eq!(blocks.send(block()).await, Err(Unheard));
    }
}
