//! The service from its start to its end: listeners in, statements out, and at the signal a stop that lets
//! running statements end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use engine::lake::Lake;
use engine::metrics::Metrics;
use engine::runtime::QueryHandles;
use engine::session::Session;
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tracing::{info, warn};

use crate::admission::Running;
use crate::answers::Answers;
use crate::connections::Connections;
use crate::error::Error;
use crate::http;
use crate::metrics::Counters;
use crate::prepared::Statements;
use crate::probe::Probe;
use crate::service::Service;
use crate::sql_info::About;

/// Largest message that a client may send: a statement, or values of its parameters.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Concurrent HTTP/2 streams of one connection, and concurrent requests among them.
const STREAMS_MAX: u32 = 128;
const REQUESTS_MAX: usize = 32;
/// Interval of keep-alive pings, and how long the client may take to answer one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Grace period in which cancelled statements report to their clients.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// What is served.
#[derive(Clone, Debug)]
pub struct Server {
    pub session: Session,
    pub lake: Arc<Lake>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    /// The runtimes that statements run on. Others than the one that [`run`] is called on, whose
    /// clocks and connections must not wait for an operator that computes.
    pub queries: QueryHandles,
    /// Of the binary, for clients that ask.
    pub version: &'static str,
}

/// The limits of one server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All requests of one statement together, from planning to the last row. The wait for memory, two seconds at most,
    /// does not count.
    pub query_timeout: Duration,
    pub connections_max: usize,
    pub queries_max: usize,
    pub prepared_max: usize,
    /// From the signal to the end of the process.
    pub shutdown_deadline: Duration,
}

/// Where it is served.
#[derive(Debug)]
pub struct Listeners {
    pub flight: TcpListener,
    pub http: TcpListener,
}

/// Opens the address for Flight SQL. Without TLS and tokens only this machine may reach it.
///
/// # Errors
/// When others could reach it, or it is taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback { address });
    }
    http::listen("serve.flight_listen", address).await
}

/// Serves until `shutdown`; then takes no more, and ends when the running statements have, or the deadline has
/// passed.
///
/// # Errors
/// When a listener breaks.
pub async fn run(
    server: Server,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Limits {
        query_timeout,
        connections_max,
        queries_max,
        prepared_max,
        shutdown_deadline,
    } = server.limits;
    let counters = Counters::register(&server.metrics);
    let connections = Connections::new(connections_max, counters.clone());
    let running = Running::new(queries_max, counters);
    let about = About {
        version: server.version,
        query_timeout,
        queries_max,
    };
    let service = Service {
        answers: Answers::new(Arc::clone(&server.lake), &server.session, about)?,
        session: server.session,
        running: Arc::clone(&running),
        prepared: Statements::new(prepared_max),
        plans: Arc::default(),
        query_timeout,
        queries: server.queries.clone(),
    };
    let probe = Probe::default();
    let ready = probe.and(http::place_answers(server.lake.root()));
    let ready = http::unless_stopping(shutdown.clone(), ready);
    let ended = CancellationToken::new();
    let probing = probe.run(service.session.clone(), server.queries.small, ended.clone());
    let probing = async {
        probing.await;
        Ok(())
    };
    // Health and metrics are there as long as the last statement is.
    let http = http::run(listeners.http, ready, server.metrics, ended.clone());
    let flight = async {
        let flight = serve(
            service,
            listeners.flight,
            connections,
            &running,
            shutdown,
            shutdown_deadline,
        );
        let outcome = flight.await;
        ended.cancel();
        outcome
    };
    tokio::try_join!(http, flight, probing).map(drop)
}

async fn serve(
    service: Service,
    listener: TcpListener,
    connections: Connections,
    running: &Running,
    shutdown: CancellationToken,
    deadline: Duration,
) -> Result<(), Error> {
    let service = FlightServiceServer::new(service).max_decoding_message_size(REQUEST_BYTES_MAX);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let opening = connections.clone();
    let incoming = incoming.filter_map(move |accepted| {
        let opened = accepted.map(|stream| opening.open(stream)).transpose();
        std::future::ready(opened)
    });
    let admit = move |request| connections.admit(request);
    // Windows and frame sizes are those of what clients send, which is little. What we send fills the windows
    // that they offer.
    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .concurrency_limit_per_connection(REQUESTS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(InterceptedService::new(service, admit))
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let mut serving = Box::pin(serving);
    let overdue = async {
        shutdown.cancelled().await;
        info!(statements = running.tasks.len(), ?deadline, "stopping");
        tokio::time::sleep(deadline).await;
    };
    tokio::select! {
        served = &mut serving => served.map_err(Error::Flight)?,
        () = overdue => {
            let statements = running.cancel_all();
            warn!(statements, ?deadline, "cancelled what did not end in time");
            // Connections that do not even close then are left to the end of the process.
            let _ = tokio::time::timeout(CANCEL_GRACE, serving).await;
        }
    }
    running.tasks.close();
    let _ = tokio::time::timeout(CANCEL_GRACE, running.tasks.wait()).await;
    Ok(())
}
