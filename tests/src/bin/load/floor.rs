//! A server that parses nothing but the ends of messages and answers what was prepared: what a pool could do at best.
//! For SV2 in the clear, with as many bytes for a job as the pool seals.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use sluice_stratum_v2::messages::{
    NewMiningJob, OpenStandardMiningChannelSuccess, SetNewPrevHash, SetupConnectionSuccess,
    SubmitSharesSuccess, write_frame, write_frame_with,
};
use sluice_stratum_v2::wire::FrameHeader;
use socket2::{Domain, Socket, Type};

use crate::target::Protocol;

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
    /// Messages that it has sent.
    messages: u64,
    /// The beginning of a message, where its length must be read.
    partial: Vec<u8>,
    out: Vec<u8>,
}

/// What there is to say.
struct Prepared {
    protocol: Protocol,
    greetings: [Vec<u8>; 2],
    job: Vec<u8>,
    /// One answer, many times.
    answers: Vec<u8>,
    answer_bytes: usize,
}

struct Floor {
    peers: Vec<Option<Peer>>,
    prepared: Prepared,
    buffer: Vec<u8>,
}

impl Prepared {
    fn new(protocol: Protocol, job_bytes: usize) -> Self {
        let (greetings, job, answer) = match protocol {
            Protocol::Sv1 => {
                let job = notify(job_bytes);
                let welcome = [AUTHORIZED, &job].concat();
                ([SUBSCRIBED.to_vec(), welcome], job, ANSWER.to_vec())
            }
            Protocol::Sv2 => sv2(job_bytes),
        };
        let answer_bytes = answer.len();
        Self { protocol, greetings, job, answers: answer.repeat(BUFFER / 16), answer_bytes }
    }
}

/// Success, channel and first job; another block's job; an acknowledgement of one share.
fn sv2(job_bytes: usize) -> ([Vec<u8>; 2], Vec<u8>, Vec<u8>) {
    let (mut hello, mut job, mut answer) = (Vec::new(), Vec::new(), Vec::new());
    write_frame(&SetupConnectionSuccess { used_version: 2, flags: 0 }, &mut hello);
    let (channel_id, job_id) = (2, 1);
    let new = NewMiningJob { channel_id, job_id, min_ntime: None, version: 1, merkle_root: [0; 32] };
    let tip = SetNewPrevHash { channel_id, job_id, prev_hash: [0; 32], min_ntime: 1, nbits: 1 };
    let mut bare = Vec::new();
    write_frame(&new, &mut bare);
    write_frame(&tip, &mut bare);
    let padding = vec![0; job_bytes.saturating_sub(bare.len())];
    write_frame_with(&new, &padding, &mut job);
    write_frame(&tip, &mut job);
    let mut opened = Vec::new();
    let success = OpenStandardMiningChannelSuccess {
        request_id: 1,
        channel_id,
        target: [0xff; 32],
        extranonce_prefix: &[0; 12],
        group_channel_id: 1,
    };
    write_frame(&success, &mut opened);
    opened.extend_from_slice(&job);
    let accepted = SubmitSharesSuccess {
        channel_id,
        last_sequence_number: 1,
        new_submits_accepted_count: 1,
        new_shares_sum: 0,
    };
    write_frame(&accepted, &mut answer);
    ([hello, opened], job, answer)
}

/// Serves until the process ends. A job of `job_bytes` goes to everybody each `interval`.
///
/// # Errors
/// The address is taken.
pub(crate) fn serve(
    listen: SocketAddr,
    protocol: Protocol,
    job_bytes: usize,
    interval: Option<Duration>,
) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = bind(listen)?;
    println!("floor stratum+tcp://{}", listener.local_addr()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let prepared = Prepared::new(protocol, job_bytes);
    let mut floor = Floor { peers: Vec::new(), prepared, buffer: vec![0; BUFFER] };
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
                    self.peers.push(Some(Peer { socket, messages: 0, partial: Vec::new(), out: Vec::new() }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn broadcast(&mut self) {
        for slot in &mut self.peers {
            let keep = slot.as_mut().is_none_or(|peer| peer.send(&self.prepared.job).is_ok());
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
                    let messages = peer.count(&self.buffer[..length], self.prepared.protocol);
                    result = peer.answer(messages, &self.prepared);
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
    fn count(&mut self, bytes: &[u8], protocol: Protocol) -> usize {
        match protocol {
            Protocol::Sv1 => memchr::memchr_iter(b'\n', bytes).count(),
            Protocol::Sv2 => self.count_frames(bytes),
        }
    }

    fn count_frames(&mut self, bytes: &[u8]) -> usize {
        self.partial.extend_from_slice(bytes);
        let (mut rest, mut count) = (self.partial.as_slice(), 0);
        while let Some((header, behind)) = rest.split_first_chunk::<{ FrameHeader::LENGTH }>()
            && let Some(next) = behind.get(FrameHeader::read(*header).length as usize..)
        {
            (rest, count) = (next, count + 1);
        }
        let used = self.partial.len() - rest.len();
        self.partial.drain(..used);
        count
    }

    fn answer(&mut self, messages: usize, prepared: &Prepared) -> io::Result<()> {
        let mut left = messages;
        while left > 0
            && let Some(greeting) = prepared.greetings.get(usize::try_from(self.messages).unwrap_or(2))
        {
            self.send(greeting)?;
            self.messages += 1;
            left -= 1;
        }
        self.send(&prepared.answers[..left * prepared.answer_bytes])
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
