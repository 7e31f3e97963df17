//! The store as log readers see it: corrects what they would misread.
//!
//! * arrow-json 59.3 decodes a character beyond U+1FFFF that is written as two escapes
//!   (`\ud842\udfb7`, which many JSON encoders write) as another character: paths, partition values
//!   and statistics would match no row. Such escapes are replaced by their characters before
//!   arrow-json reads them.
//! * `_last_checkpoint` only saves a listing, and HDFS and a local disk list the whole directory
//!   anyway. A hint that names a missing file would make an intact table unreadable, so it is
//!   hidden.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, DynObjectStore, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result,
};

const HINT: &str = "_last_checkpoint";

/// A store for readers and writers of one log.
#[derive(Debug)]
pub(crate) struct LogText {
    inner: Arc<DynObjectStore>,
}

impl LogText {
    pub(crate) fn new(inner: Arc<DynObjectStore>) -> Self {
        Self { inner }
    }
}

impl fmt::Display for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectStore for LogText {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let name = location.filename().unwrap_or_default();
        if name == HINT {
            return Err(object_store::Error::NotFound {
                path: location.to_string(),
                source: "the hint is not read".into(),
            });
        }
        let is_whole_text = name.ends_with(".json") && !options.head && options.range.is_none();
        let found = self.inner.get_opts(location, options).await?;
        if !is_whole_text {
            return Ok(found);
        }
        let (mut meta, attributes) = (found.meta.clone(), found.attributes.clone());
        let text = unescaped(found.bytes().await?);
        meta.size = text.len() as u64;
        Ok(GetResult {
            range: 0..meta.size,
            payload: GetResultPayload::Stream(futures::stream::iter([Ok(text)]).boxed()),
            meta,
            attributes,
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// Bytes of one escape, `\uXXXX`.
const ESCAPE: usize = 6;

/// Replaces each pair of surrogate escapes in `text` by its character. Unpaired escapes stay.
fn unescaped(text: Bytes) -> Bytes {
    let mut corrected = Vec::new();
    // `text` is copied up to `copied`, and searched up to `at`.
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &text[at..]) {
        at += found;
        match character(&text[at..]) {
            Some(character) => {
                corrected.extend_from_slice(&text[copied..at]);
                corrected.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at += 2 * ESCAPE;
                copied = at;
            }
            // Skip the character after the backslash: it may be a backslash, but starts no escape.
            None => at = (at + 2).min(text.len()),
        }
    }
    if copied == 0 {
        return text;
    }
    corrected.extend_from_slice(&text[copied..]);
    corrected.into()
}

/// The character of the surrogate pair at the beginning of `text`, if there is one.
fn character(text: &[u8]) -> Option<char> {
    let unit = |text: &[u8]| {
        let digits = text.strip_prefix(b"\\u")?.get(..ESCAPE - 2)?;
        let is_hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(digits)
            .ok()
            .filter(|_| is_hexadecimal)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let units = [unit(text)?, unit(text.get(ESCAPE..)?)?];
    let mut decoded = char::decode_utf16(units);
    match (decoded.next(), decoded.next()) {
        (Some(Ok(character)), None) => Some(character),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::unescaped;

    #[test]
    fn surrogate_escapes_become_their_character_and_other_text_stays() {
        let check = |text: &str, expected: &str| {
            let found = unescaped(Bytes::copy_from_slice(text.as_bytes()));
            assert_eq!(std::str::from_utf8(&found), Ok(expected), "{text}");
        };
        check("", "");
        check("plain \u{20bb7}", "plain \u{20bb7}");
        check(r#"{"a":"\ud842\udfb7b"}"#, "{\"a\":\"\u{20bb7}b\"}");
        check(r"\uD83D\uDE00\ud83d\ude00", "\u{1f600}\u{1f600}");
        // A text inside a text: its escapes are of the inner one.
        check(r"\\ud842\\udfb7", r"\\ud842\\udfb7");
        check(r"\\\ud842\udfb7", "\\\\\u{20bb7}");
        check(r"\u00e9\n\ud842", r"\u00e9\n\ud842");
        check(r"\udfb7\ud842\ud842\udfb7", "\\udfb7\\ud842\u{20bb7}");
        check(r"\ud842\u0041\", r"\ud842\u0041\");
        check(r"\ud842x", r"\ud842x");
    }
}
