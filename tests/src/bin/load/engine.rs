//! Many connections on one thread: connect, keep a number of submissions in flight, note when what arrives.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::histogram::Histogram;
use crate::machine;
use crate::speaker::{News, Plan, Speaker};

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
    /// The jobs on another tip after the first one of each connection.
    pub(crate) rounds: Vec<Round>,
    /// Bytes of the last such job.
    pub(crate) job_bytes: usize,
}

/// A new block's job as it reaches the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    pub(crate) reached: usize,
}

struct Peer<S> {
    socket: TcpStream,
    speaker: S,
    connected: bool,
    /// Has its first job.
    ready: bool,
    out: Vec<u8>,
    /// When submissions were written, and how many.
    waiting: VecDeque<(Instant, u32)>,
    /// Jobs on another tip since the first job.
    rounds: usize,
}

/// The connections.
pub(crate) struct Engine<S> {
    address: SocketAddr,
    plan: Plan,
    poll: Poll,
    peers: Vec<Peer<S>>,
    ready: usize,
    buffer: Vec<u8>,
    in_flight: u32,
    news: News,
    pub(crate) seen: Seen,
}

impl<S: Speaker> Engine<S> {
    pub(crate) fn new(address: SocketAddr, plan: Plan) -> Result<Self> {
        Ok(Self {
            address,
            plan,
            poll: Poll::new()?,
            peers: Vec::new(),
            ready: 0,
            buffer: vec![0; BUFFER],
            in_flight: 0,
            news: News::default(),
            seen: Seen::default(),
        })
    }

    /// Opens connections until `count` have their first job; returns how long that took.
    ///
    /// # Errors
    /// The pool refuses, closes or hangs.
    pub(crate) fn connect(&mut self, count: usize) -> Result<Duration> {
        // What each says first is made ahead: a thousand keys take a while.
        let mut speakers = (self.peers.len()..count)
            .map(|_| {
                let mut out = Vec::new();
                Ok((S::new(&self.plan, &mut out)?, out))
            })
            .collect::<Result<VecDeque<_>>>()?;
        let (begun, mut events) = (Instant::now(), Events::with_capacity(1024));
        while self.ready < count {
            while self.peers.len() - self.ready < OPENING_LIMIT
                && let Some((speaker, out)) = speakers.pop_front()
            {
                self.open(speaker, out)?;
            }
            self.step(&mut events, SILENCE)
                .with_context(|| format!("{} of {count} have work", self.ready))?;
        }
        Ok(begun.elapsed())
    }

    fn open(&mut self, speaker: S, out: Vec<u8>) -> Result<()> {
        let index = self.peers.len();
        let mut socket = self.socket(index)?;
        self.poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        let waiting = VecDeque::new();
        self.peers.push(Peer { socket, speaker, connected: false, ready: false, out, waiting, rounds: 0 });
        Ok(())
    }

    /// A socket that is being connected.
    fn socket(&self, index: usize) -> Result<TcpStream> {
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
        Ok(TcpStream::from_std(socket.into()))
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
        if !peer.connected {
            if let Some(error) = peer.socket.take_error()? {
                return Err(error).with_context(|| format!("connection {index} was refused"));
            }
            peer.connected = true;
        }
        peer.flush()
    }

    fn readable(&mut self, index: usize) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut answers = 0;
        let now = loop {
            match self.peers[index].socket.read(&mut buffer) {
                Ok(0) => bail!("the pool closed connection {index}; refused first: {:?}", self.seen.sample),
                Ok(length) => {
                    let now = Instant::now();
                    answers += self.take_in(index, &buffer[..length], now)?;
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
        self.answered(index, answers, now);
        if self.in_flight > 0 && answers > 0 {
            self.refill(index, answers, now)
        } else {
            self.peers[index].flush()
        }
    }

    /// Returns how many submissions were answered.
    fn take_in(&mut self, index: usize, bytes: &[u8], now: Instant) -> Result<u32> {
        let (peer, news) = (&mut self.peers[index], &mut self.news);
        news.reset(self.in_flight > 0);
        peer.speaker
            .take_in(&self.plan, bytes, &mut peer.out, news)
            .with_context(|| format!("connection {index}"))?;
        self.seen.accepted += u64::from(news.accepted);
        self.seen.missed += u64::from(news.missed);
        self.seen.other += u64::from(news.other);
        if let Some(sample) = news.sample.take() {
            self.seen.sample.get_or_insert(sample);
        }
        let mut tips = news.tips;
        if news.job_bytes > 0 {
            self.seen.job_bytes = news.job_bytes;
        }
        if news.ready && !peer.ready {
            peer.ready = true;
            self.ready += 1;
            // The first job is no round.
            tips = tips.saturating_sub(1);
        }
        (0..tips).for_each(|_| peer.note_round(&mut self.seen.rounds, now));
        Ok(news.answers())
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
        peer.speaker.submit(count, &mut peer.out).with_context(|| format!("connection {index}"))?;
        peer.waiting.push_back((now, count));
        peer.flush()
    }
}

impl<S> Peer<S> {
    fn note_round(&mut self, rounds: &mut Vec<Round>, now: Instant) {
        match rounds.get_mut(self.rounds) {
            Some(round) => (round.last, round.reached) = (now, round.reached + 1),
            None => rounds.push(Round { first: now, last: now, reached: 1 }),
        }
        self.rounds += 1;
    }

    fn flush(&mut self) -> Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the pool closed a connection"),
            }
        }
        self.out.drain(..written);
        Ok(())
    }
}
