//! A service of accounts on a socket: as slow and as broken as a test wants it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use sluice_tests::SOON;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request that came in.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Request line and headers, as sent.
    pub(super) head: String,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub(super) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// What stands behind the last `/`.
    pub(super) fn account(&self) -> &str {
        self.target().rsplit('/').next().unwrap_or_default()
    }

    /// The value of a header; its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// What the service does about it.
#[derive(Clone, Debug)]
pub(super) enum Says {
    Answer(u16, String),
    Redirect(&'static str),
    /// The answer, once [`Service::open`] is called.
    Held(u16, String),
    /// Nothing, for ever.
    Silence,
}

/// An account that is welcome.
pub(super) fn known() -> Says {
    Says::Answer(200, "{}".to_owned())
}

type Rule = dyn Fn(&Asked) -> Says + Send + Sync;

/// Ends when dropped.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    scheme: &'static str,
    desk: Arc<Desk>,
    acceptor: JoinHandle<()>,
}

struct Desk {
    rule: Box<Rule>,
    asked: Mutex<Vec<Asked>>,
    count: watch::Sender<usize>,
    gate: Semaphore,
    present: AtomicUsize,
    peak: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    pub(super) async fn start(rule: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> Result<Self> {
        Self::listen(Box::new(rule), None).await
    }

    pub(super) async fn start_tls(
        tls: TlsAcceptor,
        rule: impl Fn(&Asked) -> Says + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::listen(Box::new(rule), Some(tls)).await
    }

    async fn listen(rule: Box<Rule>, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            rule,
            asked: Mutex::default(),
            count: watch::Sender::new(0),
            gate: Semaphore::new(0),
            present: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        });
        let scheme = if tls.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let acceptor = tokio::spawn(accept(listener, tls, desk.clone()));
        Ok(Self { address, scheme, desk, acceptor })
    }

    /// `path` at this service.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}:{}{path}", self.scheme, self.address.port())
    }

    /// Everything that was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        locked(&self.desk.asked).clone()
    }

    /// Waits until so many requests have come in.
    pub(super) async fn reached(&self, count: usize) -> Result<()> {
        let mut seen = self.desk.count.subscribe();
        let reached = tokio::time::timeout(SOON, seen.wait_for(|seen| *seen >= count)).await;
        reached
            .with_context(|| format!("the service was asked {} times, not {count}", self.asked().len()))??;
        Ok(())
    }

    /// Lets go what is held, and holds nothing any more.
    pub(super) fn open(&self) {
        self.desk.gate.close();
    }

    /// The most requests that were there at once.
    pub(super) fn peak(&self) -> usize {
        self.desk.peak.load(SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, desk: Arc<Desk>) {
    // Dropped with this task: a service that ends takes its connections with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, desk) = (tls.clone(), desk.clone());
        connections.spawn(async move { greet(stream, tls, &desk).await });
    }
}

/// What goes wrong with a connection shows at its other end.
async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>, desk: &Desk) {
    let _ = match tls {
        None => serve(stream, desk).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve(stream, desk).await,
            Err(error) => Err(error.into()),
        },
    };
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, desk: &Desk) -> Result<()> {
    let mut bytes = Vec::new();
    while let Some(asked) = read(&mut stream, &mut bytes).await? {
        let present = desk.present.fetch_add(1, SeqCst) + 1;
        desk.peak.fetch_max(present, SeqCst);
        locked(&desk.asked).push(asked.clone());
        desk.count.send_modify(|count| *count += 1);
        let answer = answer(desk, (desk.rule)(&asked)).await;
        desk.present.fetch_sub(1, SeqCst);
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

async fn answer(desk: &Desk, says: Says) -> String {
    let (status, body, location) = match says {
        Says::Answer(status, body) => (status, body, None),
        Says::Redirect(location) => (302, String::new(), Some(location)),
        Says::Held(status, body) => {
            // It is closed, never given out.
            let _ = desk.gate.acquire().await;
            (status, body, None)
        }
        Says::Silence => std::future::pending().await,
    };
    let location = location.map_or_else(String::new, |to| format!("Location: {to}\r\n"));
    format!("HTTP/1.1 {status} X\r\n{location}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The next request; `None` at the end of the connection.
async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<Option<Asked>> {
    loop {
        if let Some((asked, length)) = parse(bytes)? {
            bytes.drain(..length);
            return Ok(Some(asked));
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// A whole request and its length, if there is one.
fn parse(bytes: &[u8]) -> Result<Option<(Asked, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8(bytes[..end].to_vec())?;
    let asked = Asked { head, body: String::new() };
    let length = asked.header("content-length").map_or(Ok(0), str::parse::<usize>)?;
    let whole = end + 4 + length;
    let Some(body) = bytes.get(end + 4..whole) else { return Ok(None) };
    Ok(Some((Asked { body: String::from_utf8(body.to_vec())?, ..asked }, whole)))
}
