//! Export files: JSON Lines in a directory, or in `dt=` directories below it, or one file.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use lake::Location;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use tracing::warn;

use super::Blocks;
use super::watch::{LastLine, MissingFile, SelectedFile};
use crate::error::Error;

/// Bytes of lines that are decoded together.
const BLOCK_BYTES: usize = 4 << 20;
/// Limit of a line. A longer one is refused, and only its beginning is kept in memory.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes that are kept of a line that is too long.
const KEPT_BYTES: usize = 64 << 10;

/// Whole lines of one file.
#[derive(Debug)]
pub(crate) struct LineBlock {
    /// Address of the file, as users write it.
    pub(crate) path: Arc<str>,
    /// Number of the first line, from 1.
    pub(crate) first_line: i64,
    /// Lines, or the end of the file.
    pub(crate) content: Content,
    /// Bytes of the file that this block covers.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// Lines, each but perhaps the last with its line feed.
    Lines(Bytes),
    /// The beginning of one line that is too long, and its whole length.
    TooLong { beginning: Bytes, length: u64 },
    /// The end of the file.
    End,
}

/// The files at a location.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The export files, ordered by path: the file itself, or every `*.json` in the directory and
    /// below it, hidden ones left out.
    pub(crate) files: Vec<ObjectMeta>,
    /// Files with other names, which are neither query output nor hidden.
    pub(crate) unexpected: Vec<Path>,
}

/// Lists the files at `place`.
///
/// # Errors
/// When there is nothing at `place` or it cannot be listed.
pub(crate) async fn list(place: &Location) -> Result<Listing, Error> {
    let files = place.list().await?;
    if files.is_empty() {
        if let Some(file) = place.head().await? {
            return Ok(Listing {
                files: vec![file],
                unexpected: Vec::new(),
            });
        }
        if !place.exists().await? {
            return Err(Error::NothingThere {
                path: place.to_string(),
            });
        }
    }
    let root = place.path().parts().count();
    let mut listing = Listing::default();
    for file in files {
        match Name::of(&file.location, root) {
            Name::Export => listing.files.push(file),
            Name::Other => {}
            Name::Unexpected => listing.unexpected.push(file.location),
        }
    }
    listing.files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(listing)
}

/// The kind of a file by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Export,
    /// The output of a query, or a hidden file.
    Other,
    Unexpected,
}

impl Name {
    /// The kind of `path`, whose first `root` parts are the location that is read.
    fn of(path: &Path, root: usize) -> Self {
        let hidden = |part: &str| part.starts_with(['.', '_']);
        if path.parts().skip(root).any(|part| hidden(part.as_ref())) {
            return Self::Other;
        }
        match path.extension() {
            Some("json") => Self::Export,
            Some("jsonl") => Self::Other,
            Some(_) | None => Self::Unexpected,
        }
    }
}

/// How the reading of a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileOutcome {
    /// All lines were read.
    Read,
    /// The last line has no line feed and may still grow: it is left for a later listing.
    Incomplete,
    /// The file disappeared before it was read.
    Vanished,
}

/// Reads one file, and sends its lines in blocks.
///
/// Ends early without an error when the channel is closed.
pub(crate) async fn read(
    place: &Location,
    file: &SelectedFile,
    blocks: &Blocks,
) -> Result<FileOutcome, Error> {
    let path: Arc<str> = place.address_of(&file.meta.location).into();
    let failed = |source| Error::ReadSource {
        path: path.to_string(),
        source,
    };
    let result = match place.store().get(&file.meta.location).await {
        Err(object_store::Error::NotFound { .. }) if file.if_missing == MissingFile::Skip => {
            warn!(
                file = &*path,
                "vanished before it was read, and is left out"
            );
            return Ok(FileOutcome::Vanished);
        }
        result => result.map_err(failed)?,
    };
    let mut chunks = result.into_stream();
    let mut lines = LineSplitter::new(Arc::clone(&path));
    while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
        if let Some(block) = lines.push(&chunk)
            && blocks.send(super::Block::Lines(block)).await.is_err()
        {
            return Ok(FileOutcome::Read);
        }
    }
    let (rest, tail) = lines.finish(file.last_line);
    for block in rest {
        if blocks.send(super::Block::Lines(block)).await.is_err() {
            break;
        }
    }
    Ok(tail)
}

/// Cuts a file into blocks of whole lines.
struct LineSplitter {
    path: Arc<str>,
    buffer: BytesMut,
    next_line: i64,
    /// Length so far of a line that is too long. The buffer has its beginning only.
    overlong: Option<u64>,
}

impl LineSplitter {
    fn new(path: Arc<str>) -> Self {
        Self {
            path,
            buffer: BytesMut::new(),
            next_line: 1,
            overlong: None,
        }
    }

    fn push(&mut self, chunk: &[u8]) -> Option<LineBlock> {
        let mut chunk = chunk;
        if let Some(length) = &mut self.overlong {
            let Some(end) = memchr::memchr(b'\n', chunk) else {
                *length += chunk.len() as u64;
                return None;
            };
            let length = *length + end as u64 + 1;
            chunk = &chunk[end + 1..];
            let block = self.too_long(length);
            self.buffer.extend_from_slice(chunk);
            return Some(block);
        }
        self.buffer.extend_from_slice(chunk);
        if self.buffer.len() < BLOCK_BYTES {
            return None;
        }
        if let Some(end) = memchr::memrchr(b'\n', &self.buffer) {
            let lines = self.buffer.split_to(end + 1).freeze();
            return Some(self.lines(lines));
        }
        if self.buffer.len() > LINE_BYTES_MAX {
            self.overlong = Some(self.buffer.len() as u64);
            self.buffer.truncate(KEPT_BYTES);
        }
        None
    }

    fn finish(mut self, last_line: LastLine) -> (Vec<LineBlock>, FileOutcome) {
        let mut blocks = Vec::new();
        let whole = match last_line {
            LastLine::Complete => self.buffer.len(),
            LastLine::MayGrow if self.overlong.is_some() => 0,
            LastLine::MayGrow => memchr::memrchr(b'\n', &self.buffer).map_or(0, |end| end + 1),
        };
        let tail = if whole < self.buffer.len() {
            self.overlong = None;
            FileOutcome::Incomplete
        } else {
            FileOutcome::Read
        };
        self.buffer.truncate(whole);
        if let Some(length) = self.overlong {
            blocks.push(self.too_long(length));
        } else if !self.buffer.is_empty() {
            let lines = self.buffer.split().freeze();
            blocks.push(self.lines(lines));
        }
        blocks.push(LineBlock {
            path: Arc::clone(&self.path),
            first_line: self.next_line,
            content: Content::End,
            bytes: 0,
        });
        (blocks, tail)
    }

    fn lines(&mut self, lines: Bytes) -> LineBlock {
        let first_line = self.next_line;
        let count = memchr::memchr_iter(b'\n', &lines).count();
        self.next_line += i64::try_from(count).unwrap_or(i64::MAX);
        LineBlock {
            path: Arc::clone(&self.path),
            first_line,
            bytes: lines.len() as u64,
            content: Content::Lines(lines),
        }
    }

    fn too_long(&mut self, length: u64) -> LineBlock {
        self.overlong = None;
        let first_line = self.next_line;
        self.next_line += 1;
        LineBlock {
            path: Arc::clone(&self.path),
            first_line,
            bytes: length,
            content: Content::TooLong {
                beginning: self.buffer.split().freeze(),
                length,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use lake::{StoreOptions, Stores};
    use object_store::path::Path;
    use url::Url;

    use super::super::bounded_channel;
    use super::super::watch::{LastLine, SelectedFile, Watch};
    use super::{Content, FileOutcome, LINE_BYTES_MAX, LineSplitter, Name, list, read};
    use crate::error::Error;

    /// Line numbers and texts of a file that arrives in chunks of `size` bytes.
    fn lines(file: &[u8], size: usize) -> Vec<(i64, Vec<u8>)> {
        let mut cut = LineSplitter::new(Arc::from("f"));
        let mut blocks: Vec<_> = file
            .chunks(size)
            .filter_map(|chunk| cut.push(chunk))
            .collect();
        blocks.extend(cut.finish(LastLine::Complete).0);
        let mut found = Vec::new();
        for block in blocks {
            match block.content {
                Content::Lines(lines) => {
                    let lines = lines.strip_suffix(b"\n").unwrap_or(&lines);
                    let lines = lines.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
                    found.extend((block.first_line..).zip(lines));
                }
                Content::TooLong { length, .. } => {
                    found.push((block.first_line, format!("too long: {length}").into_bytes()));
                }
                Content::End => {}
            }
        }
        found
    }

    #[test]
    fn line_has_its_number() {
        let file: Vec<u8> = (1..=700_000)
            .flat_map(|line| format!("line {line}\n").into_bytes())
            .collect();
        for size in [1 << 16, 999_983, file.len()] {
            let found = lines(&file, size);
            assert_eq!(found.len(), 700_000);
            assert!(
                found
                    .iter()
                    .all(|(line, text)| *text == format!("line {line}").into_bytes())
            );
        }
        assert_eq!(
            lines(b"a\n\nb", 1),
            [(1, b"a".to_vec()), (2, Vec::new()), (3, b"b".to_vec())]
        );
        assert_eq!(lines(b"", 1), []);
    }

    #[test]
    fn last_line_that_may_grow_is_left_out() {
        let check = |file: &[u8], last_line, expected: &[u8], tail| {
            let mut cut = LineSplitter::new(Arc::from("f"));
            assert!(cut.push(file).is_none());
            let (blocks, found) = cut.finish(last_line);
            let mut text = Vec::new();
            for block in blocks {
                if let Content::Lines(lines) = block.content {
                    text.extend_from_slice(&lines);
                }
            }
            assert_eq!((text.as_slice(), found), (expected, tail));
        };
        check(b"a\nb\n", LastLine::MayGrow, b"a\nb\n", FileOutcome::Read);
        check(b"a\nb", LastLine::MayGrow, b"a\n", FileOutcome::Incomplete);
        check(b"b", LastLine::MayGrow, b"", FileOutcome::Incomplete);
        check(b"", LastLine::MayGrow, b"", FileOutcome::Read);
        check(b"a\nb", LastLine::Complete, b"a\nb", FileOutcome::Read);
    }

    #[tokio::test]
    async fn vanished_file_fails_single_reading_and_is_skipped_by_watch() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("a.json");
        std::fs::write(&path, "{}\n").expect("written");
        let stores = Stores::new(StoreOptions {
            user: "test".to_owned(),
            limit: Duration::from_secs(30),
        });
        let url = Url::from_directory_path(directory.path()).expect("a URL");
        let place = stores.locate(&url).expect("a place");
        let found = list(&place).await.expect("listed").files;
        std::fs::remove_file(path).expect("removed");
        let (blocks, _receiver) = bounded_channel(1);
        let watched = Watch::default().choose(found.clone()).remove(0);
        let vanished = read(&place, &watched, &blocks).await.expect("left out");
        assert_eq!(vanished, FileOutcome::Vanished);
        let [file] = <[_; 1]>::try_from(found).expect("one file");
        let failed = read(&place, &SelectedFile::whole(file), &blocks).await;
        assert!(
            matches!(failed, Err(Error::ReadSource { .. })),
            "{failed:?}"
        );
    }

    #[test]
    fn too_long_line_is_one_line() {
        let mut file = b"a\n".to_vec();
        file.extend(std::iter::repeat_n(b'x', LINE_BYTES_MAX + 5_000_000));
        file.extend(b"\nb\n");
        let expected = format!("too long: {}", LINE_BYTES_MAX + 5_000_001);
        let found = lines(&file, 1 << 20);
        assert_eq!(
            found.len(),
            3,
            "{:?}",
            found.iter().map(|line| line.1.len()).collect::<Vec<_>>()
        );
        assert_eq!(found[1], (2, expected.into_bytes()));
        assert_eq!(found[2], (3, b"b".to_vec()));
    }

    #[test]
    fn file_kind_follows_from_name() {
        let check = |path: &str, expected: Name| {
            assert_eq!(Name::of(&Path::from(path), 1), expected, "{path}");
        };
        check(
            "base/dt=2026-01-15/weather_20260115T000000000000.json",
            Name::Export,
        );
        check("base/weather.json", Name::Export);
        check("base/dt=2026-01-15/aggregates.jsonl", Name::Other);
        check("base/dt=2026-01-15/.weather.json.tmp.1", Name::Other);
        check("base/_staging/weather.json", Name::Other);
        check("base/.hidden/weather.json", Name::Other);
        check("base/weather.json.gz", Name::Unexpected);
        check("base/dt=2026-01-15/weather", Name::Unexpected);
        check("base/weather.JSON", Name::Unexpected);
    }
}
