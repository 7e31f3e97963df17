//! Commits in the background.

use tokio::task::JoinSet;

use super::buffer::Sealed;
use super::reached::Reached;
use super::tables::Tables;
use crate::error::Error;

/// Commits in the background, one sealed buffer at a time, so that the next one fills meanwhile.
#[derive(Debug)]
pub(crate) struct Committer {
    /// Here while nothing is being committed.
    tables: Option<Tables>,
    busy: JoinSet<Result<(Tables, Reached), Error>>,
    pub(crate) commits: u64,
    /// How far the source was read for all that is committed.
    pub(crate) committed: Reached,
}

impl Committer {
    /// Of what was committed before, `committed` is known.
    pub(crate) fn new(tables: Tables, committed: Reached) -> Self {
        Self {
            tables: Some(tables),
            busy: JoinSet::new(),
            commits: 0,
            committed,
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Begins to commit `sealed` once the commit before is done.
    pub(crate) async fn start(&mut self, sealed: Sealed) -> Result<(), Error> {
        self.finish().await?;
        let mut tables = self.tables.take().expect("nothing is being committed");
        self.busy.spawn(async move {
            let reached = sealed.reached.clone();
            tables.commit(sealed).await?;
            Ok((tables, reached))
        });
        Ok(())
    }

    /// Waits until nothing is being committed. A call that is dropped has changed nothing.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        if let Some(ended) = self.busy.join_next().await {
            let (tables, reached) = ended.map_err(Error::Task)??;
            self.tables = Some(tables);
            self.commits += 1;
            self.committed.extend(&reached);
        }
        Ok(())
    }
}
