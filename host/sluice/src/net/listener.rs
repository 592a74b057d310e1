//! Accepting connections: socket options, the gate, PROXY headers, TLS, and then a session. The same door for every
//! protocol; what a newcomer becomes is the [`Greeter`]'s.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use ppp::{HeaderResult, PartialResult};
use sluice_core::ids::ConnectionId;
use sluice_core::session::{Close, Session};
use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::ProxyProtocol;
use crate::metrics::Refused;

use super::connection::{Connection, Newcomer, Shared};
use super::gate::{Gate, Pass};
use super::greeter::Greeter;
use super::handshakes::{Handshakes, Place};
use super::tls::Certificate;

/// For a PROXY header and for a TLS handshake.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of a listener that may be in there at the same time, where the protocol sets no limit of its own for all
/// that is before its work (N-22); one more is refused.
const PREAMBLES_LIMIT: usize = 1024;
/// How often an unfinished PROXY header is looked at again.
const PROXY_PAUSE: Duration = Duration::from_millis(50);
/// The longest PROXY header that is understood, in bytes: v1 has 107, v2 with its extensions seldom more than 300.
const PROXY_HEADER_LIMIT: usize = 2048;
/// Pause after the system could not give a socket (too many files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 4096;
/// V1-78
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(30))
    .with_retries(3);

/// A bound listener.
pub struct Listener<G> {
    socket: socket2::Socket,
    greeter: G,
    proxy: ProxyProtocol,
    certificate: Option<Arc<Certificate>>,
    /// Places for connections that are not through their PROXY header or handshake.
    handshakes: Arc<Handshakes>,
}

/// What all listeners of a protocol share.
#[derive(Clone)]
pub struct Entrance {
    pub shared: Arc<Shared>,
    pub gate: Arc<Gate>,
    pub ids: Arc<AtomicU64>,
}

impl<G: Greeter> Listener<G> {
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        greeter: G,
        proxy: ProxyProtocol,
        certificate: Option<Arc<Certificate>>,
    ) -> anyhow::Result<Self> {
        let socket = bind(address).with_context(|| {
            format!(
                "failed to listen on {address}; is another program there? choose another address or port 0"
            )
        })?;
        let handshakes = Handshakes::new(greeter.handshakes_limit().unwrap_or(PREAMBLES_LIMIT));
        Ok(Self { socket, greeter, proxy, certificate, handshakes })
    }

    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    pub fn has_tls(&self) -> bool {
        self.certificate.is_some()
    }

    pub fn name(&self) -> &str {
        self.greeter.name()
    }

    /// Accepts until the pool closes. Connections run in tasks of their own.
    ///
    /// Accepting has a thread of its own: when ten thousand miners come back at once, the runtime's queue is long, and
    /// a listener that waits its turn there loses connects to a full backlog, which cost their miners a second each.
    pub async fn serve(self, entrance: Entrance) {
        if let Some(certificate) = &self.certificate {
            tokio::spawn(Arc::clone(certificate).follow());
        }
        let mut closing = entrance.shared.closing.clone();
        let listener = Arc::new(self);
        let accepting = Arc::clone(&listener);
        let runtime = tokio::runtime::Handle::current();
        let name = format!("accept-{}", listener.name());
        let thread =
            std::thread::Builder::new().name(name).spawn(move || accepting.accept(&entrance, &runtime));
        if let Err(error) = thread {
            return tracing::error!(%error, listener = listener.name(), "no thread to accept with");
        }
        // Wakes the thread, however this task ends.
        let _stop = Stop(Arc::clone(&listener));
        // While there is no work newcomers are refused one by one (V1-80); only the end of the pool ends this.
        let _ = closing.wait_for(|why| *why == Some(Close::Shutdown)).await;
    }

    fn accept(self: Arc<Self>, entrance: &Entrance, runtime: &tokio::runtime::Handle) {
        let _context = runtime.enter();
        let is_plain = self.proxy == ProxyProtocol::Off && self.certificate.is_none();
        loop {
            match self.socket.accept() {
                Ok((socket, peer)) => {
                    let (Some(peer), Ok(())) = (peer.as_socket(), socket.set_nonblocking(true)) else {
                        continue;
                    };
                    if is_plain {
                        let begun = self.try_begin(entrance, socket.into(), peer.ip());
                        self.note_refused(entrance, peer, begun);
                    } else {
                        let (listener, entrance) = (Arc::clone(&self), entrance.clone());
                        runtime.spawn(listener.admit(entrance, socket.into(), peer));
                    }
                }
                Err(_) if *entrance.shared.closing.borrow() == Some(Close::Shutdown) => return,
                Err(error) => {
                    tracing::warn!(%error, listener = self.name(), "accept failed");
                    std::thread::park_timeout(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn note_refused(&self, entrance: &Entrance, peer: SocketAddr, begun: Result<(), Refused>) {
        if let Err(cause) = begun {
            let protocol = self.greeter.protocol();
            entrance.shared.metrics.connection_refused(protocol, cause);
            let cause = cause.label();
            tracing::debug!(peer.addr = %peer, %protocol, listener = self.name(), cause, "connection refused");
        }
    }

    /// A connection that says first who it is, or that it is really TLS.
    async fn admit(self: Arc<Self>, entrance: Entrance, stream: std::net::TcpStream, peer: SocketAddr) {
        let begun = self.try_admit(&entrance, stream, peer).await;
        self.note_refused(&entrance, peer, begun);
    }

    async fn try_admit(
        &self,
        entrance: &Entrance,
        stream: std::net::TcpStream,
        peer: SocketAddr,
    ) -> Result<(), Refused> {
        check_open(entrance)?;
        let mut stream = TcpStream::from_std(stream).map_err(|_| Refused::Full)?;
        let place = self.handshakes.enter()?;
        let address = match self.proxy {
            ProxyProtocol::Off => peer.ip(),
            wanted => {
                let header = read_proxy_header(&mut stream, wanted, peer.ip());
                timely(header, Refused::ProxyHeader).await?
            }
        };
        let pass = entrance.gate.enter(address, entrance.shared.clock.moment())?;
        let place = self.counted(place, &pass)?;
        match &self.certificate {
            None => self.begin(entrance, stream, pass, Some(place)),
            Some(certificate) => {
                let handshake = certificate.acceptor().accept(stream);
                let stream = Box::pin(timely(handshake, Refused::Tls)).await?;
                self.begin(entrance, stream, pass, Some(place))
            }
        }
    }

    /// Now that it is known whose place it is: where a handshake costs something, one address has only so many (N-22).
    fn counted(&self, place: Place, pass: &Pass) -> Result<Place, Refused> {
        let is_limited = self.greeter.handshakes_limit().is_some() && !pass.is_exempt();
        if is_limited { place.of(pass.address()) } else { Ok(place) }
    }

    fn try_begin(
        &self,
        entrance: &Entrance,
        stream: std::net::TcpStream,
        address: IpAddr,
    ) -> Result<(), Refused> {
        check_open(entrance)?;
        let pass = entrance.gate.enter(address, entrance.shared.clock.moment())?;
        let place = match self.greeter.handshakes_limit() {
            Some(_) => Some(self.counted(self.handshakes.enter()?, &pass)?),
            None => None,
        };
        let stream = TcpStream::from_std(stream).map_err(|_| Refused::Full)?;
        self.begin(entrance, stream, pass, place)
    }

    /// Starts the connection's own task: what was needed to admit it does not stay in memory. It keeps its place while
    /// the session has a handshake of its own to make.
    fn begin<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        entrance: &Entrance,
        stream: T,
        pass: Pass,
        place: Option<Place>,
    ) -> Result<(), Refused> {
        let address = pass.address();
        let shared = Arc::clone(&entrance.shared);
        let session = self.greeter.session(address.to_string().into(), shared.clock.now())?;
        let id = ConnectionId(entrance.ids.fetch_add(1, Ordering::Relaxed));
        let protocol = self.greeter.protocol();
        let place = place.filter(|_| self.greeter.handshakes_limit().is_some());
        tracing::debug!(conn.id = id.0, peer.addr = %address, %protocol, "connected");
        let newcomer = Newcomer { protocol, id, address, place };
        let connection = Box::new(Connection::new(shared, newcomer, session, stream, self.greeter.pick()));
        tokio::spawn(see_through(connection, pass));
        Ok(())
    }
}

/// Ends the accepting thread when dropped.
struct Stop<G>(Arc<Listener<G>>);

impl<G> Drop for Stop<G> {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Runs a connection to its end, and judges how it ended.
async fn see_through<S: Session, T: AsyncRead + AsyncWrite + Unpin + Send>(
    mut connection: Box<Connection<S, T>>,
    pass: Pass,
) {
    let why = connection.run().await;
    let (protocol, id, address) = (connection.protocol(), connection.id(), pass.address());
    tracing::debug!(conn.id = id.0, peer.addr = %address, %protocol, reason = why.label(), "connection closed");
    if why.is_offence() && pass.offence(connection.now()) {
        connection.metrics().banned(protocol);
        tracing::warn!(peer.addr = %address, %protocol, reason = why.label(), "address banned");
    }
}

/// Whether newcomers are let in at all (V1-80).
fn check_open(entrance: &Entrance) -> Result<(), Refused> {
    let open = entrance.shared.closing.borrow().is_none() && *entrance.shared.accepting.borrow();
    if open { Ok(()) } else { Err(Refused::NoWork) }
}

/// With the time limit of the preamble.
async fn timely<V, E>(work: impl Future<Output = Result<V, E>>, refused: Refused) -> Result<V, Refused> {
    match tokio::time::timeout(PREAMBLE_TIMEOUT, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) | Err(_) => Err(refused),
    }
}

fn bind(address: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // A restart must not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these (V1-3, V1-78).
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Reads exactly the header, and whom it speaks for; `LOCAL` and `UNKNOWN` speak for the proxy itself.
async fn read_proxy_header(
    stream: &mut TcpStream,
    wanted: ProxyProtocol,
    peer: IpAddr,
) -> io::Result<IpAddr> {
    let mut buffer = vec![0; PROXY_HEADER_LIMIT];
    let mut seen = 0;
    loop {
        let count = stream.peek(&mut buffer).await?;
        // Nothing new means the peer has closed, or sends nothing: the time limit ends that.
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = HeaderResult::parse(&buffer[..count]);
        if header.is_complete() || cannot_grow_into_a_header(&buffer[..count]) {
            let (length, address) = understand(header, wanted, peer)?;
            stream.read_exact(&mut buffer[..length]).await?;
            return Ok(address);
        }
        if count == buffer.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if count == seen {
            // peek() is ready as long as anything is there: wait until there is more.
            tokio::time::sleep(PROXY_PAUSE).await;
        }
        seen = count;
    }
}

/// Whether more bytes cannot help: the parser takes some of what is wrong for unfinished.
fn cannot_grow_into_a_header(bytes: &[u8]) -> bool {
    const VERSION_1: &[u8] = b"PROXY ";
    const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let may_be = |signature: &[u8]| {
        let length = signature.len().min(bytes.len());
        bytes[..length] == signature[..length]
    };
    if may_be(VERSION_1) { bytes.contains(&b'\n') } else { !may_be(VERSION_2) }
}

fn understand(header: HeaderResult<'_>, wanted: ProxyProtocol, peer: IpAddr) -> io::Result<(usize, IpAddr)> {
    let refused = || io::Error::from(io::ErrorKind::InvalidData);
    match (header, wanted) {
        (HeaderResult::V1(Ok(header)), ProxyProtocol::V1 | ProxyProtocol::Any) => {
            let address = match header.addresses {
                ppp::v1::Addresses::Tcp4(tcp) => tcp.source_address.into(),
                ppp::v1::Addresses::Tcp6(tcp) => tcp.source_address.into(),
                ppp::v1::Addresses::Unknown => peer,
            };
            Ok((header.header.len(), address))
        }
        (HeaderResult::V2(Ok(header)), ProxyProtocol::V2 | ProxyProtocol::Any) => {
            let address = match (header.command, header.addresses) {
                (ppp::v2::Command::Proxy, ppp::v2::Addresses::IPv4(ip)) => ip.source_address.into(),
                (ppp::v2::Command::Proxy, ppp::v2::Addresses::IPv6(ip)) => ip.source_address.into(),
                _ => peer,
            };
            Ok((header.len(), address))
        }
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn through(bytes: &[u8], wanted: ProxyProtocol) -> (io::Result<IpAddr>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        for piece in bytes.chunks(7) {
            client.write_all(piece).await.unwrap();
        }
        drop(client);
        let address = read_proxy_header(&mut server, wanted, "127.0.0.1".parse().unwrap()).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        (address, rest)
    }

    #[tokio::test]
    async fn version_1_names_the_miner_and_leaves_the_rest() {
        // V1-81
        let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 3333\r\n{\"id\":1}\n";
        let (address, rest) = through(header, ProxyProtocol::Any).await;
        assert_eq!(address.unwrap(), "192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!(rest, b"{\"id\":1}\n");
    }

    #[tokio::test]
    async fn version_2_names_the_miner() {
        let source: SocketAddr = "[2001:db8::7]:5000".parse().unwrap();
        let to: SocketAddr = "[2001:db8::1]:3333".parse().unwrap();
        let version = ppp::v2::Version::Two | ppp::v2::Command::Proxy;
        let header = ppp::v2::Builder::with_addresses(version, ppp::v2::Protocol::Stream, (source, to))
            .build()
            .unwrap();
        let (address, _) = through(&header, ProxyProtocol::V2).await;
        assert_eq!(address.unwrap(), source.ip());
    }

    #[tokio::test]
    async fn refuses_what_is_no_header_or_another_version() {
        for (bytes, wanted) in [
            (b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n".as_slice(), ProxyProtocol::Any),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 3333\r\n", ProxyProtocol::V2),
            (b"PROXY TCP4 nonsense\r\n", ProxyProtocol::V1),
        ] {
            assert!(through(bytes, wanted).await.0.is_err());
        }
    }
}
