//! The parallel part of a landing: tasks that read files, decode blocks and transform messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use chrono::Utc;
use lake::Location;
use object_store::path::Path;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::dead_letters::{self, NewDeadLetter};
use crate::declaration::TopicDeclaration;
use crate::error::Error;
use crate::land::decode;
use crate::land::source_progress::SourceProgress;
use crate::land::transform::{Transform, Transformed};
use crate::source::files::{self, Content, FileOutcome};
use crate::source::watch::SelectedFile;
use crate::source::{Block, Blocks, InFlight, Permit, bounded_channel};

/// Files that are read at the same time.
///
/// Reading a small file on HDFS is mostly waiting: for the NameNode, and for a connection to a
/// DataNode.
const READERS: usize = 16;

/// Blocks of a topic in flight, for each core.
const BLOCKS: usize = 2;

/// The result of one block.
#[derive(Debug, Default)]
pub(crate) struct Processed {
    /// Rows by table, in the topic's order.
    pub(crate) rows: Vec<Vec<RecordBatch>>,
    /// Messages that validation or a rule refused.
    pub(crate) refused: Vec<NewDeadLetter>,
    /// Messages with the identity of an earlier message of the block.
    pub(crate) repeated: u64,
    /// Bytes of the messages.
    pub(crate) bytes: u64,
    /// Number of records of Kafka, or rows of PostgreSQL.
    pub(crate) records: u64,
    /// Whether the block is the last one of a file.
    pub(crate) ends_file: bool,
    /// Newest event time of its messages.
    pub(crate) newest_event_us: Option<i64>,
    /// For a source with positions.
    pub(crate) order: Option<BlockOrder>,
    /// Permit of the block, held until the coordinator has applied it.
    pub(crate) permit: Option<Permit>,
}

/// Order of a block of a source with positions.
#[derive(Debug)]
pub(crate) struct BlockOrder {
    /// Number of the block in the order of reading, from 0.
    pub(crate) sequence: u64,
    /// Progress of the source after the block.
    pub(crate) progress: SourceProgress,
}

/// The tasks that decode and transform. A source waits while they are behind, and they wait while
/// the coordinator waits for a commit.
pub(crate) struct Decoders {
    tasks: JoinSet<()>,
    /// Sender for the sources. The decoders end when all its clones are dropped.
    blocks: Blocks,
    /// Sender for errors of the sources, to the receiver of the processed blocks.
    processed: mpsc::Sender<Result<Processed, Error>>,
}

impl Decoders {
    /// Starts one task for each core.
    pub(crate) async fn start(
        topic: &Arc<TopicDeclaration>,
    ) -> Result<(Self, mpsc::Receiver<Result<Processed, Error>>), Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (blocks, receiver) = bounded_channel(BLOCKS * cores);
        let (processed, receiver_of_processed) = mpsc::channel(1);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut tasks = JoinSet::new();
        for _ in 0..cores {
            let transform = Transform::new(topic).await?;
            let guard = blocks.consumer_guard();
            let (topic, blocks, processed) =
                (Arc::clone(topic), Arc::clone(&receiver), processed.clone());
            let decoding = async move {
                let _guard = guard;
                while let Some(InFlight { block, permit }) = next_block(&blocks).await {
                    let mut outcome = process(&topic, &transform, block).await;
                    if let Ok(outcome) = &mut outcome {
                        outcome.permit = Some(permit);
                    }
                    if processed.send(outcome).await.is_err() {
                        break;
                    }
                }
            };
            tasks.spawn(decoding.in_current_span());
        }
        let decoders = Self {
            tasks,
            blocks,
            processed,
        };
        Ok((decoders, receiver_of_processed))
    }

    /// The tasks and their sender, for a source that returns its errors itself. The receiver then
    /// ends after the last block.
    pub(crate) fn into_parts(self) -> (JoinSet<()>, Blocks) {
        (self.tasks, self.blocks)
    }
}

/// Starts to read the files `chosen` of `place` into `decoders`. Reading stops at the next block
/// after `shutdown`.
pub(crate) fn read_files(
    decoders: Decoders,
    place: &Location,
    chosen: Vec<SelectedFile>,
    shutdown: &CancellationToken,
) -> Readers {
    let Decoders {
        tasks: decoders,
        blocks,
        processed,
    } = decoders;
    let (chosen, next) = (Arc::new(chosen), Arc::new(AtomicUsize::new(0)));
    let mut readers = JoinSet::new();
    for _ in 0..READERS.min(chosen.len()) {
        let reader = FileReader {
            place: place.clone(),
            chosen: Arc::clone(&chosen),
            next: Arc::clone(&next),
            blocks: blocks.clone(),
        };
        let (processed, shutdown) = (processed.clone(), shutdown.clone());
        let reading = async move {
            let mut left = UnfinishedFiles::default();
            let read = tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                read = reader.run(&mut left) => read,
            };
            if let Err(error) = read {
                // Fails only if the coordinator has ended, by an earlier error.
                let _ = processed.send(Err(error)).await;
            }
            left
        };
        readers.spawn(reading.in_current_span());
    }
    Readers { readers, decoders }
}

/// Files that were not read to their end.
#[derive(Debug, Default)]
pub(crate) struct UnfinishedFiles {
    /// Files whose last line may still grow, and was left out.
    pub(crate) incomplete: Vec<Path>,
    /// Files that disappeared before they were read.
    pub(crate) vanished: Vec<Path>,
}

/// The tasks that read files, and the decoders. Dropping it stops all of them.
pub(crate) struct Readers {
    readers: JoinSet<UnfinishedFiles>,
    decoders: JoinSet<()>,
}

impl Readers {
    /// Waits until all files are read and decoded.
    pub(crate) async fn finish(mut self) -> Result<UnfinishedFiles, Error> {
        let mut left = UnfinishedFiles::default();
        while let Some(ended) = self.readers.join_next().await {
            let more = ended.map_err(Error::Task)?;
            left.incomplete.extend(more.incomplete);
            left.vanished.extend(more.vanished);
        }
        join_all(self.decoders).await?;
        Ok(left)
    }
}

/// Waits for tasks, and fails when one of them ended early.
pub(crate) async fn join_all(mut tasks: JoinSet<()>) -> Result<(), Error> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Error::Task)?;
    }
    Ok(())
}

/// One of the tasks that share the list of files.
struct FileReader {
    place: Location,
    chosen: Arc<Vec<SelectedFile>>,
    /// Index of the next file in the list.
    next: Arc<AtomicUsize>,
    blocks: Blocks,
}

impl FileReader {
    async fn run(&self, left: &mut UnfinishedFiles) -> Result<(), Error> {
        while let Some(file) = self.chosen.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            match files::read(&self.place, file, &self.blocks).await? {
                FileOutcome::Read => {}
                FileOutcome::Incomplete => left.incomplete.push(file.meta.location.clone()),
                FileOutcome::Vanished => left.vanished.push(file.meta.location.clone()),
            }
        }
        Ok(())
    }
}

async fn next_block(blocks: &Mutex<mpsc::Receiver<InFlight>>) -> Option<InFlight> {
    blocks.lock().await.recv().await
}

async fn process(
    topic: &TopicDeclaration,
    transform: &Transform,
    block: Block,
) -> Result<Processed, Error> {
    let mut processed = Processed::default();
    let decoded = match block {
        Block::Lines(lines) => {
            processed.bytes = lines.bytes;
            processed.ends_file = matches!(lines.content, Content::End);
            decode::lines::decode(topic, lines, Utc::now())
        }
        Block::Records(records) => {
            processed.bytes = records.bytes.len() as u64;
            processed.records = (records.list.len() + records.refused.len()) as u64;
            let decoded = decode::records::decode(topic, &records, Utc::now());
            processed.order = Some(BlockOrder {
                sequence: records.sequence,
                progress: SourceProgress {
                    positions: records.positions,
                    ..SourceProgress::default()
                },
            });
            decoded
        }
    };
    let mut decoded = decoded.map_err(|source| Error::Encode {
        table: dead_letters::table_name(),
        source: source.into(),
    })?;
    processed.newest_event_us = decoded.newest_event_us();
    if let Some(order) = &mut processed.order {
        order.progress.newest_us = decoded.newest_before(&order.progress.positions);
    }
    let Transformed { rows, refused } = transform.apply(&decoded.messages).await;
    let mut dead_letters = std::mem::take(&mut decoded.refused);
    dead_letters.extend(
        refused
            .into_iter()
            .map(|(index, reason, detail)| decoded.dead_letter(index, &reason, detail)),
    );
    processed.rows = rows;
    processed.refused = dead_letters;
    processed.repeated = decoded.repeated;
    Ok(processed)
}
