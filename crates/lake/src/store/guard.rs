//! Guards every call of an [`ObjectStore`] with a time limit, a task and counters.
//!
//! # Time limits
//!
//! hdfs-native has no time-outs. When a DataNode stops without closing its connections, a read or a
//! write never returns. The guard fails each call after `hdfs.timeout`:
//!
//! * A call that transfers `n` bytes at once, a put or a read of ranges, has `n` /
//!   [`BYTES_PER_SECOND_MIN`] in addition, so that a large transfer over a slow link can finish.
//! * A streamed read and a listing have the limit for each item and not in total: a transfer that
//!   makes progress may take any time, and one that stalls fails after one limit.
//!
//! A time-out does not undo a call: HDFS may still execute a write or a rename that the guard has
//! reported as failed. A writer therefore reads the log before it decides whether its commit
//! succeeded, see [`Table::commit`](crate::Table::commit).
//!
//! # Tasks
//!
//! hdfs-native holds client-wide locks across `.await`: one for the connection to the NameNode, one
//! for the server defaults. A future that was polled once and then waits for another future of the
//! same caller keeps such a lock, or its position in the queue for it, and both wait forever. Log
//! readers do that: they open many files at once and read the first one that is open. Every call
//! therefore runs in its own task, which makes progress without being polled by the caller.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::Context;
use super::failure::absolute;
use super::file_point::file_point;
use super::unnamed::{Unnamed, of_directory};

/// Slowest transfer that the guard accepts: a call that moves `n` bytes may take
/// `n / BYTES_PER_SECOND_MIN` seconds longer than the limit of a call.
const BYTES_PER_SECOND_MIN: u64 = 8 << 20;

/// Deletions of one stream that run concurrently.
const DELETES_AT_ONCE: usize = 10;

/// An [`ObjectStore`] whose every call ends: with its result, or with a
/// [`Failure`](super::Failure) after the time limit.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    inner: Arc<S>,
    context: Context,
    unnamed: Unnamed,
}

impl<S> Guard<S> {
    pub(crate) fn new(inner: S, context: Context) -> Self {
        Self {
            inner: Arc::new(inner),
            context,
            unnamed: Unnamed::default(),
        }
    }
}

impl<S: fmt::Display> fmt::Display for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {:?}", self.inner, self.context.limit)
    }
}

/// `limit` plus the time that a slow server needs for `bytes`.
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
        let (inner, path) = (Arc::clone(&self.inner), location.clone());
        file_point("begun", location.as_ref());
        let call = async move { inner.put_opts(&path, payload, options).await };
        let stored = self.context.call("write", location, limit, call).await?;
        file_point("stored", location.as_ref());
        Ok(stored)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (inner, path) = (Arc::clone(&self.inner), location.clone());
        let call = async move { inner.put_multipart_opts(&path, options).await };
        let limit = self.context.limit;
        let upload = self.context.call("write", location, limit, call).await?;
        Ok(Box::new(GuardedUpload {
            inner: Some(upload),
            location: location.clone(),
            context: self.context.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { "look up" } else { "read" };
        let (inner, path) = (Arc::clone(&self.inner), location.clone());
        let call = async move { inner.get_opts(&path, options).await };
        let limit = self.context.limit;
        let mut result = self.context.call(operation, location, limit, call).await?;
        if let GetResultPayload::Stream(stream) = result.payload {
            result.payload = GetResultPayload::Stream(guard_stream(
                stream,
                self.context.clone(),
                "read",
                location.clone(),
                |context, chunk: &Bytes| {
                    context.counters.bytes_read.add(chunk.len() as u64);
                    allocations::charge(chunk.len() as u64);
                },
            ));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let size = ranges.iter().map(|range| range.end - range.start).sum();
        self.context.counters.bytes_read.add(size);
        let limit = limit_of(self.context.limit, size);
        let (inner, path, ranges) = (Arc::clone(&self.inner), location.clone(), ranges.to_vec());
        let call = async move { inner.get_ranges(&path, &ranges).await };
        let read = self.context.call("read", location, limit, call).await?;
        allocations::charge(size);
        Ok(read)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        // One call for each file: the stream of the store runs several deletions between two items,
        // which a limit for each item would not bound.
        let (inner, context) = (Arc::clone(&self.inner), self.context.clone());
        locations
            .map(move |location| {
                let (inner, context) = (Arc::clone(&inner), context.clone());
                async move {
                    let location = location?;
                    let one = futures::stream::iter([Ok(location.clone())]).boxed();
                    let call =
                        async move { inner.delete_stream(one).try_collect::<Vec<_>>().await };
                    let limit = context.limit;
                    context.call("delete", &location, limit, call).await?;
                    Ok(location)
                }
            })
            .buffered(DELETES_AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.cloned().unwrap_or_default();
        let stream = self.inner.list(prefix);
        let listing = guard_stream(stream, self.context.clone(), "list", path, |_, _| ());
        let is_local = self.context.is_local;
        self.unnamed
            .pass_over(listing, &self.inner, prefix, is_local)
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
        let (inner, of) = (Arc::clone(&self.inner), prefix.cloned());
        let call = async move { inner.list_with_delimiter(of.as_ref()).await };
        let limit = self.context.limit;
        match self.context.call("list", &path, limit, call).await {
            Err(object_store::Error::InvalidPath { .. }) => {
                of_directory(self.list(prefix), prefix).await
            }
            listed => listed,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (inner, source, target) = (Arc::clone(&self.inner), from.clone(), to.clone());
        let call = async move { inner.copy_opts(&source, &target, options).await };
        let limit = self.context.limit;
        self.context.call("copy", from, limit, call).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (inner, source, target) = (Arc::clone(&self.inner), from.clone(), to.clone());
        let call = async move { inner.rename_opts(&source, &target, options).await };
        let limit = self.context.limit;
        self.context.call("rename", from, limit, call).await
    }
}

/// Runs `call` in its own task, which is aborted when the handle is dropped. Its log lines are in
/// the span of the caller.
pub(crate) fn in_task<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(call.in_current_span()))
}

/// Applies the limit of one call to every item of `stream`. The stream ends after the first
/// time-out.
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
            let limit = context.limit;
            let next = in_task(async move {
                let item = tokio::time::timeout(limit, stream.next()).await;
                (item, stream)
            });
            let attempt = || context.attempt(operation, absolute(&path));
            let (error, stream) = match next.await {
                Ok((Ok(None), _)) => return None,
                Ok((Ok(Some(Ok(item))), stream)) => {
                    on_item(&context, &item);
                    return Some((Ok(item), Some(stream)));
                }
                Ok((Ok(Some(Err(error))), stream)) => (attempt().failed(error), Some(stream)),
                Ok((Err(_elapsed), _)) => (attempt().timed_out(limit), None),
                Err(panicked) => (panicked.into(), None),
            };
            context.counters.failures.add(1);
            Some((Err(error), stream))
        }
    })
    // Some log readers poll the stream again after its end.
    .fuse()
    .boxed()
}

#[derive(Debug)]
struct GuardedUpload {
    /// `None` once `complete` or `abort` has taken it.
    inner: Option<Box<dyn MultipartUpload>>,
    location: Path,
    context: Context,
}

impl GuardedUpload {
    fn take(&mut self) -> Result<Box<dyn MultipartUpload>> {
        self.inner.take().ok_or_else(|| has_ended(&self.location))
    }
}

fn has_ended(location: &Path) -> object_store::Error {
    object_store::Error::Generic {
        store: "guard",
        source: format!("the upload of \"{}\" has ended", absolute(location)).into(),
    }
}

#[async_trait]
impl MultipartUpload for GuardedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let size = data.content_length() as u64;
        self.context.counters.bytes_written.add(size);
        let limit = limit_of(self.context.limit, size);
        let (context, location) = (self.context.clone(), self.location.clone());
        // Called here and not in the future: the order of the calls is the order of the parts.
        let Some(call) = self.inner.as_mut().map(|inner| inner.put_part(data)) else {
            return Box::pin(async move { Err(has_ended(&location)) });
        };
        Box::pin(async move { context.call("write", &location, limit, call).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let limit = self.context.limit;
        let mut inner = self.take()?;
        let call = async move { inner.complete().await };
        self.context
            .call("write", &self.location, limit, call)
            .await
    }

    async fn abort(&mut self) -> Result<()> {
        let limit = self.context.limit;
        let mut inner = self.take()?;
        let call = async move { inner.abort().await };
        self.context
            .call("delete", &self.location, limit, call)
            .await
    }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;
    use tokio::sync::Mutex;

    use super::super::Failure;
    use super::*;

    /// Fails a test that hangs; far longer than a busy machine needs.
    const LIMIT: Duration = Duration::from_secs(10);
    const STUCK: &str = "stuck";

    /// Like hdfs-native: a call holds a store-wide lock while it waits. One for [`STUCK`] never
    /// returns.
    #[derive(Debug, Default)]
    struct OneLock {
        inner: InMemory,
        lock: Mutex<()>,
    }

    impl OneLock {
        async fn wait(&self, location: &Path) {
            let _held = self.lock.lock().await;
            if location.as_ref() == STUCK {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
        }
    }

    impl fmt::Display for OneLock {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("OneLock")
        }
    }

    #[async_trait]
    impl ObjectStore for OneLock {
        async fn put_opts(
            &self,
            location: &Path,
            payload: PutPayload,
            options: PutOptions,
        ) -> Result<PutResult> {
            self.wait(location).await;
            self.inner.put_opts(location, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(location, options).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.wait(location).await;
            self.inner.get_opts(location, options).await
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

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.wait(&Path::default()).await;
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.wait(from).await;
            self.inner.copy_opts(from, to, options).await
        }
    }

    fn guard(limit: Duration) -> Guard<OneLock> {
        let context = Context {
            server: "a store".to_owned(),
            user: "hadoop".to_owned(),
            limit,
            counters: Arc::default(),
            is_local: false,
        };
        Guard::new(OneLock::default(), context)
    }

    async fn read(store: &Guard<OneLock>, path: &Path) -> Result<Bytes> {
        store.get(path).await?.bytes().await
    }

    /// Starts a call, polls it once, and reads another file while the call is not polled.
    async fn check(
        call: &str,
        begin: for<'a> fn(&'a Guard<OneLock>, &'a Path) -> BoxFuture<'a, Result<()>>,
    ) {
        let (store, path) = (guard(LIMIT), Path::from("log"));
        store.put(&path, "row".into()).await.unwrap();
        let mut left = begin(&store, &path);
        assert!(futures::poll!(&mut left).is_pending(), "{call}");
        assert_eq!(read(&store, &path).await.expect(call), "row", "{call}");
        left.await.expect(call);
    }

    #[tokio::test]
    async fn call_that_is_not_polled_blocks_no_other_call() {
        check("read", |s, p| Box::pin(async { s.get(p).await.map(drop) })).await;
        check("range", |s, p| {
            Box::pin(async { s.get_range(p, 0..1).await.map(drop) })
        })
        .await;
        check("look up", |s, p| {
            Box::pin(async { s.head(p).await.map(drop) })
        })
        .await;
        check("write", |s, p| {
            Box::pin(async { s.put(p, "row".into()).await.map(drop) })
        })
        .await;
        check("list", |s, _| {
            Box::pin(async { s.list_with_delimiter(None).await.map(drop) })
        })
        .await;
        check("copy", |s, p| {
            Box::pin(async { s.copy(p, &Path::from("copy")).await })
        })
        .await;
    }

    /// Waits until a call in a task holds the lock.
    async fn lock_is_held(store: &Guard<OneLock>) {
        while store.inner.lock.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn dropped_call_releases_its_lock() {
        let (store, path) = (guard(LIMIT), Path::from("log"));
        store.put(&path, "row".into()).await.unwrap();
        let stuck = Path::from(STUCK);
        let mut left = Box::pin(store.get(&stuck));
        assert!(futures::poll!(&mut left).is_pending());
        lock_is_held(&store).await;
        drop(left);
        assert_eq!(read(&store, &path).await.unwrap(), "row");
    }

    #[tokio::test]
    async fn call_beyond_its_limit_fails_and_releases_its_lock() {
        let (store, path) = (guard(Duration::from_millis(100)), Path::from("log"));
        store.put(&path, "row".into()).await.unwrap();
        let failure = store.get(&Path::from(STUCK)).await.unwrap_err();
        let failure = Failure::find(&failure).unwrap().to_string();
        assert!(
            failure.starts_with("a store did not finish \"read\" of \"/stuck\" within 100ms"),
            "{failure}"
        );
        assert_eq!(store.context.counters.failures.get(), 1);
        assert_eq!(read(&store, &path).await.unwrap(), "row");
    }

    #[tokio::test]
    async fn deletes_each_file_of_a_stream_in_order() {
        let store = guard(LIMIT);
        let paths = ["a", "b"].map(Path::from);
        for path in &paths {
            store.put(path, "row".into()).await.unwrap();
        }
        let deleted: Vec<_> = store
            .delete_stream(futures::stream::iter(paths.clone().map(Ok)).boxed())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(deleted, paths);
        assert!(store.head(&paths[0]).await.is_err());
        assert_eq!(store.list(None).count().await, 0);
    }
}
