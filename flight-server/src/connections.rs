//! The connections of clients: how many are served, and that one more is told so.
//!
//! A connection takes its place with its first request and keeps it until it is closed. A connection without
//! a free place is refused, and its client may ask again on it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;
use tonic::{Request, Status};

use crate::metrics::Counters;

/// Connections without a place that are listened to, so that they can be told. Even more are closed at once.
const TOLD_MAX: usize = 64;

/// All connections of the service.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    places: Arc<Semaphore>,
    open: Arc<Semaphore>,
    connections_max: usize,
    counters: Counters,
}

/// The place of one connection, once it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Arc<OnceLock<OwnedSemaphorePermit>>);

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    place: Place,
    counters: Counters,
    _open: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(connections_max: usize, counters: Counters) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS - TOLD_MAX);
        Self {
            places: Arc::new(Semaphore::new(connections_max)),
            open: Arc::new(Semaphore::new(connections_max + TOLD_MAX)),
            connections_max,
            counters,
        }
    }

    /// Takes what has been accepted, unless that is far too much: then it is closed.
    pub(crate) fn open(&self, stream: TcpStream) -> Option<Connection> {
        let Ok(open) = Arc::clone(&self.open).try_acquire_owned() else {
            self.counters.connections_refused.inc();
            return None;
        };
        self.counters.connections.inc();
        Some(Connection {
            stream,
            place: Place::default(),
            counters: self.counters.clone(),
            _open: open,
        })
    }

    /// Lets a request pass if its connection has a place, or finds one now.
    pub(crate) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let place = request.extensions().get::<Place>();
        if place.is_some_and(|place| place.0.get().is_some()) {
            return Ok(request);
        }
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counters.connections_refused.inc();
            return Err(Status::resource_exhausted(format!(
                "{} connections are open already (serve.connections_max); try again when one is closed",
                self.connections_max
            )));
        };
        // Another request of the same connection may have been faster; then this permit is given back.
        let _ = place.map(|place| place.0.set(permit));
        Ok(request)
    }
}

impl Connected for Connection {
    type ConnectInfo = Place;

    fn connect_info(&self) -> Place {
        self.place.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counters.connections.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
