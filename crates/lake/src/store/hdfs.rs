//! HDFS as a store: `hdfs-native-object-store`, with writes that close files faster.
//!
//! A file is complete when its DataNodes have reported its last block to the NameNode. They report
//! it at the same time as they acknowledge it to the writer, so a writer that asks the NameNode at
//! once asks slightly too early, and hdfs-native then waits half a second before it asks again.
//! Every commit would wait twice: for its data files and for its log entry. Here the writer waits a
//! few milliseconds before it asks.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, HdfsError, WriteOptions};
use hdfs_native_object_store::HdfsObjectStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use super::failure::absolute;
use super::file_point::file_point;

/// An upper estimate of the time that a DataNode needs to report a block to the NameNode.
const REPORT_DELAY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Hdfs {
    client: Client,
    inner: HdfsObjectStore,
}

impl Hdfs {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            inner: HdfsObjectStore::new(client.clone()),
            client,
        }
    }

    /// Writes `payload` under a temporary name and renames it to `path`.
    async fn put(
        &self,
        path: &str,
        payload: PutPayload,
        overwrite: bool,
    ) -> hdfs_native::Result<()> {
        // Checked before the transfer; the rename would only fail after it.
        if !overwrite && self.client.get_file_info(path).await.is_ok() {
            return Err(HdfsError::AlreadyExists(path.to_owned()));
        }
        let (mut writer, temporary) = self.create_temporary(path).await?;
        if let Err(error) = write(&mut writer, payload).await {
            return Err(self.distinguish(&temporary, error).await);
        }
        file_point("closed", path);
        let renamed = self.client.rename(&temporary, path, overwrite).await;
        if renamed.is_err() {
            // Best effort: a temporary file that stays is removed as an orphan later.
            let _ = self.client.delete(&temporary, false).await;
        }
        renamed
    }

    /// Distinguishes a NameNode failure from a DataNode failure during the write of `temporary`.
    /// The client has one error for both; when the NameNode answers, a DataNode failed.
    async fn distinguish(&self, temporary: &str, error: HdfsError) -> HdfsError {
        let HdfsError::IOError(cause) = error else {
            return error;
        };
        match self.client.get_file_info(temporary).await {
            Err(HdfsError::IOError(_)) => HdfsError::IOError(cause),
            _ => HdfsError::DataTransferError(cause.to_string()),
        }
    }

    /// Creates a temporary file for `path`, under the first free name `.NAME.tmp.N`.
    async fn create_temporary(&self, path: &str) -> hdfs_native::Result<(FileWriter, String)> {
        let (directory, name) = path
            .rsplit_once('/')
            .ok_or_else(|| HdfsError::InvalidPath(path.to_owned()))?;
        let mut number = 1;
        loop {
            let temporary = format!("{directory}/.{name}.tmp.{number}");
            match self
                .client
                .create(&temporary, WriteOptions::default())
                .await
            {
                Ok(writer) => return Ok((writer, temporary)),
                Err(HdfsError::AlreadyExists(_)) => number += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Writes `payload` and closes the file.
async fn write(writer: &mut FileWriter, payload: PutPayload) -> hdfs_native::Result<()> {
    for bytes in payload {
        writer.write(bytes).await?;
    }
    with_delays(Box::pin(writer.close())).await
}

/// Runs `call`, and delays each wake-up of it by [`REPORT_DELAY`].
async fn with_delays<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        if let Poll::Ready(done) = futures::poll!(call.as_mut()) {
            return done;
        }
        until_woken().await;
        tokio::time::sleep(REPORT_DELAY).await;
    }
}

/// Waits until this task is woken.
async fn until_woken() {
    let mut polled = false;
    poll_fn(|_| {
        if std::mem::replace(&mut polled, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Converts errors that callers of a store handle to the matching variants of `object_store`.
pub(crate) fn failed(error: HdfsError) -> object_store::Error {
    // The client maps a missing file to its own variant in lookups, but not when it closes or
    // renames a file.
    if let HdfsError::RPCError(class, message) = &error
        && (class.ends_with("FileNotFoundException") || class.ends_with("LeaseExpiredException"))
    {
        let path = message.lines().next().unwrap_or_default().to_owned();
        return object_store::Error::NotFound {
            path,
            source: Box::new(error),
        };
    }
    match &error {
        HdfsError::AlreadyExists(path) => object_store::Error::AlreadyExists {
            path: path.clone(),
            source: Box::new(error),
        },
        HdfsError::FileNotFound(path) => object_store::Error::NotFound {
            path: path.clone(),
            source: Box::new(error),
        },
        _ => object_store::Error::Generic {
            store: "HDFS",
            source: Box::new(error),
        },
    }
}

impl fmt::Display for Hdfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

// A new method of the trait must be forwarded to the inner store; the trait's default would bypass
// it.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectStore for Hdfs {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let overwrite = match options.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, options).await,
        };
        let path = absolute(location);
        let put = Box::pin(self.put(&path, payload, overwrite));
        put.await.map_err(failed)?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::sync::oneshot;

    use super::{REPORT_DELAY, with_delays};

    #[tokio::test]
    async fn call_continues_after_the_delay_once_woken() {
        let (sender, receiver) = oneshot::channel::<Instant>();
        let call = async { receiver.await.expect("sent").elapsed() };
        tokio::spawn(async { sender.send(Instant::now()).expect("awaited") });
        assert!(with_delays(call).await >= REPORT_DELAY);
    }

    #[tokio::test]
    async fn call_that_is_ready_is_not_delayed() {
        let call = std::pin::pin!(with_delays(async { 1 }));
        assert_eq!(futures::poll!(call), std::task::Poll::Ready(1));
    }
}
