//! The side-by-side part of a landing: files are read, lines decoded, messages turned into rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use chrono::Utc;
use engine::lake::Location;
use object_store::path::Path;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dead_letters::{self, DeadLetter};
use super::decode;
use super::transform::{Transform, Transformed};
use crate::declaration::Topic;
use crate::error::Error;
use crate::source::files::{self, Block, Content, Tail};
use crate::source::watch::Chosen;

/// Files that are read at the same time.
///
/// Most of the time of a small file on HDFS is spent waiting: for the NameNode, and for a connection to a DataNode.
const READERS: usize = 16;

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
pub(crate) struct Workers(JoinSet<Vec<Path>>);

impl Workers {
    /// Starts reading `chosen`, files of `place`; what becomes of them arrives at the receiver, and so does the first
    /// error. Reading stops at the next block after `shutdown`.
    pub(crate) async fn start(
        topic: &Arc<Topic>,
        place: &Location,
        chosen: Vec<Chosen>,
        shutdown: &CancellationToken,
    ) -> Result<(Self, mpsc::Receiver<Result<Processed, Error>>), Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (block_sender, block_receiver) = mpsc::channel(1);
        let (sender, receiver) = mpsc::channel(1);
        let blocks = Arc::new(Mutex::new(block_receiver));
        let (chosen, next) = (Arc::new(chosen), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..READERS.min(chosen.len()) {
            let reader = Reader {
                place: place.clone(),
                chosen: Arc::clone(&chosen),
                next: Arc::clone(&next),
                blocks: block_sender.clone(),
            };
            let (sender, shutdown) = (sender.clone(), shutdown.clone());
            tasks.spawn(async move {
                let mut held = Vec::new();
                let read = tokio::select! {
                    () = shutdown.cancelled() => Ok(()),
                    read = reader.run(&mut held) => read,
                };
                if let Err(error) = read {
                    // Nobody receives any more when another error came first.
                    let _ = sender.send(Err(error)).await;
                }
                held
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
                Vec::new()
            });
        }
        Ok((Self(tasks), receiver))
    }

    /// Waits for all tasks. Yields the files whose last line may still grow and was left out.
    pub(crate) async fn finish(mut self) -> Result<Vec<Path>, Error> {
        let mut held = Vec::new();
        while let Some(ended) = self.0.join_next().await {
            held.extend(ended.map_err(Error::Task)?);
        }
        Ok(held)
    }
}

/// One of those that share the files out among themselves.
struct Reader {
    place: Location,
    chosen: Arc<Vec<Chosen>>,
    /// The next file that nobody has taken.
    next: Arc<AtomicUsize>,
    blocks: mpsc::Sender<Block>,
}

impl Reader {
    async fn run(&self, held: &mut Vec<Path>) -> Result<(), Error> {
        while let Some(file) = self.chosen.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            match files::read(&self.place, file, &self.blocks).await? {
                Tail::Read => {}
                Tail::Held => held.push(file.meta.location.clone()),
            }
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
