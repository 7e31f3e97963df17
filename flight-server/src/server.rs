//! Runs the server: from the listeners to a shutdown that waits for running statements.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::StreamExt as _;
use lake::Lake;
use query_service::QueryService;
use service::http;
use service::metrics::Metrics;
use service::readiness::unless_stopping;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tracing::{info, warn};

use crate::connections::Connections;
use crate::error::Error;
use crate::metadata::MetadataService;
use crate::metadata::sql_info::ServerInfo;
use crate::metrics::ConnectionCounters;
use crate::requests::service::Service;

/// Limit of a message from a client in bytes: a statement, or values of its parameters.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Concurrent HTTP/2 streams of one connection.
const STREAMS_MAX: u32 = 128;
/// Concurrent requests of one connection.
const REQUESTS_MAX: usize = 32;
/// Interval of keep-alive pings.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time limit for the answer to a keep-alive ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Grace period in which cancelled statements report to their clients.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// A server of Flight SQL.
#[derive(Clone, Debug)]
pub struct Server {
    /// Executes every statement.
    pub queries: QueryService,
    /// The lake whose tables the server lists, and whose storage decides its readiness.
    pub lake: Arc<Lake>,
    pub limits: Limits,
    /// The registry that `/metrics` publishes, to which the server adds its counters.
    pub metrics: Arc<Metrics>,
    /// Version of the binary, for `CommandGetSqlInfo`.
    pub version: &'static str,
}

/// The limits of one server. Those of statements are the query service's.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are served at a time.
    pub connections_max: usize,
    /// Time from the signal until running statements are cancelled.
    pub shutdown_deadline: Duration,
}

/// The listeners of a server.
#[derive(Debug)]
pub struct Listeners {
    /// For Flight SQL, on a loopback address.
    pub flight: TcpListener,
    /// For health and metrics.
    pub http: TcpListener,
}

/// Listens for Flight SQL. Without TLS and tokens the address must be a loopback address.
///
/// # Errors
/// When `address` is not a loopback address, or is taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback { address });
    }
    Ok(http::listen("serve.flight_listen", address).await?)
}

/// Serves until `shutdown`; then accepts no new connection, and returns when the running statements
/// have ended. At the deadline it cancels those that are left.
///
/// # Errors
/// When a listener fails.
pub async fn run(
    server: Server,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Limits {
        connections_max,
        shutdown_deadline,
    } = server.limits;
    let counters = ConnectionCounters::register(&server.metrics);
    let connections = Connections::new(connections_max, counters);
    let queries = server.queries;
    let server_info = ServerInfo {
        version: server.version,
        query_timeout: queries.limits().query_timeout,
        queries_max: queries.limits().queries_max,
    };
    let metadata = MetadataService::new(Arc::clone(&server.lake), queries.session(), server_info)?;
    let service = Service {
        metadata,
        queries: queries.clone(),
    };
    let ready = queries.readiness(lake::storage_ready(server.lake.root()));
    let ready = unless_stopping(shutdown.clone(), ready);
    let stopped = CancellationToken::new();
    let probing = async {
        queries.run_probe(stopped.clone()).await;
        Ok(())
    };
    // HTTP is served until the last statement has ended.
    let http = http::run(listeners.http, ready, server.metrics, stopped.clone());
    let http = async { Ok(http.await?) };
    let flight = async {
        let flight = serve(
            service,
            listeners.flight,
            connections,
            &queries,
            shutdown,
            shutdown_deadline,
        );
        let outcome = flight.await;
        stopped.cancel();
        outcome
    };
    tokio::try_join!(http, flight, probing).map(drop)
}

async fn serve(
    service: Service,
    listener: TcpListener,
    connections: Connections,
    queries: &QueryService,
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
    // Windows and frame sizes keep their defaults: they bound what clients send, which is little.
    // What the server sends is bounded by the windows of the clients.
    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .concurrency_limit_per_connection(REQUESTS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(InterceptedService::new(service, admit))
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let mut serving = Box::pin(serving);
    let deadline_passed = async {
        shutdown.cancelled().await;
        info!(statements = queries.running(), ?deadline, "stopping");
        tokio::time::sleep(deadline).await;
    };
    tokio::select! {
        served = &mut serving => served.map_err(Error::Flight)?,
        () = deadline_passed => {
            let statements = queries.cancel_all();
            warn!(statements, ?deadline, "cancelled statements that did not end in time");
            // Connections that are still open after this end with the process.
            let _ = tokio::time::timeout(CANCEL_GRACE, serving).await;
        }
    }
    queries.shutdown(CANCEL_GRACE).await;
    Ok(())
}
