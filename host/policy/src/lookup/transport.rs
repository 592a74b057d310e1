//! How a request leaves the host: one request, one answer. Everything else (whether, how often, how many) is settled before.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::config::Header;
use super::url::Url;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// A request as it goes out. `Debug` shows neither the body nor the values of headers.
#[derive(Clone)]
pub struct Outgoing {
    pub method: Method,
    /// Checked, and granted: to be sent as it is, without any further interpretation.
    pub url: Url,
    /// Of the grant. Secrets.
    pub headers: Arc<[Header]>,
    /// Of the body; printable ASCII. Empty where there is no body.
    pub content_type: String,
    /// A secret: it may hold a password.
    pub body: Arc<[u8]>,
    /// From the beginning of the connection to the last byte of the answer. The caller keeps it too, with a little patience.
    pub timeout: Duration,
    /// A larger body is not read to its end.
    pub answer_bytes: usize,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, url, headers, body, .. } = self;
        write!(f, "{method:?} {url} ({} headers, {} bytes)", headers.len(), body.len())
    }
}

/// What came back: any status, with its body as the service sent it. Redirects are answers, never followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Why there is no answer. The texts are for the log: without headers and bodies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection: name not found, refused, TLS not agreed on.
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// What came is no HTTP, or ended too early.
    #[error("no usable answer: {0}")]
    Protocol(String),
}

/// An answer under way.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Result<Reply, TransportError>> + Send + 'a>>;

/// Sends requests. Dropping the future gives the request up. Called at most [`super::LookupConfig::concurrency`] times at
/// once, on the pool's runtime.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    fn send(&self, request: Outgoing) -> Pending<'_>;
}

/// No way out: where nothing is granted, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Transport for Offline {
    fn send(&self, _: Outgoing) -> Pending<'_> {
        Box::pin(std::future::ready(Err(TransportError::Connect(
            "this program makes no requests".to_owned(),
        ))))
    }
}
