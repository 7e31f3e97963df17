//! Failures of storage calls, with the server, the path and a remedy for the operator.

use std::error::Error as StdError;
use std::time::Duration;

use buoyant_kernel::Error as KernelError;
use hdfs_native::HdfsError;
use object_store::path::Path;
use service::{error_chain, error_chain_led_by};

/// A failed call of the storage. The layers above carry it as the source of an
/// [`object_store::Error`]; [`Failure::find`] finds it there.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer within the limit of one call.
    #[error(
        "{server} did not finish \"{operation}\" of \"{path}\" within {}; check that its NameNode and DataNodes are alive, then lake.url (HDFS_URL) and hdfs.timeout",
        humantime::format_duration(*limit)
    )]
    TimedOut {
        server: String,
        operation: &'static str,
        path: String,
        limit: Duration,
    },
    /// The connection was refused, or the host name does not resolve.
    #[error(
        "{server} cannot be reached for \"{operation}\" of \"{path}\"; check that its NameNode runs, then lake.url (HDFS_URL)"
    )]
    Unreachable {
        server: String,
        operation: &'static str,
        path: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The NameNode only accepts reads.
    #[error(
        "{server} is in safe mode and refuses \"{operation}\" of \"{path}\"; wait until it has left it, run `hdfs dfsadmin -safemode leave`, or check lake.url (HDFS_URL)"
    )]
    SafeMode {
        server: String,
        operation: &'static str,
        path: String,
    },
    /// The user lacks the permission.
    #[error(
        "{server} denies user \"{user}\" the \"{operation}\" of \"{path}\"; check hdfs.user (HDFS_USER) and the owner and mode of the directory"
    )]
    Denied {
        server: String,
        user: String,
        operation: &'static str,
        path: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A data file that the log of its table names does not exist.
    #[error(
        "data file \"/{path}\" is gone, though the log of its table names it; another tool has removed it (VACUUM with too short a retention, or by hand): bring it back, or have that tool repair the table (FSCK REPAIR TABLE, or RESTORE to a version without it)"
    )]
    Gone { path: String },
    /// A DataNode failed during a transfer.
    #[error(
        "{server} could not move the data of \"{path}\" (\"{operation}\"); check that its DataNodes run and are reachable from here"
    )]
    DataNode {
        server: String,
        operation: &'static str,
        path: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// A call of a store, for the [`Failure`] that it becomes when its cause is known.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) server: String,
    pub(crate) user: String,
    pub(crate) operation: &'static str,
    pub(crate) path: String,
}

enum Kind {
    Unreachable,
    SafeMode,
    Denied,
    DataNode,
    Other,
}

impl Failure {
    /// The failure that caused `error`, if a call of the storage did.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = match error.downcast_ref::<KernelError>() {
                // This error prints its cause, but does not return it as its source.
                Some(KernelError::ObjectStore(cause)) => Some(cause),
                _ => error.source(),
            };
        }
        None
    }

    /// Whether the same call may succeed later: the storage is unavailable. A missing permission
    /// or file stays missing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::SafeMode { .. }
            | Self::DataNode { .. } => true,
            Self::Denied { .. } | Self::Gone { .. } => false,
        }
    }

    /// `error` and its causes on one line. A storage failure comes first, because it names the
    /// server and the remedy.
    pub fn chain(error: &(dyn StdError + 'static)) -> String {
        match Self::find(error) {
            Some(failure) => error_chain_led_by(failure, error),
            None => error_chain(error),
        }
    }
}

impl Attempt {
    /// The error for a call that exceeded its time limit.
    pub(crate) fn timed_out(self, limit: Duration) -> object_store::Error {
        wrap(Failure::TimedOut {
            server: self.server,
            operation: self.operation,
            path: self.path,
            limit,
        })
    }

    /// Converts an error with a known cause. Errors that callers handle (not found, already exists,
    /// …) pass unchanged.
    pub(crate) fn failed(self, error: object_store::Error) -> object_store::Error {
        if !matches!(
            error,
            object_store::Error::Generic { .. } | object_store::Error::PermissionDenied { .. }
        ) {
            return error;
        }
        let kind = classify(&error);
        let source = Box::new(error);
        let Self {
            server,
            user,
            operation,
            path,
        } = self;
        wrap(match kind {
            Kind::Unreachable => Failure::Unreachable {
                server,
                operation,
                path,
                source,
            },
            Kind::SafeMode => Failure::SafeMode {
                server,
                operation,
                path,
            },
            Kind::Denied => Failure::Denied {
                server,
                user,
                operation,
                path,
                source,
            },
            Kind::DataNode => Failure::DataNode {
                server,
                operation,
                path,
                source,
            },
            Kind::Other => return *source,
        })
    }
}

fn wrap(failure: Failure) -> object_store::Error {
    object_store::Error::Generic {
        store: "lake",
        source: Box::new(failure),
    }
}

fn classify(error: &object_store::Error) -> Kind {
    if matches!(error, object_store::Error::PermissionDenied { .. }) {
        return Kind::Denied;
    }
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<HdfsError>() {
            return classify_hdfs(error);
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            return Kind::Denied;
        }
        next = error.source();
    }
    Kind::Other
}

fn classify_hdfs(error: &HdfsError) -> Kind {
    match error {
        HdfsError::IOError(_) => Kind::Unreachable,
        HdfsError::DataTransferError(_)
        | HdfsError::BlocksNotFound(_)
        | HdfsError::ChecksumError => Kind::DataNode,
        // No DataNode reported the last block to the NameNode before the client gave up.
        HdfsError::OperationFailed(message) if message.contains("complete file in time") => {
            Kind::DataNode
        }
        HdfsError::RPCError(class, message) | HdfsError::FatalRPCError(class, message) => {
            if class.contains("SafeModeException") || message.contains("in safe mode") {
                Kind::SafeMode
            } else if class.contains("RetriableException") {
                // The NameNode is starting.
                Kind::Unreachable
            } else if class.contains("AccessControlException") {
                Kind::Denied
            } else if message.contains("could only be written to 0 of the") {
                // The NameNode has no DataNode that accepts the block.
                Kind::DataNode
            } else {
                Kind::Other
            }
        }
        _ => Kind::Other,
    }
}

/// `path` with the leading slash that object store paths omit.
pub(crate) fn absolute(path: &Path) -> String {
    format!("/{path}")
}

#[cfg(test)]
mod tests {
    use hdfs_native::HdfsError;

    use super::{Attempt, Failure};

    /// The error of a call that HDFS answers with `error`.
    fn failed(error: HdfsError) -> object_store::Error {
        let attempt = Attempt {
            server: "HDFS at namenode:8020".to_owned(),
            user: "hadoop".to_owned(),
            operation: "write",
            path: "/lake/weather".to_owned(),
        };
        attempt.failed(object_store::Error::Generic {
            store: "HDFS",
            source: Box::new(error),
        })
    }

    #[test]
    fn file_whose_last_block_is_not_reported_is_a_datanode_failure() {
        let late = HdfsError::OperationFailed("Failed to complete file in time".to_owned());
        let late = failed(late);
        let found = Failure::find(&late);
        assert!(matches!(found, Some(Failure::DataNode { .. })), "{late:?}");
        let other = failed(HdfsError::OperationFailed("no libgssapi".to_owned()));
        assert!(Failure::find(&other).is_none(), "{other:?}");
    }
}
