//! PPLNS: a block pays for the last N shares' work, whoever finds it, less the pool's fee.
//!
//! N is a multiple of the network difficulty, so that the window holds about as many blocks' worth of work whatever the
//! pool's size. The work of each account is its weight; the host divides to the satoshi.

use sluice_plugin::payout::{
    BasisPoints, Contribution, Entitlement, HOUSE, PayoutPolicy, Plan, Round, Window,
};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, PolicyError, expect};

/// The policy with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pplns {
    /// Times the network difficulty.
    window: f64,
    fee: BasisPoints,
}

/// Short enough that a new miner is soon paid in full, long enough that hopping does not pay.
const WINDOW_DEFAULT: f64 = 2.0;
const WINDOW_MIN: f64 = 0.01;
/// The contract's own limit.
const WINDOW_MAX: f64 = 1000.0;

impl Policy for Pplns {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "payout-pplns",
        version: env!("CARGO_PKG_VERSION"),
        summary: "A block pays for the last N times the network difficulty of work, less the pool's fee.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        let window = settings.number("window", WINDOW_MIN..=WINDOW_MAX);
        let fee = settings.whole("fee-bps", 0..=u64::from(BasisPoints::WHOLE)).and_then(BasisPoints::new);
        Self { window: window.unwrap_or(WINDOW_DEFAULT), fee: fee.unwrap_or_default() }
    }

    fn self_test(&self) -> Result<(), String> {
        let policy = Self { fee: BasisPoints::new(200).unwrap_or_default(), ..*self };
        let work = |account: &str, work| Contribution { account: account.to_owned(), work, shares: 1 };
        let answer = policy.entitlements(&[work("a", 3), work("b", 0), work("c", 1)], 1_000_049);
        let wanted = [
            Entitlement::weight("a", 3, EARNED),
            Entitlement::weight("c", 1, EARNED),
            Entitlement::fixed(HOUSE, 20_000, "fee 2%"),
        ];
        expect("three to one at 2%", &answer.as_slice(), &wanted.as_slice())?;
        let house = [Entitlement::weight(HOUSE, 1, UNCLAIMED)];
        expect("an empty window", &policy.entitlements(&[], 1).as_slice(), &house.as_slice())
    }
}

impl PayoutPolicy for Pplns {
    fn plan(&self) -> Plan {
        Plan { window: Window::Work(self.window), per_finder: false, accrues: false }
    }

    fn settle(&self, round: &Round) -> Result<Vec<Entitlement>, PolicyError> {
        Ok(self.entitlements(&round.contributions, round.reward()))
    }
}

const EARNED: &str = "work in the window";
const UNCLAIMED: &str = "block without work in the window";

impl Pplns {
    fn entitlements(self, contributions: &[Contribution], reward: u64) -> Vec<Entitlement> {
        let total: u128 = contributions.iter().map(|c| u128::from(c.work)).sum();
        let house: u128 =
            contributions.iter().filter(|c| c.account == HOUSE).map(|c| u128::from(c.work)).sum();
        if total == house {
            return vec![Entitlement::weight(HOUSE, 1, UNCLAIMED)];
        }
        let mut answer: Vec<Entitlement> = contributions
            .iter()
            .filter(|c| c.account != HOUSE && c.work > 0)
            .map(|c| Entitlement::weight(&c.account, c.work, EARNED))
            .collect();
        answer.extend(self.house_entitlement(house, total, reward));
        answer
    }

    /// An account may be named once, so where the house has worked too, its part, rounded down, is added to its fee.
    fn house_entitlement(self, work: u128, total: u128, reward: u64) -> Option<Entitlement> {
        let fee = self.fee.of(reward);
        // Below 2^51 times below 2^73, so the product fits.
        let own = u128::from(reward.saturating_sub(fee)) * work / total;
        let sats = fee.saturating_add(u64::try_from(own).unwrap_or(0));
        let reason = match work {
            0 => format!("fee {}", self.fee),
            _ => format!("fee {} and the pool's own work", self.fee),
        };
        (sats > 0).then(|| Entitlement::fixed(HOUSE, sats, &reason))
    }
}

#[cfg(test)]
mod tests;
