//! Who is paid for a block: everybody by the work since the last one, less the pool's fee.
//!
//! The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer and divides to the
//! satoshi.

use sluice_plugin::payout::{
    BasisPoints, Contribution, Entitlement, HOUSE, PayoutPolicy, Plan, Round, Window,
};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, PolicyError, expect};

/// The pool's fee.
#[derive(Debug, PartialEq)]
pub struct Proportional {
    fee: BasisPoints,
}

impl Policy for Proportional {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "proportional",
        version: env!("CARGO_PKG_VERSION"),
        summary: "A block pays for the work since the last one, less the pool's fee.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    // Every setting is taken by name; one that nobody takes is refused for us.
    fn configure(settings: &mut Settings) -> Self {
        Self { fee: BasisPoints::fee(settings) }
    }

    /// Known answers, asked for before the plugin is let in: for known settings, because the operator's may be anything.
    fn self_test(&self) -> Result<(), String> {
        let two_percent = Self { fee: BasisPoints::new(200).unwrap_or_default() };
        let work = |account: &str, work| Contribution { account: account.to_owned(), work, shares: work };
        let answer = two_percent.divide(1_000_049, &[work("a", 3), work("b", 1)]);
        let wanted = [
            Entitlement::weight("a", 3, WORK),
            Entitlement::weight("b", 1, WORK),
            Entitlement::fixed(HOUSE, 20_000, FEE),
        ];
        expect("three to one at 2%", &answer.as_slice(), &wanted.as_slice())
    }
}

/// Shown with each credit.
const WORK: &str = "work in this round";
const FEE: &str = "fee and the pool's own work";

impl PayoutPolicy for Proportional {
    fn plan(&self) -> Plan {
        Plan { window: Window::Round, per_finder: false, accrues: false, pays_balances: false }
    }

    fn settle(&self, round: &Round) -> Result<Vec<Entitlement>, PolicyError> {
        Ok(self.divide(round.reward(), &round.contributions))
    }

    // `accrue` answers bad-input where it is not written: blocks are paid, not shares as they come.
}

impl Proportional {
    fn divide(&self, reward: u64, contributions: &[Contribution]) -> Vec<Entitlement> {
        let miners = contributions.iter().filter(|one| one.account != HOUSE && one.work > 0);
        let mut answer: Vec<_> =
            miners.map(|one| Entitlement::weight(&one.account, one.work, WORK)).collect();
        if answer.is_empty() {
            return vec![Entitlement::weight(HOUSE, 1, "nobody worked in this round")];
        }
        let house = self.house(reward, contributions);
        if house > 0 {
            answer.push(Entitlement::fixed(HOUSE, house, FEE));
        }
        answer
    }

    /// The fee, and what the pool's own machines have earned: an account may be named only once.
    fn house(&self, reward: u64, contributions: &[Contribution]) -> u64 {
        let fee = self.fee.of(reward);
        // In u128: the products are beyond u64.
        let work = |one: &Contribution| u128::from(one.work);
        let total: u128 = contributions.iter().map(work).sum();
        let own: u128 = contributions.iter().filter(|one| one.account == HOUSE).map(work).sum();
        let earned = (u128::from(reward - fee) * own).checked_div(total).unwrap_or(0);
        fee + u64::try_from(earned).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_its_own_test() {
        let policy: Proportional = sluice_plugin::configure("{}").unwrap();
        assert_eq!(policy.self_test(), Ok(()));
    }

    #[test]
    fn a_fee_above_everything_is_refused() {
        let refused = sluice_plugin::configure::<Proportional>(r#"{"fee-bps":10001}"#).unwrap_err();
        assert!(refused.contains("fee-bps"), "{refused}");
    }
}
