//! A gateway between client and simulator that injects faults, and forwards other requests. It uses
//! raw TCP, because HTTP libraries do not send malformed responses.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::{KEY, at};
use crate::openweather::ApiKey;
use crate::openweather::simulator::World;

/// The fault of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This status line, header lines and body.
    Answer(&'static str, &'static str, String),
    /// A full `Content-Length`, half of the body, and the end.
    Truncate,
    /// The connection is closed without a response.
    Reset,
    /// No response until the client gives up.
    Hang,
}

impl Fault {
    pub(crate) fn html(status: &'static str) -> Self {
        Self::Answer(
            status,
            "Content-Type: text/html\r\n",
            "<html>Bad Gateway</html>".to_owned(),
        )
    }

    pub(crate) fn json(status: &'static str, body: &str) -> Self {
        Self::Answer(status, "", body.to_owned())
    }
}

type Faults = Box<dyn Iterator<Item = Fault> + Send>;

#[derive(Clone)]
pub(crate) struct Gateway {
    /// Address of the gateway.
    pub(crate) url: Url,
    state: Arc<Mutex<GatewayState>>,
}

struct GatewayState {
    faults: Faults,
    /// Prefix of the requests that get faults.
    path: &'static str,
    /// Request targets, in the order of their arrival.
    requests: Vec<String>,
}

impl Gateway {
    /// Injects each of `faults` into one request, in turn. Later requests are forwarded.
    pub(crate) async fn start(faults: impl Iterator<Item = Fault> + Send + 'static) -> Self {
        Self::start_for("", faults).await
    }

    /// The same, for requests that begin with `path`.
    pub(crate) async fn start_for(
        path: &'static str,
        faults: impl Iterator<Item = Fault> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url = Url::parse(&format!("http://{address}")).expect("a URL");
        let state = GatewayState {
            faults: Box::new(faults),
            path,
            requests: Vec::new(),
        };
        let gateway = Self {
            url,
            state: Arc::new(Mutex::new(state)),
        };
        tokio::spawn(accept(listener, gateway.clone()));
        gateway
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    fn next_fault(&self, target: &str) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.requests.push(target.to_owned());
        match target.starts_with(state.path) {
            true => state.faults.next(),
            false => None,
        }
    }
}

async fn accept(listener: TcpListener, gateway: Gateway) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, gateway.clone()));
    }
}

/// Serves one request of a connection.
async fn serve(stream: TcpStream, gateway: Gateway) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        stream
            .read_line(&mut request)
            .await
            .ok()
            .filter(|bytes| *bytes > 0)?;
    }
    let target = request.split(' ').nth(1)?;
    match gateway.next_fault(target) {
        None => write(&mut stream, "200 OK", "", &truth(target), 1.0).await,
        Some(Fault::Answer(status, headers, body)) => {
            write(&mut stream, status, headers, &body, 1.0).await
        }
        Some(Fault::Truncate) => write(&mut stream, "200 OK", "", &truth(target), 0.5).await,
        Some(Fault::Reset) => None,
        Some(Fault::Hang) => stream.read_to_end(&mut Vec::new()).await.ok().map(drop),
    }
}

/// Sends only `part` of the body, with the `Content-Length` of all of it.
async fn write(
    stream: &mut BufReader<TcpStream>,
    status: &str,
    headers: &str,
    body: &str,
    part: f64,
) -> Option<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    let sent = if part < 1.0 {
        &body[..length / 2]
    } else {
        body
    };
    stream.write_all(sent.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

/// The body of the simulated API, on a fixed day.
fn truth(target: &str) -> String {
    let url = Url::parse("http://gateway")
        .and_then(|base| base.join(target))
        .expect("a URL");
    let params = url.query_pairs().into_owned().collect();
    let world = World::new(1, ApiKey::new(KEY));
    let answer = world.answer(url.path(), &params, at("2026-01-15T12:00:00Z"));
    String::from_utf8(answer.body.to_vec()).expect("UTF-8")
}
