//! FPPS and PPS: work is paid as it comes, at what it is expected to bring; the house bears the luck and keeps the blocks.
//!
//! Of each template an account gets `reward * work / network difficulty * (1 - fee)`, where the reward is the template's
//! subsidy and, with FPPS, its transaction fees. All in whole numbers, rounded down to the millionth of a satoshi once
//! for each template and account: so the answer is never more than the work is expected to bring, and does not depend on
//! which templates are asked for together.
//!
//! Source: M. Rosenfeld, "Analysis of Bitcoin Pooled Mining Reward Systems", 2011, section 2.2, for PPS. See
//! docs/payout-schemes.md.

use std::collections::BTreeMap;

use sluice_plugin::payout::{
    Accrual, BasisPoints, Contribution, Entitlement, HOUSE, PayoutPolicy, Plan, Round, Tally, Window,
};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, PolicyError, expect};

use crate::worth::Worth;

/// What counts as a template's reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scheme {
    /// Subsidy and transaction fees.
    #[default]
    Fpps,
    /// The subsidy alone.
    Pps,
}

impl Scheme {
    const NAMES: &str = "\"fpps\" or \"pps\"";

    fn parse(text: &str) -> Option<Self> {
        [Self::Fpps, Self::Pps].into_iter().find(|scheme| scheme.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fpps => "fpps",
            Self::Pps => "pps",
        }
    }

    /// In satoshis.
    fn reward(self, tally: &Tally) -> u64 {
        match self {
            Self::Fpps => tally.subsidy.saturating_add(tally.fees),
            Self::Pps => tally.subsidy,
        }
    }
}

/// The policy with its settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fpps {
    scheme: Scheme,
    fee: BasisPoints,
}

impl Policy for Fpps {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "payout-fpps",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Work is paid as it comes at what it is expected to bring (PPS, FPPS), less the pool's fee.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        let scheme = settings.text("scheme", Scheme::NAMES, Scheme::parse).unwrap_or_default();
        Self { scheme, fee: BasisPoints::fee(settings) }
    }

    fn self_test(&self) -> Result<(), String> {
        let work = |account: &str, work| Contribution { account: account.to_owned(), work, shares: 1 };
        let tally = Tally {
            height: 1,
            subsidy: 1_000,
            fees: 100,
            network_difficulty: 6.0,
            work_unit: 2.0,
            contributions: vec![work(HOUSE, 1), work("a", 1), work("b", 0)],
        };
        let of = |scheme| Self { scheme, fee: BasisPoints::new(1000).unwrap_or_default() };
        let paid = |answer: Vec<Accrual>| answer.iter().map(|one| one.microsats).collect::<Vec<_>>();
        let tallies = [tally.clone(), tally];
        expect("fpps at 10%", &paid(of(Scheme::Fpps).accruals(&tallies).map_err(told)?), &vec![660_000_000])?;
        expect("pps at 10%", &paid(of(Scheme::Pps).accruals(&tallies).map_err(told)?), &vec![600_000_000])
    }
}

impl PayoutPolicy for Fpps {
    fn plan(&self) -> Plan {
        Plan { window: Window::None, per_finder: false, accrues: true, pays_balances: false }
    }

    fn settle(&self, _round: &Round) -> Result<Vec<Entitlement>, PolicyError> {
        Ok(vec![Entitlement::weight(HOUSE, 1, HOUSE_KEEPS)])
    }

    fn accrue(&self, tallies: &[Tally]) -> Result<Vec<Accrual>, PolicyError> {
        self.accruals(tallies)
    }
}

const HOUSE_KEEPS: &str = "PPS: the house pays for shares and keeps the block";

impl Fpps {
    fn accruals(self, tallies: &[Tally]) -> Result<Vec<Accrual>, PolicyError> {
        let mut sums: BTreeMap<&str, u128> = BTreeMap::new();
        for tally in tallies {
            let worth = Worth::of(self.scheme.reward(tally), tally);
            for Contribution { account, work, .. } in &tally.contributions {
                let sum = sums.entry(account).or_default();
                *sum = sum.saturating_add(worth.microsats(*work, self.fee));
            }
        }
        // The house would pay itself.
        sums.remove(HOUSE);
        let reason = format!("{}, fee {}", self.scheme.name(), self.fee);
        sums.into_iter()
            .filter(|(_, microsats)| *microsats > 0)
            .map(|(account, microsats)| accrual(account, microsats, &reason))
            .collect()
    }
}

fn accrual(account: &str, microsats: u128, reason: &str) -> Result<Accrual, PolicyError> {
    let microsats = u64::try_from(microsats).map_err(|_| {
        PolicyError::BadInput(format!("{account} would get {microsats} millionths of a satoshi"))
    })?;
    Ok(Accrual { account: account.to_owned(), microsats, reason: reason.to_owned() })
}

fn told(error: PolicyError) -> String {
    let (PolicyError::BadInput(text) | PolicyError::Internal(text)) = error;
    text
}

#[cfg(test)]
mod tests;
