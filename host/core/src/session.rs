//! The seam between a protocol's state machine and the driver that runs it: bytes and time in, bytes and effects out.
//!
//! A session never waits. What needs the world (an extranonce, a policy, the share log) it asks for with an
//! [`Effect`]; the driver does it and comes back with an [`Answer`]. One driver serves every protocol.

use std::sync::Arc;

use crate::extranonce::{Parked, Reservation, ResumeToken};
use crate::ids::{AccountId, AccountName, WorkerId};
use crate::job::Job;
use crate::policy::auth::{Grant, Login, Refusal};
use crate::policy::vardiff::{Decision, Opening, Review};
use crate::share::{FoundBlock, Reason, Share};
use crate::units::{Moment, Now};

/// What a session asks of its driver.
#[derive(Debug)]
pub enum Effect {
    /// An extranonce prefix, if possible the one of an earlier connection (V1-76). Answered at once by [`Answer::Reserved`].
    Reserve { resume: Option<ResumeToken> },
    /// Ask the auth policy. Input waits until [`Answer::Authorized`] (V1-21).
    Authorize(Box<Login>),
    /// Ask the vardiff policy about a channel that opens. Work waits for [`Answer::Opened`].
    Open(Box<Opening>),
    /// Ask the vardiff policy to look again. Answered by [`Answer::Reviewed`], some time.
    Review(Box<Review>),
    /// A job unlike any this session was sent, to carry a changed difficulty (V1-41): answered by [`Session::offer`].
    FreshWork,
    /// Log an accepted share. Its reply is held until [`Session::committed`] counts it.
    Record { share: Share, account: AccountId, worker: WorkerId },
    /// Hand a block to the block task, before anything else. The finder's share, where it counts as one, follows as
    /// [`Effect::Record`].
    Block { block: Box<FoundBlock>, job: Arc<Job>, account: AccountId, worker: WorkerId },
    /// A share was rejected: count and log it.
    Rejected(Reason),
    /// Close the connection once the output is flushed.
    Close(Close),
}

/// What the driver comes back with.
#[derive(Debug)]
pub enum Answer {
    /// `None`: no extranonce is free.
    Reserved(Option<Reservation>),
    Authorized(Result<Box<Admission>, Refusal>),
    /// `None`: the policy gave no usable answer; the configured default holds.
    Opened(Option<Decision>),
    Reviewed(Option<Decision>),
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
    /// No subscribe or authorize in time (V1-77).
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
    fn offer(&mut self, now: Now, work: &Arc<Self::Work>);

    /// Whether work may be sent now, and for whom: the account whose coinbase it needs.
    fn wants_work(&self) -> Option<&AccountName>;

    /// So many of the shares given out by [`Effect::Record`] are now in the log, counted from the first.
    fn committed(&mut self, shares: u64);

    /// Appends what is to be sent. Called only when everything before has been written, so that what waits here can
    /// still be superseded.
    fn transmit(&mut self, now: Now, out: &mut Vec<u8>);

    /// When to call [`Session::timeout`] at the latest.
    fn deadline(&self) -> Option<Moment>;

    fn timeout(&mut self, now: Now);

    /// What a later connection may take up again; called once, when the connection has ended.
    fn park(&mut self) -> Option<Parked>;

    /// The pool ends the connection: what the protocol says last.
    fn shut_down(&mut self, now: Now, why: Close);
}
