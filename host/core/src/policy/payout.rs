//! Who has earned what. Pure: the answer depends on the arguments and the settings alone.

use bitcoin::Amount;
use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

use super::PolicyFailure;

/// Which shares count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Since our last block (proportional).
    Round,
    /// The last so many times the network difficulty of work (PPLNS). Finite, above 0, at most 1000.
    Work(f64),
    /// The last so many milliseconds. At most 90 days.
    DurationMs(u64),
    /// Shares are paid as they come: see `accrue`.
    None,
}

/// How a payout policy wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub window: Window,
    /// The split depends on who finds the block (solo): every account mines to a coinbase of its own.
    pub per_finder: bool,
    /// `accrue` is to be called.
    pub accrues: bool,
    /// A block's coinbase also pays what accounts are owed from before, as far as room and reward allow.
    pub pays_balances: bool,
}

/// What an account did within the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    pub account: String,
    /// In units of the round's `work_unit`. Below 2^53.
    pub work: u64,
    pub shares: u64,
}

/// A block's worth of reward to be divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// False: what would the next block pay (coinbase under construction, or somebody asks).
    pub found: bool,
    pub height: u32,
    pub at: Timestamp,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub subsidy: Amount,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fees: Amount,
    pub network_difficulty: f64,
    /// Empty where the split does not depend on it.
    pub finder: String,
    /// Difficulty that one unit of work stands for.
    pub work_unit: f64,
    /// Sorted by account.
    pub contributions: Vec<Contribution>,
}

impl Round {
    pub fn reward(&self) -> Amount {
        self.subsidy.checked_add(self.fees).unwrap_or(Amount::MAX_MONEY)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Portion {
    /// Of what the fixed portions leave, in proportion to this weight.
    Weight(u64),
    /// Satoshis.
    Fixed(u64),
}

/// An account's part of a reward. The account is the pool's own where it is empty (the fee).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    pub account: String,
    pub portion: Portion,
    /// Printable, at most 200 bytes.
    pub reason: String,
}

/// Work done on one template, not yet accrued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub height: u32,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub subsidy: Amount,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fees: Amount,
    pub network_difficulty: f64,
    pub work_unit: f64,
    pub contributions: Vec<Contribution>,
}

/// What an account has earned by work alone, whether or not a block comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accrued {
    /// Each account once; never the house, which pays it.
    pub account: String,
    /// Millionths of a satoshi, so that nothing is lost where little work is credited often.
    pub microsats: u64,
    /// Printable, at most 200 bytes.
    pub reason: String,
}

/// Asked at blocks, previews and accruals.
pub trait PayoutPolicy: Send {
    /// # Errors
    /// [`PolicyFailure`]; the host keeps what was running.
    fn plan(&mut self) -> Result<Plan, PolicyFailure>;

    /// # Errors
    /// [`PolicyFailure`]; the round is held until a policy settles it.
    fn settle(&mut self, round: &Round) -> Result<Vec<Entitlement>, PolicyFailure>;

    /// On the house's account; checked by [`accrual::check`](super::accrual::check).
    ///
    /// # Errors
    /// [`PolicyFailure`]; the tallies stay open.
    fn accrue(&mut self, tallies: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure>;
}
