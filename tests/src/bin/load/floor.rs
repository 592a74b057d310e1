//! A server that parses nothing but line ends and answers what was prepared: what a pool could do at best.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Socket, Type};

const LISTENER: Token = Token(usize::MAX);
const BUFFER: usize = 64 * 1024;
const BACKLOG: i32 = 4096;

const SUBSCRIBED: &[u8] =
    b"{\"id\":1,\"result\":[[[\"mining.notify\",\"0\"]],\"00000000\",8],\"error\":null}\n";
const AUTHORIZED: &[u8] = b"{\"id\":2,\"result\":true,\"error\":null}\n\
    {\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}\n";
const ANSWER: &[u8] = b"{\"id\":5,\"result\":true,\"error\":null}\n";

struct Peer {
    socket: TcpStream,
    lines: u64,
    out: Vec<u8>,
}

struct Floor {
    peers: Vec<Option<Peer>>,
    notify: Vec<u8>,
    answers: Vec<u8>,
    buffer: Vec<u8>,
}

/// Serves until the process ends. A notify of `notify_bytes` goes to everybody each `interval`.
///
/// # Errors
/// The address is taken.
pub(crate) fn serve(listen: SocketAddr, notify_bytes: usize, interval: Option<Duration>) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = bind(listen)?;
    println!("floor stratum+tcp://{}", listener.local_addr()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let answers = ANSWER.repeat(BUFFER / 16);
    let mut floor =
        Floor { peers: Vec::new(), notify: notify(notify_bytes), answers, buffer: vec![0; BUFFER] };
    let mut events = Events::with_capacity(1024);
    let mut next = interval.map(|interval| Instant::now() + interval);
    loop {
        let left = next.map(|next| next.saturating_duration_since(Instant::now()));
        match poll.poll(&mut events, left) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        if let (Some(at), Some(interval)) = (next, interval)
            && at <= Instant::now()
        {
            floor.broadcast();
            next = Some(Instant::now() + interval);
        }
        for event in &events {
            if event.token() == LISTENER {
                floor.accept(&listener, poll.registry())?;
            } else {
                floor.serve(event.token().0, event.is_readable());
            }
        }
    }
}

/// With a queue as long as a pool's, so that connecting does not wait for a second try.
fn bind(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A clean notify of about so many bytes.
fn notify(bytes: usize) -> Vec<u8> {
    let line = |coinbase: &str| {
        format!(
            "{{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"1\",\"{}\",\"{coinbase}\",\"00\",[],\
             \"20000000\",\"207fffff\",\"6553a1b2\",true]}}\n",
            "0".repeat(64)
        )
    };
    line(&"0".repeat(bytes.saturating_sub(line("").len()))).into_bytes()
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, registry: &Registry) -> Result<()> {
        loop {
            match listener.accept() {
                Ok((mut socket, _)) => {
                    socket.set_nodelay(true)?;
                    let token = Token(self.peers.len());
                    registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
                    self.peers.push(Some(Peer { socket, lines: 0, out: Vec::new() }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn broadcast(&mut self) {
        for slot in &mut self.peers {
            let keep = slot.as_mut().is_none_or(|peer| peer.send(&self.notify).is_ok());
            if !keep {
                *slot = None;
            }
        }
    }

    fn serve(&mut self, index: usize, readable: bool) {
        let Some(slot) = self.peers.get_mut(index) else { return };
        let Some(peer) = slot else { return };
        let mut result = peer.send(&[]);
        while readable && result.is_ok() {
            match peer.socket.read(&mut self.buffer) {
                Ok(0) => result = Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    let lines = memchr::memchr_iter(b'\n', &self.buffer[..length]).count();
                    result = peer.answer(lines, &self.notify, &self.answers);
                    if length < self.buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => result = Err(error),
            }
        }
        if result.is_err() {
            *slot = None;
        }
    }
}

impl Peer {
    fn answer(&mut self, lines: usize, notify: &[u8], answers: &[u8]) -> io::Result<()> {
        let mut left = lines;
        while left > 0 && self.lines < 2 {
            if self.lines == 0 {
                self.send(SUBSCRIBED)?;
            } else {
                self.send(&[AUTHORIZED, notify].concat())?;
            }
            self.lines += 1;
            left -= 1;
        }
        self.send(&answers[..left * ANSWER.len()])
    }

    /// Writes what it can and keeps the rest.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes;
        if !self.out.is_empty() {
            self.out.extend_from_slice(bytes);
            bytes = &[];
        }
        let kept = std::mem::take(&mut self.out);
        let mut rest = if kept.is_empty() { bytes } else { &kept };
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.out = rest.to_vec();
        Ok(())
    }
}
