//! A service: its metrics, and the HTTP address where it serves them with its readiness.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::error::Error;
use crate::http;
use crate::metrics::Metrics;
use crate::readiness::{Readiness, unless_stopping};

/// A service before it runs: its metrics, and the HTTP listener if it has one.
#[derive(Debug)]
pub struct Service {
    listener: Option<TcpListener>,
    /// What the service counts. Its parts register their metrics before it runs.
    pub metrics: Arc<Metrics>,
}

impl Service {
    /// A service of the build `version` that listens on `address`, which `key` of the configuration
    /// sets.
    ///
    /// # Errors
    /// When the address is taken, or not one of this machine.
    pub async fn listen(
        version: &'static str,
        key: &'static str,
        address: SocketAddr,
    ) -> Result<Self, Error> {
        let listener = http::listen(key, address).await?;
        let http = listener.local_addr().map_err(Error::Http)?;
        info!(%http, "listening");
        Ok(Self {
            listener: Some(listener),
            ..Self::without_http(version)
        })
    }

    /// A service that collects metrics and serves nothing.
    pub fn without_http(version: &'static str) -> Self {
        Self {
            listener: None,
            metrics: Metrics::new(version),
        }
    }

    /// Runs `work`, and serves HTTP until it ends. After `shutdown` the service is not ready.
    ///
    /// # Errors
    /// Those of `work`, or when the listener fails.
    pub async fn run<T, E: From<Error>>(
        self,
        ready: Readiness,
        shutdown: CancellationToken,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(listener) = self.listener else {
            return work.await;
        };
        let ended = CancellationToken::new();
        let ready = unless_stopping(shutdown, ready);
        let serving = http::run(listener, ready, self.metrics, ended.clone());
        let serving = async { Ok(serving.await?) };
        let work = async {
            let done = work.await;
            ended.cancel();
            done
        };
        let ((), done) = tokio::try_join!(serving, work)?;
        Ok(done)
    }
}
