//! Commits in the background.

use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::error::Error;
use crate::land::commit::buffer::Sealed;
use crate::land::commit::tables::Tables;
use crate::land::source_progress::SourceProgress;

/// Commits one sealed buffer at a time in the background, while the next buffer fills.
#[derive(Debug)]
pub(crate) struct Committer {
    /// None while a commit runs: the task has them.
    tables: Option<Tables>,
    running: JoinSet<Result<(Tables, SourceProgress), Error>>,
    /// Commits that are done; one counts for all tables of the topic.
    pub(crate) commits: u64,
    /// How far the source was read for everything that is committed.
    pub(crate) committed: SourceProgress,
}

impl Committer {
    /// `committed` is what the tables recorded before this landing.
    pub(crate) fn new(tables: Tables, committed: SourceProgress) -> Self {
        Self {
            tables: Some(tables),
            running: JoinSet::new(),
            commits: 0,
            committed,
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Waits for the commit before, and starts to commit `sealed`.
    pub(crate) async fn start(&mut self, sealed: Sealed) -> Result<(), Error> {
        self.finish().await?;
        let mut tables = self.tables.take().expect("nothing is being committed");
        let committing = async move {
            let progress = sealed.progress.clone();
            tables.commit(sealed).await?;
            Ok((tables, progress))
        };
        self.running.spawn(committing.in_current_span());
        Ok(())
    }

    /// Waits until no commit runs. Cancel-safe: dropping the future changes nothing.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        if let Some(ended) = self.running.join_next().await {
            let (tables, progress) = ended.map_err(Error::Task)??;
            self.tables = Some(tables);
            self.commits += 1;
            self.committed.extend(&progress);
        }
        Ok(())
    }
}
