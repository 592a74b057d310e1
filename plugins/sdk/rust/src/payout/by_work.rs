//! Dividing a block by the work of a window: what PPLNS and its kin share.

use std::ops::RangeInclusive;

use super::{BasisPoints, Contribution, Entitlement, HOUSE, Window};
use crate::expect;
use crate::settings::Settings;

/// The settings of a scheme that pays a block for the last work: how much of it, and the pool's fee.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByWork {
    /// Times the network difficulty.
    window: f64,
    fee: BasisPoints,
}

/// The upper bound is the contract's.
const WINDOW: RangeInclusive<f64> = 0.01..=1000.0;

const EARNED: &str = "work in the window";
const UNCLAIMED: &str = "block without work in the window";

impl ByWork {
    /// Takes `window` and `fee-bps`.
    pub fn take(settings: &mut Settings, default_window: f64) -> Self {
        let window = settings.number("window", WINDOW).unwrap_or(default_window);
        Self { window, fee: BasisPoints::fee(settings) }
    }

    pub fn window(self) -> Window {
        Window::Work(self.window)
    }

    /// See [`by_work`].
    pub fn entitlements(self, contributions: &[Contribution], reward: u64) -> Vec<Entitlement> {
        by_work(contributions, reward, self.fee)
    }

    /// Known answers.
    ///
    /// # Errors
    /// What differed.
    pub fn self_test(self) -> Result<(), String> {
        let two_percent = BasisPoints::new(200).unwrap_or_default();
        let work = |account: &str, work| Contribution { account: account.to_owned(), work, shares: 1 };
        let answer = by_work(&[work("a", 3), work("b", 0), work("c", 1)], 1_000_049, two_percent);
        let wanted = [
            Entitlement::weight("a", 3, EARNED),
            Entitlement::weight("c", 1, EARNED),
            Entitlement::fixed(HOUSE, 20_000, "fee 2%"),
        ];
        expect("three to one at 2%", &answer.as_slice(), &wanted.as_slice())?;
        let house = [Entitlement::weight(HOUSE, 1, UNCLAIMED)];
        expect("an empty window", &self.entitlements(&[], 1).as_slice(), &house.as_slice())
    }
}

/// The work of each account is its weight, the fee is fixed and rounded down; the host divides to the satoshi. Without
/// work of a miner the house gets all.
pub fn by_work(contributions: &[Contribution], reward: u64, fee: BasisPoints) -> Vec<Entitlement> {
    let total: u128 = contributions.iter().map(|c| u128::from(c.work)).sum();
    let house: u128 = contributions.iter().filter(|c| c.account == HOUSE).map(|c| u128::from(c.work)).sum();
    if total == house {
        return vec![Entitlement::weight(HOUSE, 1, UNCLAIMED)];
    }
    let mut answer: Vec<Entitlement> = contributions
        .iter()
        .filter(|c| c.account != HOUSE && c.work > 0)
        .map(|c| Entitlement::weight(&c.account, c.work, EARNED))
        .collect();
    answer.extend(house_entitlement(fee, house, total, reward));
    answer
}

/// An account may be named once, so where the house has worked too, its part, rounded down, is added to its fee.
fn house_entitlement(fee: BasisPoints, work: u128, total: u128, reward: u64) -> Option<Entitlement> {
    let sats = fee.of(reward);
    // Below 2^51 times below 2^73, so the product fits.
    let own = (u128::from(reward.saturating_sub(sats)) * work).checked_div(total).unwrap_or(0);
    let sats = sats.saturating_add(u64::try_from(own).unwrap_or(0));
    let reason = match work {
        0 => format!("fee {fee}"),
        _ => format!("fee {fee} and the pool's own work"),
    };
    (sats > 0).then(|| Entitlement::fixed(HOUSE, sats, &reason))
}

#[cfg(test)]
mod tests;
