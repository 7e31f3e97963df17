//! Replacement of a whole file, with removal of the temporary files that killed writers left of it.

use bytes::Bytes;
use object_store::ObjectStoreExt as _;

use super::location::{Location, is_absent};
use super::temporary::StoredFile;
use crate::error::Error;

/// How often a file is written while other writers remove its temporary file.
const REPLACE_TRIES: usize = 5;

impl Location {
    /// Replaces the file at this location: the store writes `content` under a temporary name and
    /// renames it.
    ///
    /// Then the temporary files of this name that existed before are removed, since killed writers
    /// leave them. One of them may belong to a running writer, whose rename then fails: that writer
    /// tries again. The file always has the whole content of one of the writers.
    pub async fn replace(&self, content: Bytes) -> Result<(), Error> {
        let leftovers = self.temporaries().await?;
        let mut tries = 0;
        let written = loop {
            tries += 1;
            match self.store().put(self.path(), content.clone().into()).await {
                Err(source) if is_absent(&source) && tries < REPLACE_TRIES => {}
                written => break written,
            }
        };
        written.map_err(|source| self.failed("write", source))?;
        self.remove(leftovers).await?;
        Ok(())
    }

    /// Temporary files that are renamed to the file at this location.
    async fn temporaries(&self) -> Result<Vec<StoredFile>, Error> {
        let directory = self.parent();
        let mut files = directory.list_with_temporaries().await?;
        files.retain(|file| {
            let is_beside = file.path.parts().count() == self.path().parts().count();
            is_beside && file.temporary_for() == self.path().filename()
        });
        Ok(files)
    }

    /// Replaces the file at this location unless it has this content already.
    pub async fn replace_if_changed(&self, content: Bytes) -> Result<(), Error> {
        if let Some(present) = self.head().await?
            && present.size == content.len() as u64
            && self.read().await? == content
        {
            return Ok(());
        }
        self.replace(content).await
    }
}
