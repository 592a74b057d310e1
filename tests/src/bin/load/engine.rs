//! Many SV1 connections on one thread: connect, keep a number of submissions in flight, note when what arrives.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::histogram::Histogram;
use crate::lines::{self, SubmitLine};
use crate::machine;

/// Connections that are being opened at the same time.
const OPENING_LIMIT: usize = 1024;
/// Connections from one address: below the number of ports there are for it.
const PER_SOURCE: usize = 20_000;
/// Bytes read at once.
const BUFFER: usize = 256 * 1024;
/// Nothing happens for so long: the pool hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// What the connections have seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: u64,
    /// Refused because they miss their target.
    pub(crate) missed: u64,
    /// Refused for any other reason.
    pub(crate) other: u64,
    /// The first of the others, as it came.
    pub(crate) sample: Option<String>,
    pub(crate) latency: Histogram,
    /// The clean notifies after the first one of each connection.
    pub(crate) rounds: Vec<Round>,
    /// Bytes of the last notify line.
    pub(crate) notify_bytes: usize,
}

/// A new block's notify as it reaches the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    pub(crate) reached: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    /// Replies that are still to come.
    Handshake(u8),
    /// Has its first job.
    Ready,
}

struct Peer {
    socket: TcpStream,
    phase: Phase,
    out: Vec<u8>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    extranonce2_size: usize,
    submit: Option<SubmitLine>,
    nonce: u32,
    /// When submissions were written, and how many.
    waiting: VecDeque<(Instant, u32)>,
    /// Clean notifies since the first job.
    rounds: usize,
}

/// The connections.
pub(crate) struct Engine {
    address: SocketAddr,
    login: String,
    poll: Poll,
    peers: Vec<Peer>,
    ready: usize,
    buffer: Vec<u8>,
    in_flight: u32,
    pub(crate) seen: Seen,
}

impl Engine {
    pub(crate) fn new(address: SocketAddr, login: &str) -> Result<Self> {
        Ok(Self {
            address,
            login: login.to_owned(),
            poll: Poll::new()?,
            peers: Vec::new(),
            ready: 0,
            buffer: vec![0; BUFFER],
            in_flight: 0,
            seen: Seen::default(),
        })
    }

    /// Opens connections until `count` have their first job; returns how long that took.
    ///
    /// # Errors
    /// The pool refuses, closes or hangs.
    pub(crate) fn connect(&mut self, count: usize) -> Result<Duration> {
        let (begun, mut events) = (Instant::now(), Events::with_capacity(1024));
        while self.ready < count {
            while self.peers.len() < count && self.peers.len() - self.ready < OPENING_LIMIT {
                self.open()?;
            }
            self.step(&mut events, SILENCE)
                .with_context(|| format!("{} of {count} have work", self.ready))?;
        }
        Ok(begun.elapsed())
    }

    fn open(&mut self) -> Result<()> {
        let index = self.peers.len();
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        if let (true, Ok(source)) = (self.address.ip().is_loopback(), u8::try_from(index / PER_SOURCE)) {
            let source = Ipv4Addr::new(127, 0, 1, source.saturating_add(1));
            // Else bind() searches for a port, one by one.
            machine::leave_the_port_to_connect(&socket)?;
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error.into()),
            _ => {}
        }
        let mut socket = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        self.peers.push(Peer {
            socket,
            phase: Phase::Connecting,
            out: Vec::new(),
            partial: Vec::new(),
            extranonce2_size: 8,
            submit: None,
            nonce: 0,
            waiting: VecDeque::new(),
            rounds: 0,
        });
        Ok(())
    }

    /// Submits for `time` with `in_flight` submissions unanswered on each connection.
    ///
    /// # Errors
    /// The pool closes or hangs.
    pub(crate) fn submit(&mut self, in_flight: u32, time: Duration) -> Result<Duration> {
        self.in_flight = in_flight;
        let (begun, mut events) = (Instant::now(), Events::with_capacity(1024));
        for index in 0..self.peers.len() {
            self.refill(index, in_flight, begun)?;
        }
        while begun.elapsed() < time {
            self.step(&mut events, SILENCE)?;
        }
        self.in_flight = 0;
        Ok(begun.elapsed())
    }

    /// Lets whatever comes come in until `until` says it is enough.
    ///
    /// # Errors
    /// The pool closes or hangs.
    pub(crate) fn watch(&mut self, mut until: impl FnMut(&Seen) -> bool) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        while !until(&self.seen) {
            self.step(&mut events, SILENCE)?;
        }
        Ok(())
    }

    /// Lets whatever comes come in for `time`.
    ///
    /// # Errors
    /// The pool closes.
    pub(crate) fn idle(&mut self, time: Duration) -> Result<()> {
        let (begun, mut events) = (Instant::now(), Events::with_capacity(1024));
        while let Some(left) = time.checked_sub(begun.elapsed()) {
            self.poll_once(&mut events, left)?;
        }
        Ok(())
    }

    /// Begins to count new blocks anew.
    pub(crate) fn forget_rounds(&mut self) {
        self.seen.rounds.clear();
        self.peers.iter_mut().for_each(|peer| peer.rounds = 0);
    }

    fn step(&mut self, events: &mut Events, limit: Duration) -> Result<()> {
        ensure!(self.poll_once(events, limit)?, "the pool is silent for {limit:?}");
        Ok(())
    }

    /// Returns whether anything happened.
    fn poll_once(&mut self, events: &mut Events, limit: Duration) -> Result<bool> {
        match self.poll.poll(events, Some(limit)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            other => other?,
        }
        for event in &*events {
            let index = event.token().0;
            if event.is_writable() {
                self.writable(index)?;
            }
            if event.is_readable() {
                self.readable(index)?;
            }
        }
        Ok(!events.is_empty())
    }

    fn writable(&mut self, index: usize) -> Result<()> {
        let peer = &mut self.peers[index];
        if peer.phase == Phase::Connecting {
            if let Some(error) = peer.socket.take_error()? {
                return Err(error).with_context(|| format!("connection {index} was refused"));
            }
            peer.phase = Phase::Handshake(2);
            peer.out = lines::handshake(&self.login);
        }
        peer.flush()
    }

    fn readable(&mut self, index: usize) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut replies = 0;
        let now = loop {
            match self.peers[index].socket.read(&mut buffer) {
                Ok(0) => bail!("the pool closed connection {index}; refused first: {:?}", self.seen.sample),
                Ok(length) => {
                    let now = Instant::now();
                    replies += self.take_in(index, &buffer[..length], now)?;
                    // Less than asked for: the socket is empty, and will tell when it is not.
                    if length < buffer.len() {
                        break now;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("connection {index}")),
            }
        };
        self.buffer = buffer;
        self.answered(index, replies, now);
        if self.in_flight > 0 && replies > 0 { self.refill(index, replies, now) } else { Ok(()) }
    }

    /// Splits into lines; returns how many were replies to submissions.
    fn take_in(&mut self, index: usize, mut bytes: &[u8], now: Instant) -> Result<u32> {
        let mut replies = 0;
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.peers[index].partial.is_empty() {
                replies += self.line(index, line, now)?;
            } else {
                let mut whole = std::mem::take(&mut self.peers[index].partial);
                whole.extend_from_slice(line);
                replies += self.line(index, &whole, now)?;
            }
        }
        self.peers[index].partial.extend_from_slice(bytes);
        Ok(replies)
    }

    fn line(&mut self, index: usize, line: &[u8], now: Instant) -> Result<u32> {
        if lines::is_notification(line) {
            if lines::is_notify(line) {
                self.notified(index, line, now);
            }
            return Ok(0);
        }
        let peer = &mut self.peers[index];
        if let Phase::Handshake(left) = peer.phase {
            ensure!(lines::is_yes(line), "the pool refuses: {}", String::from_utf8_lossy(line));
            if left == 2 {
                peer.extranonce2_size =
                    lines::extranonce2_size(line).context("a subscription without a size")?;
            }
            peer.phase = Phase::Handshake(left.saturating_sub(1));
            return Ok(0);
        }
        if lines::is_yes(line) {
            self.seen.accepted += 1;
        } else if lines::is_miss(line) {
            self.seen.missed += 1;
        } else {
            self.seen.other += 1;
            self.seen.sample.get_or_insert_with(|| String::from_utf8_lossy(line).into_owned());
        }
        Ok(1)
    }

    fn notified(&mut self, index: usize, line: &[u8], now: Instant) {
        let peer = &mut self.peers[index];
        self.seen.notify_bytes = line.len() + 1;
        if peer.phase != Phase::Ready {
            peer.phase = Phase::Ready;
            self.ready += 1;
        } else if lines::is_clean(line) {
            match self.seen.rounds.get_mut(peer.rounds) {
                Some(round) => (round.last, round.reached) = (now, round.reached + 1),
                None => self.seen.rounds.push(Round { first: now, last: now, reached: 1 }),
            }
            peer.rounds += 1;
        }
        // Only when submitting is this line needed; the first job always may be.
        if self.in_flight > 0 || peer.submit.is_none() {
            let extranonce2 = "0".repeat(2 * peer.extranonce2_size);
            peer.submit = SubmitLine::new(line, &self.login, &extranonce2);
        }
    }

    fn answered(&mut self, index: usize, mut replies: u32, now: Instant) {
        let waiting = &mut self.peers[index].waiting;
        while replies > 0 {
            let Some((sent, count)) = waiting.front_mut() else { return };
            let part = replies.min(*count);
            let nanos = u64::try_from(now.duration_since(*sent).as_nanos()).unwrap_or(u64::MAX);
            self.seen.latency.record(nanos, u64::from(part));
            replies -= part;
            *count -= part;
            if *count == 0 {
                waiting.pop_front();
            }
        }
    }

    fn refill(&mut self, index: usize, count: u32, now: Instant) -> Result<()> {
        let peer = &mut self.peers[index];
        let Some(line) = &peer.submit else { bail!("connection {index} was sent a job that is none") };
        for _ in 0..count {
            line.write(peer.nonce, &mut peer.out);
            peer.nonce = peer.nonce.wrapping_add(1);
        }
        peer.waiting.push_back((now, count));
        peer.flush()
    }
}

impl Peer {
    fn flush(&mut self) -> Result<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the pool closed a connection"),
            }
        }
        Ok(())
    }
}
