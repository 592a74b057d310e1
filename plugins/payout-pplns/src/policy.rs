//! PPLNS: a block pays for the last N shares' work, whoever finds it, less the pool's fee.
//!
//! N is a multiple of the network difficulty, so that the window holds about as many blocks' worth of work whatever the
//! pool's size. The work of each account is its weight; the host divides to the satoshi.

use sluice_plugin::payout::{ByWork, Entitlement, PayoutPolicy, Plan, Round};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, PolicyError};

/// The policy with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pplns(ByWork);

/// Short enough that a new miner is soon paid in full, long enough that hopping does not pay.
const WINDOW_DEFAULT: f64 = 2.0;

impl Policy for Pplns {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "payout-pplns",
        version: env!("CARGO_PKG_VERSION"),
        summary: "A block pays for the last N times the network difficulty of work, less the pool's fee.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        Self(ByWork::take(settings, WINDOW_DEFAULT))
    }

    fn self_test(&self) -> Result<(), String> {
        self.0.self_test()
    }
}

impl PayoutPolicy for Pplns {
    fn plan(&self) -> Plan {
        Plan { window: self.0.window(), per_finder: false, accrues: false, pays_balances: false }
    }

    fn settle(&self, round: &Round) -> Result<Vec<Entitlement>, PolicyError> {
        Ok(self.0.entitlements(&round.contributions, round.reward()))
    }
}

#[cfg(test)]
mod tests;
