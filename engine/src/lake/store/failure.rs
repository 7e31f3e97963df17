//! What went wrong in one call of the storage, in words an operator can act on.

use std::error::Error as StdError;
use std::time::Duration;

use buoyant_kernel::Error as KernelError;
use hdfs_native::HdfsError;
use object_store::path::Path;

/// A failed call of the storage. It travels as the source of an [`object_store::Error`] through
/// every layer above; [`Failure::find`] gets it back from there.
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
    /// Nobody listens there, or the name does not resolve.
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
    /// The NameNode answers reads only.
    #[error(
        "{server} is in safe mode and refuses \"{operation}\" of \"{path}\"; wait until it has left it, run `hdfs dfsadmin -safemode leave`, or check lake.url (HDFS_URL)"
    )]
    SafeMode {
        server: String,
        operation: &'static str,
        path: String,
    },
    /// The user may not do this.
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
    /// A data file that the log of its table names is not there.
    #[error(
        "data file \"/{path}\" is gone, though the log of its table names it; another tool has removed it (VACUUM with too short a retention, or by hand): bring it back, or have that tool repair the table (FSCK REPAIR TABLE, or RESTORE to a version without it)"
    )]
    Gone { path: String },
    /// A DataNode failed while it sent or took data.
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

/// Which call of which store failed; turned into a [`Failure`] when the cause is a known one.
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
                // This one prints its cause, and does not name it as its source.
                Some(KernelError::ObjectStore(cause)) => Some(cause),
                _ => error.source(),
            };
        }
        None
    }
}

impl Attempt {
    /// The time limit of this call ran out.
    pub(crate) fn timed_out(self, limit: Duration) -> object_store::Error {
        wrap(Failure::TimedOut {
            server: self.server,
            operation: self.operation,
            path: self.path,
            limit,
        })
    }

    /// Names a known cause; what callers act on (not found, already exists, …) passes unchanged.
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
        // The NameNode was asked again and again, and has not heard of the last block from any DataNode.
        HdfsError::OperationFailed(message) if message.contains("complete file in time") => {
            Kind::DataNode
        }
        HdfsError::RPCError(class, message) | HdfsError::FatalRPCError(class, message) => {
            if class.contains("SafeModeException") || message.contains("in safe mode") {
                Kind::SafeMode
            } else if class.contains("RetriableException") {
                // It is starting.
                Kind::Unreachable
            } else if class.contains("AccessControlException") {
                Kind::Denied
            } else if message.contains("could only be written to 0 of the") {
                // The NameNode knows of no DataNode that would take the block.
                Kind::DataNode
            } else {
                Kind::Other
            }
        }
        _ => Kind::Other,
    }
}

/// `path` as people write it, with the leading slash that object store paths leave out.
pub(crate) fn absolute(path: &Path) -> String {
    format!("/{path}")
}

#[cfg(test)]
mod tests {
    use hdfs_native::HdfsError;

    use super::{Attempt, Failure};

    /// What becomes of `error` when HDFS answers a call with it.
    fn failed(error: HdfsError) -> object_store::Error {
        let attempt = Attempt {
            server: "HDFS at namenode:8020".to_owned(),
            user: "somebody".to_owned(),
            operation: "write",
            path: "/lake/weather".to_owned(),
        };
        attempt.failed(object_store::Error::Generic {
            store: "HDFS",
            source: Box::new(error),
        })
    }

    #[test]
    fn a_file_that_no_datanode_tells_the_namenode_of_is_a_failure_of_datanodes() {
        let late = HdfsError::OperationFailed("Failed to complete file in time".to_owned());
        let late = failed(late);
        let found = Failure::find(&late);
        assert!(matches!(found, Some(Failure::DataNode { .. })), "{late:?}");
        let other = failed(HdfsError::OperationFailed("no libgssapi".to_owned()));
        assert!(Failure::find(&other).is_none(), "{other:?}");
    }
}
