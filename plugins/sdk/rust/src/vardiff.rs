//! Difficulty of channels: interface `vardiff`.

use crate::{Client, Policy, PolicyError};

/// What does not change while the channel lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    pub account: String,
    pub worker: String,
    pub client: Client,
    pub password: Option<String>,
    pub floor: f64,
    pub ceiling: f64,
}

/// A channel that opens.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub channel: Channel,
    /// Milliseconds since 1970.
    pub now: u64,
    pub start: Option<f64>,
    pub suggested: Option<f64>,
    /// Hashes per second.
    pub nominal_hashrate: Option<f64>,
}

/// A channel whose time has come. Counts are since the last decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    pub channel: Channel,
    /// Milliseconds since 1970.
    pub now: u64,
    pub current: f64,
    pub elapsed_ms: u64,
    pub accepted: u32,
    pub rejected: u32,
    /// Sum of the difficulties of the accepted.
    pub work: f64,
    pub suggested: Option<f64>,
    /// Hashes per second.
    pub nominal_hashrate: Option<f64>,
    pub memo: Vec<u8>,
}

/// What to do with a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub difficulty: f64,
    pub review_after_ms: u32,
    pub review_after_shares: u32,
    pub memo: Vec<u8>,
}

/// Asked off the share path.
pub trait VardiffPolicy: Policy {
    /// # Errors
    /// The host starts the channel at its configured difficulty.
    fn open(&self, opening: &Opening) -> Result<Decision, PolicyError>;

    /// # Errors
    /// Every channel of the batch keeps its difficulty.
    fn review(&self, review: &Review) -> Result<Decision, PolicyError>;
}
