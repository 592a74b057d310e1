//! TIDES: a block pays for the last eight blocks' worth of work, in its own coinbase.
//!
//! A share stays in the window until eight times the network difficulty of work has come after it, so eight blocks are
//! expected to pay it, an eighth each. The coinbase pays everybody who has room in it; what it cannot pay (dust, and
//! whoever did not fit) stays a credit that the next blocks' coinbases pay.
//!
//! Source: Jason Hughes, "TIDES Technical Documentation", OCEAN, 2024 (<https://ocean.xyz/docs/tides>). See
//! docs/payout-schemes.md for where this differs.

use sluice_plugin::payout::{ByWork, Entitlement, PayoutPolicy, Plan, Round};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, PolicyError};

/// The policy with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tides {
    by_work: ByWork,
    /// Coinbases pay what accounts are owed from before.
    carry: bool,
}

/// A share is left without any reward with a probability of e^-8, 0.03 %.
const WINDOW_DEFAULT: f64 = 8.0;

impl Policy for Tides {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "payout-tides",
        version: env!("CARGO_PKG_VERSION"),
        summary: "A block pays for the last eight blocks' worth of work in its own coinbase, less the pool's fee.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        let by_work = ByWork::take(settings, WINDOW_DEFAULT);
        Self { by_work, carry: settings.flag_or("carry", true) }
    }

    fn self_test(&self) -> Result<(), String> {
        self.by_work.self_test()
    }
}

impl PayoutPolicy for Tides {
    fn plan(&self) -> Plan {
        Plan { window: self.by_work.window(), per_finder: false, accrues: false, pays_balances: self.carry }
    }

    fn settle(&self, round: &Round) -> Result<Vec<Entitlement>, PolicyError> {
        Ok(self.by_work.entitlements(&round.contributions, round.reward()))
    }
}

#[cfg(test)]
mod tests;
