//! The side-by-side part of a landing: files are read, lines decoded, messages turned into rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use chrono::Utc;
use engine::lake::Location;
use object_store::ObjectMeta;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dead_letters::{self, DeadLetter};
use super::decode;
use super::transform::{Transform, Transformed};
use crate::declaration::Topic;
use crate::error::Error;
use crate::source::files::{self, Block, Content};

/// Files that are read at the same time.
const READERS: usize = 4;

/// What became of one block.
#[derive(Debug)]
pub(crate) struct Processed {
    /// Rows by table, in the topic's order.
    pub(crate) rows: Vec<Vec<RecordBatch>>,
    pub(crate) refused: Vec<DeadLetter>,
    pub(crate) repeated: u64,
    pub(crate) bytes: u64,
    pub(crate) ends_file: bool,
}

/// The tasks that read and process. Blocks in flight are bounded: a reader waits when the decoders are
/// behind, and they wait when the coordinator commits.
#[derive(Debug)]
pub(crate) struct Workers(JoinSet<Result<(), Error>>);

impl Workers {
    /// Starts reading `found`, files of `place`; what becomes of them arrives at the receiver. Reading stops
    /// at the next block after `shutdown`.
    pub(crate) async fn start(
        topic: &Arc<Topic>,
        place: &Location,
        found: Vec<ObjectMeta>,
        shutdown: &CancellationToken,
    ) -> Result<(Self, mpsc::Receiver<Result<Processed, Error>>), Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (block_sender, block_receiver) = mpsc::channel(1);
        let (sender, receiver) = mpsc::channel(1);
        let blocks = Arc::new(Mutex::new(block_receiver));
        let (found, next) = (Arc::new(found), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..READERS {
            let (found, next) = (Arc::clone(&found), Arc::clone(&next));
            let (place, blocks, shutdown) = (place.clone(), block_sender.clone(), shutdown.clone());
            tasks.spawn(async move {
                while let Some(file) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        read = files::read(&place, file, &blocks) => read?,
                    }
                }
                Ok(())
            });
        }
        for _ in 0..cores {
            let transform = Transform::new(topic).await?;
            let (topic, blocks, sender) = (Arc::clone(topic), Arc::clone(&blocks), sender.clone());
            tasks.spawn(async move {
                while let Some(block) = next_block(&blocks).await {
                    let processed = process(&topic, &transform, block).await;
                    if sender.send(processed).await.is_err() {
                        break;
                    }
                }
                Ok(())
            });
        }
        Ok((Self(tasks), receiver))
    }

    /// Waits for all tasks; the first error of any of them is the outcome.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        while let Some(ended) = self.0.join_next().await {
            ended.map_err(Error::Task)??;
        }
        Ok(())
    }
}

async fn next_block(blocks: &Mutex<mpsc::Receiver<Block>>) -> Option<Block> {
    blocks.lock().await.recv().await
}

async fn process(topic: &Topic, transform: &Transform, block: Block) -> Result<Processed, Error> {
    let (bytes, ends_file) = (block.bytes, matches!(block.content, Content::End));
    let mut decoded = decode::block(topic, block, Utc::now()).map_err(|source| Error::Encode {
        table: dead_letters::table_name(),
        source: source.into(),
    })?;
    let Transformed { rows, refused } = transform.apply(&decoded.messages).await;
    let mut letters = std::mem::take(&mut decoded.refused);
    letters.extend(
        refused
            .into_iter()
            .map(|(index, reason, detail)| decoded.letter(index, &reason, detail)),
    );
    Ok(Processed {
        rows,
        refused: letters,
        repeated: decoded.repeated,
        bytes,
        ends_file,
    })
}
