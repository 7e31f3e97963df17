//! Whether a service can do its work now, which the HTTP server publishes.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Checks whether the service can do its work now; the error is the reason why not.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Ready when `one` and `other` are.
pub fn both(one: Readiness, other: Readiness) -> Readiness {
    Arc::new(move || {
        let (one, other) = (one(), other());
        Box::pin(async { tokio::try_join!(one, other).map(drop) })
    })
}

/// Ready when `ready` is, until `shutdown`.
pub fn unless_stopping(shutdown: CancellationToken, ready: Readiness) -> Readiness {
    Arc::new(move || {
        if shutdown.is_cancelled() {
            let stopping = Err("the service is being stopped".to_owned());
            return std::future::ready(stopping).boxed();
        }
        ready()
    })
}

/// The readiness that a service reports of itself. Clones share it.
#[derive(Clone, Debug)]
pub struct ReadinessState(Arc<Mutex<Option<String>>>);

impl Default for ReadinessState {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some("the service is starting".into()))))
    }
}

impl ReadinessState {
    /// Whether the service is ready.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn check(&self) -> Result<(), String> {
        let wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.clone().map_or(Ok(()), Err)
    }

    /// Records that the service can do its work.
    pub fn set_ready(&self) {
        self.set(None);
    }

    /// Records that the service cannot do its work, and why.
    pub fn set_not_ready(&self, why: &str) {
        self.set(Some(why.to_owned()));
    }

    /// Ready while this state is.
    pub fn readiness(&self) -> Readiness {
        let state = self.clone();
        Arc::new(move || std::future::ready(state.check()).boxed())
    }

    fn set(&self, wrong: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
    }
}

#[cfg(test)]
mod tests {
    use super::ReadinessState;

    #[test]
    fn check_returns_the_state_that_was_set_last() {
        let health = ReadinessState::default();
        assert!(health.check().is_err());
        health.clone().set_ready();
        assert_eq!(health.check(), Ok(()));
        health.set_not_ready("no PostgreSQL");
        assert_eq!(health.check(), Err("no PostgreSQL".to_owned()));
    }
}
