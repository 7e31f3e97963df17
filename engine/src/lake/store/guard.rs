//! A time limit and a counter around every call of an [`ObjectStore`].
//!
//! hdfs-native has no limits inside: with a stopped DataNode a read or a write never returns. The
//! limit is per call, and per chunk of a stream, so that a long transfer that moves is not cut.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};

use super::Context;
use super::failure::absolute;

/// Slowest transfer that is still taken for alive: a call that moves `n` bytes may take
/// `n / BYTES_PER_SECOND_MIN` longer than the limit of a call.
const BYTES_PER_SECOND_MIN: u64 = 8 << 20;

/// An [`ObjectStore`] whose every call ends: with a result, or with a named
/// [`Failure`](super::Failure) when the time limit has passed.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    context: Context,
}

impl<S> Guard<S> {
    pub(crate) fn new(inner: S, context: Context) -> Self {
        Self { inner, context }
    }
}

impl<S: fmt::Display> fmt::Display for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {:?}", self.inner, self.context.limit)
    }
}

/// `limit`, and the time a slow but living server needs for `bytes`.
fn limit_of(limit: Duration, bytes: u64) -> Duration {
    limit + Duration::from_millis(bytes.saturating_mul(1000) / BYTES_PER_SECOND_MIN)
}

// A method that the trait gains must be guarded too, not defaulted past the limit.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: ObjectStore> ObjectStore for Guard<S> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let size = payload.content_length() as u64;
        self.context.counters.bytes_written.add(size);
        let limit = limit_of(self.context.limit, size);
        let call = self.inner.put_opts(location, payload, options);
        self.context.call("write", location, limit, call).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let call = self.inner.put_multipart_opts(location, options);
        let limit = self.context.limit;
        let inner = self.context.call("write", location, limit, call).await?;
        Ok(Box::new(GuardedUpload {
            inner,
            location: location.clone(),
            context: self.context.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { "look up" } else { "read" };
        let call = self.inner.get_opts(location, options);
        let limit = self.context.limit;
        let mut result = self.context.call(operation, location, limit, call).await?;
        if let GetResultPayload::Stream(stream) = result.payload {
            result.payload = GetResultPayload::Stream(guard_stream(
                stream,
                self.context.clone(),
                "read",
                location.clone(),
                |context, chunk: &Bytes| context.counters.bytes_read.add(chunk.len() as u64),
            ));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let size = ranges.iter().map(|range| range.end - range.start).sum();
        self.context.counters.bytes_read.add(size);
        let limit = limit_of(self.context.limit, size);
        let call = self.inner.get_ranges(location, ranges);
        self.context.call("read", location, limit, call).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let stream = self.inner.delete_stream(locations);
        guard_stream(
            stream,
            self.context.clone(),
            "delete",
            Path::default(),
            |_, _| (),
        )
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.cloned().unwrap_or_default();
        let stream = self.inner.list(prefix);
        guard_stream(stream, self.context.clone(), "list", path, |_, _| ())
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.cloned().unwrap_or_default();
        let stream = self.inner.list_with_offset(prefix, offset);
        guard_stream(stream, self.context.clone(), "list", path, |_, _| ())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        let call = self.inner.list_with_delimiter(prefix);
        let limit = self.context.limit;
        self.context.call("list", &path, limit, call).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let call = self.inner.copy_opts(from, to, options);
        let limit = self.context.limit;
        self.context.call("copy", from, limit, call).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let call = self.inner.rename_opts(from, to, options);
        let limit = self.context.limit;
        self.context.call("rename", from, limit, call).await
    }
}

/// Gives every item of `stream` the limit of one call; the stream ends after the first time-out.
fn guard_stream<T: Send + 'static>(
    stream: BoxStream<'static, Result<T>>,
    context: Context,
    operation: &'static str,
    path: Path,
    on_item: fn(&Context, &T),
) -> BoxStream<'static, Result<T>> {
    context.counters.calls.add(1);
    futures::stream::unfold(Some(stream), move |stream| {
        let (context, path) = (context.clone(), path.clone());
        async move {
            let mut stream = stream?;
            let attempt = || context.attempt(operation, absolute(&path));
            match tokio::time::timeout(context.limit, stream.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(item))) => {
                    on_item(&context, &item);
                    Some((Ok(item), Some(stream)))
                }
                Ok(Some(Err(error))) => {
                    context.counters.failures.add(1);
                    Some((Err(attempt().failed(error)), Some(stream)))
                }
                Err(_elapsed) => {
                    context.counters.failures.add(1);
                    Some((Err(attempt().timed_out(context.limit)), None))
                }
            }
        }
    })
    // Some readers of the log ask again after the end.
    .fuse()
    .boxed()
}

#[derive(Debug)]
struct GuardedUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    context: Context,
}

#[async_trait]
impl MultipartUpload for GuardedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let size = data.content_length() as u64;
        self.context.counters.bytes_written.add(size);
        let limit = limit_of(self.context.limit, size);
        let (context, location) = (self.context.clone(), self.location.clone());
        let call = self.inner.put_part(data);
        Box::pin(async move { context.call("write", &location, limit, call).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let limit = self.context.limit;
        let call = self.inner.complete();
        self.context
            .call("write", &self.location, limit, call)
            .await
    }

    async fn abort(&mut self) -> Result<()> {
        let limit = self.context.limit;
        let call = self.inner.abort();
        self.context
            .call("delete", &self.location, limit, call)
            .await
    }
}
