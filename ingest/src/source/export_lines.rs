//! The lines of export files, for readers that land nothing.

use bytes::Bytes;
use lake::Location;
use tokio::sync::mpsc;

use super::files::{self, Content, LineBlock};
use super::watch::SelectedFile;
use super::{Block, InFlight, bounded_channel};
use crate::error::Error;

/// Blocks between the reading of a file and `take`.
const BLOCKS_MAX: usize = 2;

/// Calls `take` with the lines of every export file at `place`, some whole lines at a time and in
/// their order, and returns the number of files. A line that is too long is left out.
///
/// # Errors
/// When there is nothing at `place`, a file cannot be read, or `take` fails.
pub async fn read_export_lines<E: From<Error>>(
    place: &Location,
    mut take: impl AsyncFnMut(Bytes) -> Result<(), E>,
) -> Result<usize, E> {
    let files = files::list(place).await?.files;
    let count = files.len();
    for file in files {
        let file = SelectedFile::whole(file);
        let (sender, receiver) = bounded_channel(BLOCKS_MAX);
        let read = async {
            // Moved into this future, so that the channel closes when reading ends.
            let sender = sender;
            files::read(place, &file, &sender).await
        };
        let (read, taken) = tokio::join!(read, take_lines(receiver, &mut take));
        read?;
        taken?;
    }
    Ok(count)
}

/// Owns the receiver: when `take` fails, the channel closes, and with it the reading ends.
async fn take_lines<E>(
    mut blocks: mpsc::Receiver<InFlight>,
    take: &mut impl AsyncFnMut(Bytes) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(InFlight {
        block,
        permit: _permit,
    }) = blocks.recv().await
    {
        if let Block::Lines(LineBlock {
            content: Content::Lines(lines),
            ..
        }) = block
        {
            take(lines).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lake::{StoreOptions, Stores};
    use url::Url;

    use super::{BLOCKS_MAX, read_export_lines};
    use crate::error::Error;

    /// A directory with a file of more blocks than the channel holds.
    fn directory() -> tempfile::TempDir {
        let directory = tempfile::TempDir::new().expect("a directory");
        let line = [b"x".repeat(1 << 20), b"\n".to_vec()].concat();
        let file = line.repeat(4 * (BLOCKS_MAX + 4));
        std::fs::write(directory.path().join("weather.json"), file).expect("written");
        directory
    }

    async fn read(
        directory: &tempfile::TempDir,
        take: impl AsyncFnMut(bytes::Bytes) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let stores = Stores::new(StoreOptions {
            user: "test".to_owned(),
            limit: Duration::from_secs(30),
        });
        let url = Url::from_directory_path(directory.path()).expect("a URL");
        let place = stores.locate(&url).expect("a place");
        let reading = read_export_lines(&place, take);
        let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
        ended.expect("it ends")
    }

    #[tokio::test]
    async fn every_whole_line_is_taken() {
        let directory = directory();
        let mut lines = 0;
        let count = async |block: bytes::Bytes| {
            lines += memchr::memchr_iter(b'\n', &block).count();
            Ok(())
        };
        assert_eq!(read(&directory, count).await.expect("read"), 1);
        assert_eq!(lines, 4 * (BLOCKS_MAX + 4));
    }

    #[tokio::test]
    async fn failure_of_the_taker_ends_the_reading() {
        let fail = async |_| {
            Err(Error::NothingThere {
                path: "the taker".to_owned(),
            })
        };
        let failed = read(&directory(), fail).await.expect_err("the failure");
        assert!(failed.to_string().contains("the taker"), "{failed}");
    }
}
