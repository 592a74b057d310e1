//! One HTTP POST at a time to a node, as the transport under `bitcoincore-rpc`.
//!
//! Written here because the transports that come with it read without an overall deadline, take a gigabyte, send a
//! request twice, or cannot be interrupted while a long poll waits.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitcoincore_rpc::jsonrpc::{self, Request, Response};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sluice_core::base64;

/// The largest answer taken. A full block's template is below 20 MB of JSON; more is refused.
const BODY_LIMIT: usize = 64 << 20;
/// The largest response head taken; Core sends about 150 bytes. More is refused.
const HEAD_LIMIT: usize = 16 << 10;
/// How long a connect may take; a node is near.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What went wrong below JSON-RPC.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    #[error("connection lost: {0}")]
    Io(io::Error),
    #[error("the connection was closed before the answer was complete")]
    Closed,
    #[error("the call was given up")]
    Interrupted,
    #[error("user or password refused (HTTP 401)")]
    Unauthorized,
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("not an HTTP answer: {0}")]
    Head(&'static str),
    #[error("the answer is longer than {BODY_LIMIT} bytes")]
    TooLarge,
    #[error("not a JSON-RPC answer: {0}")]
    Json(serde_json::Error),
    #[error("a JSON-RPC answer with neither result nor error")]
    Empty,
}

/// The call in flight on a connection, so that another thread can end it. Carries one call at a time.
#[derive(Default)]
pub(crate) struct Line(Mutex<LineState>);

#[derive(Default)]
enum LineState {
    #[default]
    Free,
    Busy(TcpStream),
    /// No call starts any more.
    Closed,
}

impl LineState {
    fn cut(&self) {
        if let Self::Busy(stream) = self {
            // It may be closed already; either way the call ends.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, LineState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the call in flight, if there is one.
    pub(crate) fn interrupt(&self) {
        self.state().cut();
    }

    /// Ends the call in flight and refuses every later one.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.cut();
        *state = LineState::Closed;
    }

    fn is_closed(&self) -> bool {
        matches!(*self.state(), LineState::Closed)
    }

    fn begin(&self, stream: &TcpStream) -> Result<(), HttpError> {
        let copy = stream.try_clone().map_err(HttpError::Io)?;
        let mut state = self.state();
        if matches!(*state, LineState::Closed) {
            return Err(HttpError::Interrupted);
        }
        *state = LineState::Busy(copy);
        Ok(())
    }

    fn end(&self) {
        let mut state = self.state();
        if matches!(*state, LineState::Busy(_)) {
            *state = LineState::Free;
        }
    }
}

/// Posts JSON-RPC requests to one node. A new connection each time: on a local network that costs 0.1 ms, and no
/// stale connection is ever written to.
pub(crate) struct Http {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `Basic ...`: a secret.
    pub(crate) authorization: String,
    /// For the whole call, from connecting to the last byte.
    pub(crate) timeout: Duration,
    pub(crate) line: Arc<Line>,
}

impl Http {
    fn post(&self, body: &[u8]) -> Result<(u16, Vec<u8>), HttpError> {
        if self.line.is_closed() {
            return Err(HttpError::Interrupted);
        }
        let deadline = Deadline { at: Instant::now() + self.timeout, whole: self.timeout };
        let mut stream = self.connect(&deadline)?;
        self.line.begin(&stream)?;
        let answer = self.exchange(&mut stream, body, &deadline);
        self.line.end();
        match answer {
            Err(_) if self.line.is_closed() => Err(HttpError::Interrupted),
            answer => answer,
        }
    }

    fn connect(&self, deadline: &Deadline) -> Result<TcpStream, HttpError> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(HttpError::Connect)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, deadline.left()?.min(CONNECT_LIMIT)) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(HttpError::Io)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(HttpError::Connect(last))
    }

    fn exchange(
        &self,
        stream: &mut TcpStream,
        body: &[u8],
        by: &Deadline,
    ) -> Result<(u16, Vec<u8>), HttpError> {
        let mut request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.host,
            self.authorization,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.set_write_timeout(Some(by.left()?)).map_err(HttpError::Io)?;
        stream.write_all(&request).map_err(|error| by.explain(error))?;
        read_answer(stream, by)
    }
}

/// When a call must be over.
struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    fn left(&self) -> Result<Duration, HttpError> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(HttpError::Timeout(self.whole)) } else { Ok(left) }
    }

    fn explain(&self, error: io::Error) -> HttpError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HttpError::Timeout(self.whole),
            _ => HttpError::Io(error),
        }
    }

    fn read(&self, stream: &mut TcpStream, into: &mut [u8]) -> Result<usize, HttpError> {
        loop {
            stream.set_read_timeout(Some(self.left()?)).map_err(HttpError::Io)?;
            match stream.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| self.explain(error)),
            }
        }
    }
}

/// Status and body. Stops at Content-Length: Core may keep the connection open a while longer.
fn read_answer(stream: &mut TcpStream, by: &Deadline) -> Result<(u16, Vec<u8>), HttpError> {
    let mut bytes = vec![0; HEAD_LIMIT];
    let mut have = 0;
    let head_end = loop {
        let count = by.read(stream, &mut bytes[have..])?;
        if count == 0 {
            return Err(if have < HEAD_LIMIT {
                HttpError::Closed
            } else {
                HttpError::Head("the head is too long")
            });
        }
        have += count;
        if let Some(at) = bytes[..have].windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = Head::parse(&bytes[..head_end])?;
    bytes.truncate(have);
    bytes.drain(..head_end);
    read_body(stream, by, head.length, &mut bytes)?;
    Ok((head.status, bytes))
}

/// Fills `body` up to `length`, or to the end of the connection where the length was not said.
fn read_body(
    stream: &mut TcpStream,
    by: &Deadline,
    length: Option<usize>,
    body: &mut Vec<u8>,
) -> Result<(), HttpError> {
    const STEP: usize = 256 << 10;
    let want = length.unwrap_or(BODY_LIMIT);
    if want > BODY_LIMIT {
        return Err(HttpError::TooLarge);
    }
    let mut have = body.len().min(want);
    while have < want {
        if body.len() < want.min(have + STEP) {
            body.resize(want.min(have + STEP), 0);
        }
        match by.read(stream, &mut body[have..])? {
            0 if length.is_none() => break,
            0 => return Err(HttpError::Closed),
            count => have += count,
        }
    }
    if length.is_none() && have == BODY_LIMIT {
        return Err(HttpError::TooLarge);
    }
    body.truncate(have);
    Ok(())
}

struct Head {
    status: u16,
    length: Option<usize>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, HttpError> {
        let text = std::str::from_utf8(bytes).map_err(|_| HttpError::Head("the head is not text"))?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or(HttpError::Head("the status line is malformed"))?;
        let mut length = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                let parsed =
                    value.trim().parse().map_err(|_| HttpError::Head("the content length is no number"))?;
                length = Some(parsed);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(HttpError::Head("transfer encodings are not taken"));
            }
        }
        Ok(Self { status, length })
    }
}

/// As Core answers. A missing result must not pass for `null`: `null` means that a block was accepted.
#[derive(Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<jsonrpc::error::RpcError>,
    id: serde_json::Value,
}

fn present<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(source).map(Some)
}

fn understand(status: u16, body: &[u8], id: &serde_json::Value) -> Result<Response, jsonrpc::Error> {
    if status == 401 || status == 403 {
        return Err(transport(HttpError::Unauthorized));
    }
    // Core sends its errors as JSON with various statuses.
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        transport(if status == 200 { HttpError::Json(error) } else { HttpError::Status(status) })
    })?;
    if answer.result.is_none() && answer.error.is_none() {
        return Err(transport(HttpError::Empty));
    }
    if answer.id != *id {
        return Err(jsonrpc::Error::NonceMismatch);
    }
    Ok(Response { result: answer.result, error: answer.error, id: answer.id, jsonrpc: None })
}

fn transport(error: HttpError) -> jsonrpc::Error {
    jsonrpc::Error::Transport(Box::new(error))
}

impl jsonrpc::client::Transport for Http {
    fn send_request(&self, request: Request<'_>) -> Result<Response, jsonrpc::Error> {
        let (status, body) = self.post(&serde_json::to_vec(&request)?).map_err(transport)?;
        understand(status, &body, &request.id)
    }

    fn send_batch(&self, requests: &[Request<'_>]) -> Result<Vec<Response>, jsonrpc::Error> {
        requests
            .iter()
            .map(|request| {
                let (status, body) = self.post(&serde_json::to_vec(request)?).map_err(transport)?;
                understand(status, &body, &request.id)
            })
            .collect()
    }

    fn fmt_target(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// `Basic` and the base64 of `USER:PASSWORD` (RFC 7617).
pub(crate) fn basic(credentials: &str) -> String {
    format!("Basic {}", base64::encode(credentials.as_bytes()))
}

#[cfg(test)]
mod tests;
