//! The seam between a protocol's state machine and the driver that runs it: bytes and time in, bytes and effects out.
//!
//! A session never waits. What needs the world (an extranonce, a policy, the share log) it asks for with an
//! [`Effect`]; the driver does it and comes back with an [`Answer`]. One driver serves every protocol.
//! A session has channels: an SV1 connection exactly one, an SV2 connection as many as its peer opens.

pub mod pressure;

use std::sync::Arc;

use crate::extranonce::{ExtranoncePrefix, Parked, Reservation, ResumeToken};
use crate::ids::{AccountId, AccountName, ChannelId, JobId, WorkerId, WorkerName};
use crate::job::Job;
use crate::policy::auth::{Grant, Login, Refusal};
use crate::policy::vardiff::{Decision, Opening, Review};
use crate::share::{FoundBlock, Reason, Share};
use crate::units::{Moment, Now};

/// What a session asks of its driver.
#[derive(Debug)]
pub enum Effect {
    /// An extranonce prefix, if possible the one of an earlier connection (V1-76). Answered at once by [`Answer::Reserved`].
    Reserve { channel: ChannelId, resume: Option<ResumeToken> },
    /// A channel is closed while its connection goes on: its prefix may be used again, after a while where it was sent
    /// work (M-63).
    Release { prefix: ExtranoncePrefix, used: bool },
    /// Ask the auth policy. One at a time; the next comes after [`Answer::Authorized`] (V1-21).
    Authorize { channel: ChannelId, login: Box<Login> },
    /// Ask the vardiff policy about a channel that opens. Its work waits for [`Answer::Opened`].
    Open { channel: ChannelId, opening: Box<Opening> },
    /// Ask the vardiff policy to look again. Answered by [`Answer::Reviewed`], some time.
    Review { channel: ChannelId, review: Box<Review> },
    /// The ledger's number of another worker of an account (E-20). Answered at once by [`Answer::Named`].
    Name { channel: ChannelId, account: AccountName, worker: WorkerName },
    /// A channel of this account is ready for work: offer what there is, and from now on what comes.
    Supply { channel: ChannelId, account: AccountName },
    /// No channel of the connection works for this account any more.
    Unsupply(AccountName),
    /// A job newer than `sent`, to carry a changed difficulty (V1-41, M-52): answered by [`Session::offer`].
    FreshWork { channel: ChannelId, account: AccountName, sent: Option<JobId> },
    /// Log an accepted share. Its reply is held until [`Session::committed`] counts it.
    Record { share: Share, account: AccountId, worker: WorkerId },
    /// Hand a block to the block task, before anything else. The finder's share, where it counts as one, follows as
    /// [`Effect::Record`].
    Block { block: Box<FoundBlock>, job: Arc<Job>, account: AccountId, worker: WorkerId },
    /// A share was rejected: count and log it.
    Rejected(Reason),
    /// The peer has come through its handshake.
    Established,
    /// Something to count.
    Note(Note),
    /// Close the connection once the output is flushed.
    Close(Close),
}

/// What happens beside shares, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    ChannelOpened(ChannelKind),
    ChannelClosed(ChannelKind),
    /// A channel was refused, with the code sent.
    ChannelRefused(&'static str),
    /// A channel was not changed, with the code sent (M-55).
    UpdateRefused(&'static str),
    /// One message acknowledged so many shares (M-80).
    Acknowledged {
        shares: u32,
    },
    /// A peer strayed from the specification where that is let pass (F-8, F-9, F-10, F-44), with a label of a closed set.
    Strayed(&'static str),
}

/// The kinds of SV2 channels (05§5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelKind {
    Standard,
    Extended,
}

impl ChannelKind {
    pub const ALL: [Self; 2] = [Self::Standard, Self::Extended];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Extended => "extended",
        }
    }
}

/// What the driver comes back with. An answer for a channel that is gone is dropped by the session.
#[derive(Debug)]
pub enum Answer {
    /// `None`: no extranonce is free.
    Reserved(ChannelId, Option<Reservation>),
    Authorized(ChannelId, Result<Box<Admission>, Refusal>),
    /// `None`: the policy gave no usable answer; the configured default holds.
    Opened(ChannelId, Option<Decision>),
    Reviewed(ChannelId, Option<Decision>),
    /// `None`: the ledger knows as many workers as it can.
    Named(ChannelId, Option<WorkerId>),
}

/// Who is to be offered work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Every channel that the work's coinbase is for: all, or those of its owner.
    Everyone,
    Channel(ChannelId),
}

/// A login that is welcome, with the ledger's numbers for it.
#[derive(Clone, Debug)]
pub struct Admission {
    pub grant: Grant,
    pub account: AccountId,
    pub worker: WorkerId,
}

/// Why a connection ends. The label of a metric and a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// A line longer than the limit (V1-2).
    LineTooLong,
    /// Not JSON (V1-4).
    NotJson,
    /// No subscribe or authorize in time (V1-77), no Act 1 or no setup (N-22).
    HandshakeTimeout,
    /// Nothing heard for too long (V1-77).
    Idle,
    /// The peer does not read (V1-3).
    SlowReader,
    /// More messages than allowed (V1-83).
    Flood,
    /// Too many refused logins (V1-23).
    AuthFailures,
    /// Too many invalid shares (V1-73).
    InvalidShares,
    /// Submits without being authorised (V1-20).
    Unauthorized,
    /// The pool has no work (V1-80).
    NoWork,
    /// The pool has no extranonce left.
    Full,
    /// The pool stops.
    Shutdown,
    /// A record that does not decrypt (N-20).
    BadMac,
    /// Bytes behind Act 1 before it was answered (N-23).
    EarlyBytes,
    /// A message that cannot be read (F-28).
    Malformed,
    /// A message longer than its kind allows (F-13).
    Oversized,
    /// A message that has no place here (S-1, S-15).
    OutOfOrder,
    /// The setup was refused (S-14).
    SetupRefused,
    /// No channel was opened, or the last one closed, and none in time (S-16).
    NoChannel,
    /// Too many messages nobody knows (F-10).
    UnknownMessages,
    /// Too many shares for channels that do not exist (M-87).
    UnknownChannels,
    /// The peer closed.
    Peer,
    /// The socket failed.
    Io,
}

impl Close {
    pub const fn label(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::NotJson => "not_json",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::Flood => "flood",
            Self::AuthFailures => "auth_failures",
            Self::InvalidShares => "invalid_shares",
            Self::Unauthorized => "unauthorized",
            Self::NoWork => "no_work",
            Self::Full => "full",
            Self::Shutdown => "shutdown",
            Self::BadMac => "bad_mac",
            Self::EarlyBytes => "early_bytes",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::OutOfOrder => "out_of_order",
            Self::SetupRefused => "setup_refused",
            Self::NoChannel => "no_channel",
            Self::UnknownMessages => "unknown_messages",
            Self::UnknownChannels => "unknown_channels",
            Self::Peer => "peer",
            Self::Io => "io",
        }
    }

    /// Whether it counts towards a ban of the address.
    pub const fn is_offence(self) -> bool {
        matches!(
            self,
            Self::LineTooLong
                | Self::NotJson
                | Self::Flood
                | Self::AuthFailures
                | Self::InvalidShares
                | Self::Unauthorized
                | Self::BadMac
                | Self::EarlyBytes
                | Self::Malformed
                | Self::Oversized
                | Self::OutOfOrder
                | Self::UnknownMessages
                | Self::UnknownChannels
        )
    }
}

/// A protocol's state machine for one connection.
pub trait Session {
    /// A job in the form this protocol sends it.
    type Work: Send + Sync + 'static;

    /// Takes bytes from the peer. Returns how many were used: fewer than given while it waits for an answer, then the
    /// driver keeps the rest and calls again after [`Session::answer`]. Partial messages are kept inside.
    fn receive(&mut self, now: Now, bytes: &[u8]) -> usize;

    /// False while it waits for an answer or holds as many replies as it may: the driver stops reading.
    fn wants_input(&self) -> bool;

    /// The next thing to do; call until `None` after every other call.
    fn next_effect(&mut self) -> Option<Effect>;

    fn answer(&mut self, now: Now, answer: Answer);

    /// There is new work. Replaces work that was not sent yet (V1-3).
    fn offer(&mut self, now: Now, to: Recipient, work: &Arc<Self::Work>);

    /// So many of the shares given out by [`Effect::Record`] are now in the log, counted from the first.
    fn committed(&mut self, shares: u64);

    /// Appends what is to be sent. Called only when everything before has been written, so that what waits here can
    /// still be superseded.
    fn transmit(&mut self, now: Now, out: &mut Vec<u8>);

    /// When to call [`Session::timeout`] at the latest.
    fn deadline(&self) -> Option<Moment>;

    fn timeout(&mut self, now: Now);

    /// The prefixes the connection held, and what a later one may take up again; called once, when it has ended.
    fn park(&mut self) -> Vec<Parked>;

    /// The pool ends the connection: what the protocol says last.
    fn shut_down(&mut self, now: Now, why: Close);
}
