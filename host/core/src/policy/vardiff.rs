//! Difficulty of channels (an SV1 connection is one channel).

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{AccountName, WorkerName};
use crate::units::{Difficulty, Timestamp};

use super::{Client, PolicyFailure};

/// What does not change while the channel lives.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelFacts {
    pub account: AccountName,
    pub worker: WorkerName,
    pub client: Client,
    pub password: Option<String>,
    pub floor: Difficulty,
    pub ceiling: Difficulty,
}

/// A channel that opens.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub channel: Arc<ChannelFacts>,
    pub now: Timestamp,
    /// The auth policy's, or the configuration's.
    pub start: Option<Difficulty>,
    /// mining.suggest_difficulty or suggest_target; the SV2 maximum target.
    pub suggested: Option<Difficulty>,
    /// Hashes per second: SV2 nominal_hash_rate. Finite, not negative.
    pub nominal_hashrate: Option<f64>,
}

/// A channel whose time has come. Counts are since the last decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    pub channel: Arc<ChannelFacts>,
    pub now: Timestamp,
    pub current: Difficulty,
    pub elapsed: Duration,
    pub accepted: u32,
    pub rejected: u32,
    /// Sum of the difficulties of the accepted.
    pub work: f64,
    pub suggested: Option<Difficulty>,
    pub nominal_hashrate: Option<f64>,
    /// As returned with the last decision; empty at first and after a change of format. Tagged with the format it was written in.
    pub memo: Memo,
}

/// What a policy wants to remember of a channel. At most [`MEMO_LIMIT`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo {
    /// `memo_format` of the policy that wrote it.
    pub format: u32,
    pub bytes: Box<[u8]>,
}

/// The most a policy may remember of a channel, in bytes.
pub const MEMO_LIMIT: usize = 256;

/// What to do, checked: the difficulty is finite, and the host keeps it between floor and ceiling.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub difficulty: Difficulty,
    /// Look again after this long or this many shares, whichever comes first. The host keeps them at 1 s or more and 1 or more.
    pub review_after: Duration,
    pub review_after_shares: u32,
    pub memo: Memo,
}

/// Asked off the share path; a decision is applied when it comes.
pub trait VardiffPolicy: Send {
    /// # Errors
    /// [`PolicyFailure`]; the host starts the channel at its configured difficulty.
    fn open(&mut self, opening: &Opening) -> Result<Decision, PolicyFailure>;

    /// One answer for each review, in order.
    ///
    /// # Errors
    /// [`PolicyFailure`]; the channels keep their difficulty.
    fn review_all(&mut self, reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure>;
}
