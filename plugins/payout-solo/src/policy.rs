//! Solo: who finds a block gets it, less the pool's fee.
//!
//! Every account mines to a coinbase of its own, so a miner can see in its job that it will be paid. The fee is a fixed
//! number of satoshis, rounded down: doubt favours the miner.

use sluice_plugin::payout::{BasisPoints, Entitlement, HOUSE, PayoutPolicy, Plan, Round, Window};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, PolicyError, expect};

/// The policy; its settings are the fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Solo {
    fee: BasisPoints,
}

impl Policy for Solo {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "payout-solo",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Who finds a block gets the reward, less the pool's fee.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        Self { fee: BasisPoints::fee(settings) }
    }

    fn self_test(&self) -> Result<(), String> {
        let one_percent = Self { fee: BasisPoints::new(100).unwrap_or_default() };
        let answer = one_percent.entitlements("miner", 312_500_199);
        let wanted = [Entitlement::weight("miner", 1, FOUND), Entitlement::fixed(HOUSE, 3_125_001, "fee 1%")];
        expect("one percent of a block", &answer.as_slice(), &wanted.as_slice())?;
        let house = [Entitlement::weight(HOUSE, 1, UNCLAIMED)];
        expect("a block without a finder", &self.entitlements(HOUSE, 1).as_slice(), &house.as_slice())
    }
}

impl PayoutPolicy for Solo {
    fn plan(&self) -> Plan {
        Plan { window: Window::None, per_finder: true, accrues: false, pays_balances: false }
    }

    fn settle(&self, round: &Round) -> Result<Vec<Entitlement>, PolicyError> {
        Ok(self.entitlements(&round.finder, round.reward()))
    }
}

const FOUND: &str = "solo block";
const UNCLAIMED: &str = "block without a finder";

impl Solo {
    fn entitlements(self, finder: &str, reward: u64) -> Vec<Entitlement> {
        if finder == HOUSE {
            return vec![Entitlement::weight(HOUSE, 1, UNCLAIMED)];
        }
        let mut answer = vec![Entitlement::weight(finder, 1, FOUND)];
        let fee = self.fee.of(reward);
        if fee > 0 {
            answer.push(Entitlement::fixed(HOUSE, fee, &format!("fee {}", self.fee)));
        }
        answer
    }
}

#[cfg(test)]
mod tests;
