//! The bounded channel of blocks from a source to the decoders.
//!
//! A permit is held until the coordinator has applied the block, so the bound covers queued,
//! decoding and reordered blocks alike. The capacity of the channel alone would not: blocks of an
//! ordered source are applied in order, and those behind a slow one would pile up.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Block;

/// The sending side. Clones share the permits.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    sender: mpsc::Sender<InFlight>,
    permits: Arc<Semaphore>,
}

/// A block that is not applied yet.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The block.
    pub(crate) block: Block,
    /// Its permit, dropped once the block is applied.
    pub(crate) permit: Permit,
}

/// The right of one block to be in flight. Dropping it lets the source send another block.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// The error of sending when the receiver is closed, or a consumer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Held by each task that receives blocks. Dropping it, also by a panic, closes the channel: the
/// block of that task is never applied, blocks that were read after it keep their permits while
/// they wait for it, and the source would wait for a permit for ever.
#[derive(Debug)]
pub(crate) struct ConsumerGuard {
    permits: Arc<Semaphore>,
}

impl Drop for ConsumerGuard {
    fn drop(&mut self) {
        self.permits.close();
    }
}

/// A channel with at most `limit` blocks in flight.
pub(crate) fn bounded_channel(limit: usize) -> (Blocks, mpsc::Receiver<InFlight>) {
    let (sender, receiver) = mpsc::channel(1);
    let permits = Arc::new(Semaphore::new(limit));
    (Blocks { sender, permits }, receiver)
}

impl Blocks {
    /// A guard for one task that receives blocks.
    pub(crate) fn consumer_guard(&self) -> ConsumerGuard {
        ConsumerGuard {
            permits: Arc::clone(&self.permits),
        }
    }

    /// Waits for a permit, and sends a block.
    ///
    /// # Errors
    /// When the receiver is closed, or a consumer has ended.
    pub(crate) async fn send(&self, block: Block) -> Result<(), Closed> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = Permit {
            _permit: permit.map_err(|_| Closed)?,
        };
        let sent = self.sender.send(InFlight { block, permit }).await;
        sent.map_err(|_| Closed)
    }

    /// [`Self::send`] from a thread of `spawn_blocking`.
    pub(crate) fn send_blocking(&self, block: Block) -> Result<(), Closed> {
        Handle::current().block_on(self.send(block))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::{Block, Closed, bounded_channel};
    use connections::records::RecordsBuilder;

    fn block() -> Block {
        Block::Records(RecordsBuilder::new("test").seal())
    }

    #[tokio::test]
    async fn permits_bound_blocks_behind_a_slow_one() {
        let (blocks, mut receiver) = bounded_channel(3);
        let mut behind = Vec::new();
        blocks.send(block()).await.expect("sent");
        let slow = receiver.recv().await.expect("received").permit;
        for _ in 0..2 {
            blocks.send(block()).await.expect("sent");
            behind.push(receiver.recv().await.expect("received").permit);
        }
        // The channel is empty, and all permits are held.
        let mut next = pin!(blocks.send(block()));
        assert!(futures::poll!(next.as_mut()).is_pending());
        drop(slow);
        next.await.expect("sent");
        assert_eq!(behind.len(), 2);
    }

    #[tokio::test]
    async fn send_fails_once_a_consumer_has_ended() {
        let (blocks, mut receiver) = bounded_channel(1);
        let guard = blocks.consumer_guard();
        blocks.send(block()).await.expect("sent");
        let lost = receiver.recv().await.expect("received").permit;
        let mut next = pin!(blocks.send(block()));
        assert!(futures::poll!(next.as_mut()).is_pending());
        drop(guard);
        assert_eq!(next.await, Err(Closed));
        drop(lost);
        let (blocks, receiver) = bounded_channel(1);
        drop(receiver);
        assert_eq!(blocks.send(block()).await, Err(Closed));
    }
}
