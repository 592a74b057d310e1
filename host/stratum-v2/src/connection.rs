//! The state machine of one connection: what comes in, what it leads to, what goes out and when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::channel::Rules;
use sluice_core::extranonce::Parked;
use sluice_core::session::pressure::Allowance;
use sluice_core::session::{Answer, Close, Effect, Note, Recipient, Session};
use sluice_core::units::{Difficulty, Moment, Now};

use crate::delivery::Way;
use crate::link::{Arrival, Arriving, Link, Security};
use crate::messages::{ClientMessage, Decoded, SetupConnection, UNKNOWN_LIMIT, inbound_limit};
use crate::outbox::Outbox;
use crate::serving::Serving;
use crate::setup;
use crate::wire::FrameHeader;
use crate::work::Broadcast;

/// What holds for all connections of a listener.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The listener's name, for policies.
    pub listener: Arc<str>,
    /// Where a channel starts when neither login nor vardiff policy says anything.
    pub start: Difficulty,
    /// No channel's difficulty falls below, whatever its miner asks for (M-56).
    pub floor: Difficulty,
    pub ceiling: Difficulty,
    /// Bytes behind the pool's prefix in every coinbase: what extended channels roll (M-15).
    pub extranonce_size: usize,
    pub rules: Rules,
    /// From connecting to Act 1 (N-22).
    pub handshake_timeout: Duration,
    /// From Act 2 to SetupConnection (N-22).
    pub setup_timeout: Duration,
    /// How long a connection may have no channel (S-16).
    pub channel_timeout: Duration,
    /// Silence that ends a connection; one whose shares come seldom has up to six times as long (V1-77).
    pub idle_timeout: Duration,
    /// Messages a minute, accepted shares not counted, and 60 more for each channel; a minute's worth may come at once
    /// (V1-83). 0: any number.
    pub messages_per_minute: u32,
    /// Channels of one connection (M-8).
    pub channels: usize,
    /// Accepted shares that may wait for the log; beyond it nothing is read.
    pub held_shares: usize,
    /// Rejected shares in a row that end a channel (V1-73). 0: any number.
    pub rejected_in_a_row: u32,
    /// So many shares of a channel are acknowledged together (M-84).
    pub acknowledge_shares: u32,
    /// Or those of so long.
    pub acknowledge_after: Duration,
}

impl SessionConfig {
    /// The defaults for a listener of that name.
    pub fn new(listener: Arc<str>) -> Self {
        Self {
            listener,
            start: Difficulty::saturating(1024.0),
            floor: Difficulty::saturating(0.000_01),
            ceiling: Difficulty::MAX,
            extranonce_size: 8,
            rules: Rules { stale_grace: Duration::from_secs(2) },
            handshake_timeout: Duration::from_secs(10),
            setup_timeout: Duration::from_secs(10),
            channel_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            messages_per_minute: 6000,
            channels: 1000,
            held_shares: 1024,
            rejected_in_a_row: 200,
            acknowledge_shares: 16,
            acknowledge_after: Duration::from_secs(1),
        }
    }
}

/// How far the connection has come.
#[derive(Debug)]
enum Phase {
    /// Act 1 is awaited.
    Greeting {
        since: Moment,
    },
    /// SetupConnection is awaited (S-1).
    Setup {
        since: Moment,
    },
    Serving(Box<Serving>),
    /// Ending: what comes is dropped. Channels stay until their prefixes are given back.
    Closed(Option<Box<Serving>>),
}

/// One SV2 connection.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    arriving: Arriving,
    phase: Phase,
    desk: Desk,
    /// IP address without port.
    address: Arc<str>,
    heard: Moment,
}

impl Connection {
    /// A connection from `address` (IP without port) that was made `now`.
    pub fn new(config: Arc<SessionConfig>, security: Security, address: Arc<str>, now: Now) -> Self {
        let link = Link::new(security);
        let since = now.moment;
        let phase = if link.is_greeting() { Phase::Greeting { since } } else { Phase::Setup { since } };
        Self {
            link,
            arriving: Arriving::default(),
            phase,
            address,
            heard: now.moment,
            desk: Desk {
                allowance: Allowance::new(config.messages_per_minute, now.moment),
                rate: config.messages_per_minute,
                config,
                outbox: Outbox::default(),
                now,
                effects: VecDeque::new(),
            },
        }
    }

    fn close(&mut self, why: Close) {
        let serving = match std::mem::replace(&mut self.phase, Phase::Closed(None)) {
            Phase::Closed(serving) => {
                self.phase = Phase::Closed(serving);
                return;
            }
            Phase::Serving(serving) => Some(serving),
            Phase::Greeting { .. } | Phase::Setup { .. } => None,
        };
        self.phase = Phase::Closed(serving);
        if why == Close::BadMac {
            // Nothing more is sent, not even what was still to be said (N-20).
            self.desk.outbox = Outbox::default();
        }
        self.desk.effect(Effect::Close(why));
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    fn arrived(&mut self, arrival: Arrival, payload: &[u8]) -> Result<(), Close> {
        self.heard = self.desk.now.moment;
        match arrival {
            Arrival::Incomplete => Ok(()),
            Arrival::Greeted { answer } => {
                self.desk.outbox.greet(answer);
                self.phase = Phase::Setup { since: self.heard };
                Ok(())
            }
            Arrival::Header(header) => self.check(header),
            Arrival::Payload(header) => self.message(header, payload),
        }
    }

    /// Before a payload is read: is there one that long (F-13), and may there be another message (V1-83)?
    fn check(&mut self, header: FrameHeader) -> Result<(), Close> {
        let limit = match &self.phase {
            Phase::Setup { .. } => setup::limit(header).ok_or(Close::OutOfOrder)?,
            _ => inbound_limit(header.extension, header.message).unwrap_or(UNKNOWN_LIMIT),
        };
        if header.length > limit {
            return Err(Close::Oversized);
        }
        let may = self.desk.allowance.take(self.desk.rate, self.desk.now.moment);
        if may { Ok(()) } else { Err(Close::Flood) }
    }

    fn message(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Close> {
        let decoded = ClientMessage::decode(header, payload).map_err(|_| Close::Malformed)?;
        if has_wrong_bit(header, &decoded) {
            self.desk.note(Note::Strayed("channel_bit"));
        }
        match (&mut self.phase, decoded) {
            (
                Phase::Setup { .. },
                Decoded::Message { message: ClientMessage::SetupConnection(setup), .. },
            ) => self.set_up(&setup),
            (Phase::Serving(serving), decoded) => serving.receive(&mut self.desk, decoded),
            _ => Err(Close::OutOfOrder),
        }
    }

    fn set_up(&mut self, setup: &SetupConnection<'_>) -> Result<(), Close> {
        match setup::answer(setup) {
            Ok(success) => {
                self.desk.outbox.push(&success);
                self.desk.effect(Effect::Established);
                let client = setup::client(setup, &self.desk.config.listener, &self.address);
                let serving = Serving::new(client, setup.flags, &self.desk.config, self.desk.now.moment);
                self.phase = Phase::Serving(Box::new(serving));
                Ok(())
            }
            Err(error) => {
                self.desk.outbox.push(&error);
                Err(Close::SetupRefused)
            }
        }
    }

    /// Lets the part that serves act, if it has come that far.
    fn serve(&mut self, now: Now, act: impl FnOnce(&mut Serving, &mut Desk) -> Result<(), Close>) {
        self.desk.now = now;
        let Phase::Serving(serving) = &mut self.phase else { return };
        if let Err(why) = act(serving, &mut self.desk) {
            self.close(why);
        }
    }

    /// Frees what a busy connection keeps for its next message.
    fn release(&mut self) {
        self.desk.release();
        self.arriving.release();
    }
}

/// What the parts that act on messages work with.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) config: Arc<SessionConfig>,
    pub(crate) outbox: Outbox,
    pub(crate) allowance: Allowance,
    /// Messages a minute, for the channels there are; 0: any number.
    pub(crate) rate: u32,
    /// When what is worked on came in.
    pub(crate) now: Now,
    effects: VecDeque<Effect>,
}

impl Desk {
    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Every channel has its own messages: proxies tell the hash rate of each once a second at most (M-53).
    pub(crate) fn set_channels(&mut self, channels: usize) {
        const OF_A_CHANNEL: u32 = 60;
        let channels = u32::try_from(channels).unwrap_or(u32::MAX);
        if self.config.messages_per_minute > 0 {
            let all = OF_A_CHANNEL.saturating_mul(channels);
            self.rate = self.config.messages_per_minute.saturating_add(all);
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.effect(Effect::Note(note));
    }

    fn release(&mut self) {
        self.outbox.release();
        if self.effects.is_empty() {
            self.effects = VecDeque::new();
        }
    }
}

/// Known messages are taken whatever their channel bit says; that is counted (F-8).
fn has_wrong_bit(header: FrameHeader, decoded: &Decoded<'_, ClientMessage<'_>>) -> bool {
    matches!(decoded, Decoded::Message { message, .. } if message.is_channel_message() != header.channel_message)
}

impl Session for Connection {
    type Work = Broadcast;

    fn receive(&mut self, now: Now, bytes: &[u8]) -> usize {
        self.desk.now = now;
        let mut used = 0;
        let mut plain = Vec::new();
        while self.wants_input() {
            let (arrival, length) = match self.link.take(&mut self.arriving, &bytes[used..], &mut plain) {
                Ok(taken) => taken,
                Err(why) => {
                    self.close(why);
                    break;
                }
            };
            used += length;
            if matches!(arrival, Arrival::Incomplete) {
                break;
            }
            if let Err(why) = self.arrived(arrival, &plain) {
                self.close(why);
            }
        }
        if self.is_closed() { bytes.len() } else { used }
    }

    fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Greeting { .. } | Phase::Setup { .. } => true,
            Phase::Serving(serving) => !self.desk.outbox.is_full() && serving.wants_input(&self.desk.config),
            Phase::Closed(_) => false,
        }
    }

    fn next_effect(&mut self) -> Option<Effect> {
        self.desk.effects.pop_front()
    }

    fn answer(&mut self, now: Now, answer: Answer) {
        match (&mut self.phase, answer) {
            (Phase::Closed(Some(serving)), Answer::Reserved(_, Some(reservation))) => {
                serving.late = Some(reservation.prefix);
            }
            (_, answer) => self.serve(now, |serving, desk| serving.answer(desk, answer)),
        }
    }

    fn offer(&mut self, now: Now, to: Recipient, work: &Arc<Broadcast>) {
        if let Phase::Serving(serving) = &mut self.phase {
            serving.offer(now, to, work);
        }
    }

    fn committed(&mut self, shares: u64) {
        if let Phase::Serving(serving) = &mut self.phase {
            serving.committed(shares, &self.desk.config);
        }
    }

    fn transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.desk.now = now;
        let Phase::Serving(serving) = &mut self.phase else {
            return self.desk.outbox.flush(&mut self.link, out);
        };
        // Work before everything else, above all another tip (M-46); then answers; then the first jobs of new channels,
        // which follow the answers that opened the connection (M-21).
        let sent = serving.send_work(now, &mut Way { link: &mut self.link, out });
        serving.acknowledge(&mut self.desk);
        self.desk.outbox.flush(&mut self.link, out);
        let way = &mut Way { link: &mut self.link, out };
        if serving.send_first_work(now, &mut self.desk.effects, way) || sent {
            self.release();
        }
    }

    fn deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Greeting { since } => Some(since.after(self.desk.config.handshake_timeout)),
            Phase::Setup { since } => Some(since.after(self.desk.config.setup_timeout)),
            Phase::Serving(serving) => Some(serving.deadline(&self.desk.config, self.heard)),
            Phase::Closed(_) => None,
        }
    }

    fn timeout(&mut self, now: Now) {
        if self.deadline().is_none_or(|deadline| deadline > now.moment) {
            return;
        }
        let heard = self.heard;
        match &self.phase {
            Phase::Greeting { .. } | Phase::Setup { .. } => self.close(Close::HandshakeTimeout),
            Phase::Serving(_) => self.serve(now, |serving, desk| serving.timeout(desk, heard)),
            Phase::Closed(_) => {}
        }
    }

    fn park(&mut self) -> Vec<Parked> {
        match std::mem::replace(&mut self.phase, Phase::Closed(None)) {
            Phase::Serving(serving) | Phase::Closed(Some(serving)) => serving.park(),
            Phase::Greeting { .. } | Phase::Setup { .. } | Phase::Closed(None) => Vec::new(),
        }
    }

    fn shut_down(&mut self, now: Now, why: Close) {
        // What is in the log is acknowledged before the end (M-84).
        self.serve(now, |serving, desk| {
            serving.acknowledge_all(desk);
            Ok(())
        });
        self.close(why);
    }
}
