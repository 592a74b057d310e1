//! Who has earned what: interface `payout`.

mod by_work;

use crate::settings::Settings;
use crate::{Policy, PolicyError};

pub use by_work::{ByWork, by_work};

/// The pool's own account, the house.
pub const HOUSE: &str = "";

/// Millionths of a satoshi in a satoshi.
pub const MICROSATS: u64 = 1_000_000;

/// Which shares count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    Round,
    /// Times the network difficulty.
    Work(f64),
    DurationMs(u64),
    None,
}

/// How a policy wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    pub window: Window,
    pub per_finder: bool,
    pub accrues: bool,
    /// A block's coinbase also pays what accounts are owed from before, as far as room and reward allow.
    pub pays_balances: bool,
}

/// What an account did within the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    pub account: String,
    /// In units of the round's work unit.
    pub work: u64,
    pub shares: u64,
}

/// A block's worth of reward to be divided. Amounts are satoshis.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    pub found: bool,
    pub height: u32,
    /// Milliseconds since 1970.
    pub at: u64,
    pub subsidy: u64,
    pub fees: u64,
    pub network_difficulty: f64,
    pub finder: String,
    pub work_unit: f64,
    pub contributions: Vec<Contribution>,
}

impl Round {
    /// Subsidy and fees, in satoshis.
    pub fn reward(&self) -> u64 {
        self.subsidy.saturating_add(self.fees)
    }
}

/// A part of the reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    Weight(u64),
    /// Satoshis.
    Fixed(u64),
}

/// An account's part of a reward, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    pub account: String,
    pub portion: Portion,
    pub reason: String,
}

impl Entitlement {
    pub fn weight(account: &str, weight: u64, reason: &str) -> Self {
        Self { account: account.to_owned(), portion: Portion::Weight(weight), reason: reason.to_owned() }
    }

    pub fn fixed(account: &str, sats: u64, reason: &str) -> Self {
        Self { account: account.to_owned(), portion: Portion::Fixed(sats), reason: reason.to_owned() }
    }
}

/// Work done on one template, not yet accrued.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    pub height: u32,
    pub subsidy: u64,
    pub fees: u64,
    pub network_difficulty: f64,
    pub work_unit: f64,
    pub contributions: Vec<Contribution>,
}

/// What an account has earned by work alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accrual {
    /// Each account once; never the house.
    pub account: String,
    /// Millionths of a satoshi; the export hands over whole satoshis and the rest.
    pub microsats: u64,
    pub reason: String,
}

/// Asked at blocks, previews and accruals. Pure.
pub trait PayoutPolicy: Policy {
    fn plan(&self) -> Plan;

    /// # Errors
    /// The round is held.
    fn settle(&self, round: &Round) -> Result<Vec<Entitlement>, PolicyError>;

    /// Only asked where the plan says so.
    ///
    /// # Errors
    /// The tallies stay open.
    fn accrue(&self, _tallies: &[Tally]) -> Result<Vec<Accrual>, PolicyError> {
        Err(PolicyError::BadInput("this policy does not accrue".to_owned()))
    }
}

/// Hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BasisPoints(u16);

impl BasisPoints {
    pub const WHOLE: u16 = 10_000;

    /// The setting `fee-bps`; none where it is not given.
    pub fn fee(settings: &mut Settings) -> Self {
        settings.whole("fee-bps", 0..=u64::from(Self::WHOLE)).and_then(Self::new).unwrap_or_default()
    }

    /// `None` above 10,000, which is 100 %.
    pub fn new(value: u64) -> Option<Self> {
        u16::try_from(value).ok().filter(|v| *v <= Self::WHOLE).map(Self)
    }

    /// What is left of the whole.
    pub fn complement(self) -> Self {
        Self(Self::WHOLE.saturating_sub(self.0))
    }

    pub fn get(self) -> u16 {
        self.0
    }

    /// The part of `sats`, rounded down.
    pub fn of(self, sats: u64) -> u64 {
        let part = u128::from(sats) * u128::from(self.0) / u128::from(Self::WHOLE);
        u64::try_from(part).unwrap_or(sats)
    }
}

/// In percent: `1.5%`.
impl std::fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, cents) = (self.0 / 100, self.0 % 100);
        match cents {
            0 => write!(f, "{whole}%"),
            c if c % 10 == 0 => write!(f, "{whole}.{}%", c / 10),
            c => write!(f, "{whole}.{c:02}%"),
        }
    }
}

#[cfg(test)]
mod tests;
