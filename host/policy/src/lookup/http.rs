//! The way out: HTTP/1.1 over TCP or TLS, with connections that are used again.
//!
//! No proxies, no cookies, no redirects: what comes back is what the granted URL said.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;
use tower_service::Service;

use super::transport::{Method, Outgoing, Pending, Reply, Transport, TransportError};
use super::url::{Scheme, Url};
use crate::check::{TEXT_LIMIT, bounded};

/// What a service reads as User-Agent, unless a grant has a header of that name.
const AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));
/// How long a connection may take: name, all addresses of the host together, TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection waits for its next request. Most servers close theirs after 5 s or more: ours goes first, so that
/// no request meets a connection that is closing.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Connections to one service that wait for their next request; one more is closed.
const IDLE_CONNECTIONS: usize = 16;
/// The largest response head, in bytes, and the most headers in it.
const HEAD_LIMIT: usize = 32 << 10;
const HEADERS_LIMIT: usize = 100;
/// Names that are resolved at once. The system's resolver cannot be interrupted: one that hangs holds a thread each.
const RESOLVING: usize = 8;
/// The largest file of authorities, in bytes.
const AUTHORITIES_LIMIT: u64 = 1 << 20;

/// Why no requests can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the authorities in {} cannot be used: {why}; a PEM file with at least one certificate is allowed", file.display())]
    Authorities { file: PathBuf, why: String },
    /// The machine trusts nobody and no file was given.
    #[error(
        "no certificate authority is known, so that no https URL could be asked; install the system's ca-certificates or \
         name a file of authorities ({0})"
    )]
    NobodyTrusted(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Requests over the network.
pub struct Http {
    client: Client<Prompt<HttpsConnector<HttpConnector<Resolver>>>, Full<Bytes>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

/// Whose certificates are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Nobody's: no https URL is granted.
    Nobody,
    /// The machine's authorities.
    Machine,
    /// Those and the ones in this PEM file: for private services.
    MachineAnd(&'a Path),
}

impl Http {
    /// # Errors
    /// [`HttpError`].
    pub fn new(trust: Trust<'_>) -> Result<Self, HttpError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth();
        let mut tcp =
            HttpConnector::new_with_resolver(Resolver { turns: Arc::new(Semaphore::new(RESOLVING)) });
        // Of the two schemes, TLS is the next layer's.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(HEAD_LIMIT)
            .http1_max_headers(HEADERS_LIMIT)
            .build(Prompt { connector, limit: CONNECT_LIMIT });
        Ok(Self { client })
    }

    async fn exchange(&self, outgoing: Outgoing) -> Result<Reply, TransportError> {
        let limit = outgoing.answer_bytes;
        let response = self.client.request(request(&outgoing)?).await.map_err(|error| failed(&error))?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(TransportError::Protocol("it wants another protocol (status 101)".to_owned()));
        }
        let body = read(response.into_body(), limit).await?;
        Ok(Reply { status: status.as_u16(), body })
    }
}

impl Transport for Http {
    fn send(&self, request: Outgoing) -> Pending<'_> {
        Box::pin(async move {
            let limit = request.timeout;
            let answer = tokio::time::timeout(limit, self.exchange(request)).await;
            answer.unwrap_or(Err(TransportError::Timeout))
        })
    }
}

fn roots(trust: Trust<'_>) -> Result<RootCertStore, HttpError> {
    let mut roots = RootCertStore::empty();
    if trust == Trust::Nobody {
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    // Some that cannot be read do not matter where others can.
    roots.add_parsable_certificates(found.certs);
    if let Trust::MachineAnd(file) = trust {
        add_authorities(&mut roots, file)
            .map_err(|why| HttpError::Authorities { file: file.to_owned(), why })?;
    }
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(HttpError::NobodyTrusted(why));
    }
    Ok(roots)
}

fn add_authorities(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > AUTHORITIES_LIMIT {
        return Err(format!("it has {size} bytes, at most {AUTHORITIES_LIMIT} are allowed"));
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut count = 0usize;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}

/// What goes over the wire. The parts of the URL are put together anew, and have to come out as they went in: what was
/// granted is what is asked.
fn request(outgoing: &Outgoing) -> Result<Request<Full<Bytes>>, TransportError> {
    let invalid = |why: &dyn std::fmt::Display| {
        TransportError::Protocol(format!("the request cannot be written: {why}"))
    };
    let url = &outgoing.url;
    let uri = uri(url).map_err(|why| invalid(&why))?;
    let method = match outgoing.method {
        Method::Get => hyper::Method::GET,
        Method::Post => hyper::Method::POST,
    };
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(headers) = request.headers_mut() {
        let text = |text: &str| HeaderValue::from_str(text).map_err(|error| invalid(&error));
        headers.insert(HOST, text(&url.host_header())?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if outgoing.method == Method::Post {
            headers.insert(CONTENT_TYPE, text(&outgoing.content_type)?);
        }
        for header in outgoing.headers.iter() {
            let name = HeaderName::from_bytes(header.name().as_bytes()).map_err(|error| invalid(&error))?;
            let mut value = text(header.value())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    let body = match outgoing.method {
        Method::Get => Bytes::new(),
        Method::Post => Bytes::copy_from_slice(&outgoing.body),
    };
    request.body(Full::new(body)).map_err(|error| invalid(&error))
}

fn uri(url: &Url) -> Result<Uri, String> {
    let scheme = match url.scheme() {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let (authority, target) = (url.host_header(), url.target());
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
    let uri = uri.map_err(|error| error.to_string())?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    // Left out where it is the scheme's own.
    let same_port = uri.port_u16().is_none_or(|port| port == url.port());
    let same_target = uri.path_and_query().is_some_and(|read| read.as_str() == target);
    if host == url.host() && same_port && same_target {
        Ok(uri)
    } else {
        Err("its URL is understood in two ways".to_owned())
    }
}

/// The body, as far as it is within the limit.
async fn read(mut body: Incoming, limit: usize) -> Result<Vec<u8>, TransportError> {
    let too_large = || TransportError::TooLarge { limit };
    // Not a byte of one that says beforehand that it is too large.
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > limit) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| TransportError::Protocol(chain(&error)))?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn failed(error: &legacy::Error) -> TransportError {
    // Its own words ("client error (Connect)") say nothing to an operator: what it comes from does.
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), chain);
    if error.is_connect() { TransportError::Connect(why) } else { TransportError::Protocol(why) }
}

/// An error and what it comes from.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some repeat what they come from.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    bounded(&text, TEXT_LIMIT)
}

/// Connections that are there in time, or not at all. A connection is made to its end where its request was given up, since
/// the next one can use it: this is what bounds one whose TLS never comes about.
#[derive(Clone)]
struct Prompt<C> {
    connector: C,
    limit: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> Service<Uri> for Prompt<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.connector.call(to), self.limit);
        Box::pin(async move {
            let connected = tokio::time::timeout(limit, connecting).await;
            connected.unwrap_or_else(|_| {
                Err(io::Error::new(ErrorKind::TimedOut, format!("not ready within {limit:?}")).into())
            })
        })
    }
}

/// The system's resolver, a few names at a time, off the reactor.
#[derive(Clone)]
struct Resolver {
    turns: Arc<Semaphore>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let turns = self.turns.clone();
        Box::pin(async move {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            let found = tokio::task::spawn_blocking(move || {
                // Given back when the resolver returns, not when the request is given up.
                let _turn = turn;
                let found: Vec<SocketAddr> = (name.as_str(), 0).to_socket_addrs()?.collect();
                Ok(found)
            });
            let found = found.await.map_err(io::Error::other)?;
            let found = found.map_err(|error: io::Error| {
                io::Error::new(error.kind(), format!("the name cannot be resolved: {error}"))
            })?;
            if found.is_empty() {
                return Err(io::Error::new(ErrorKind::NotFound, "the name has no address"));
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests;
