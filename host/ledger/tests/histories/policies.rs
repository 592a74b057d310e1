//! Policies that are no components: the same code under other settings, other code under the same settings, code that
//! fails; and a judge that answers as each of them did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_core::bitcoin::Amount;
use sluice_core::policy::payout::{Accrued, Entitlement, Plan, Portion, Round, Tally, Window};
use sluice_core::policy::split::{Credit, SplitError, split};
use sluice_ledger::{Judge, NoAnswer, PolicyRecord, Settlement};

const ALL_BPS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) window: Window,
    pub(crate) per_finder: bool,
    pub(crate) fee_bps: u32,
    /// Of what the work is expected to bring; `None`: nothing is credited without a block.
    pub(crate) accrue_bps: Option<u32>,
}

/// What is wrong with a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Steady,
    Failing,
    /// Gives more than there is.
    Greedy,
    /// Gives to an account that there is not.
    Astray,
}

/// A policy as it is loaded: its code, its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Generation {
    pub(crate) code: Code,
    pub(crate) settings: Settings,
    pub(crate) mood: Mood,
}

/// How the fee is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Code {
    /// As so many satoshis.
    Fixed,
    /// As a weight among the others.
    Weighed,
}

impl Code {
    fn of(hash: &str) -> Option<Self> {
        [Self::Fixed, Self::Weighed].into_iter().find(|code| code.hash() == hash)
    }

    fn hash(self) -> String {
        match self {
            Self::Fixed => "f1".repeat(32),
            Self::Weighed => "e9".repeat(32),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed-fee",
            Self::Weighed => "weighed-fee",
        }
    }

    fn settle(self, settings: Settings, round: &Round) -> Vec<Entitlement> {
        let parts: Vec<(String, u64)> = if settings.per_finder {
            vec![(round.finder.clone(), 1)]
        } else {
            round.contributions.iter().map(|one| (one.account.clone(), one.work)).collect()
        };
        let fee =
            |part: u64| u64::try_from(u128::from(part) * u128::from(settings.fee_bps) / u128::from(ALL_BPS));
        let fee = |part| fee(part).expect("a part of it");
        let house = match self {
            _ if parts.iter().all(|(_, work)| *work == 0) => Portion::Weight(1),
            Self::Fixed => Portion::Fixed(fee(round.reward().to_sat())),
            Self::Weighed => Portion::Weight(parts.iter().map(|(_, work)| fee(*work)).sum()),
        };
        let weight = |work: u64| match self {
            Self::Fixed => work,
            Self::Weighed => work - fee(work),
        };
        let entitled =
            |account: String, portion| Entitlement { account, portion, reason: self.name().to_owned() };
        let mut answer = vec![entitled(String::new(), house)];
        answer.extend(
            parts.into_iter().map(|(account, work)| entitled(account, Portion::Weight(weight(work)))),
        );
        answer
    }

    fn accrue(self, settings: Settings, tallies: &[Tally]) -> Vec<Accrued> {
        let rate = u128::from(settings.accrue_bps.unwrap_or(0));
        let mut sums = BTreeMap::<&str, u64>::new();
        for tally in tallies {
            let whole = (tally.network_difficulty / tally.work_unit).round() as u128;
            let reward = u128::from(tally.subsidy.to_sat() + tally.fees.to_sat()) * 1_000_000;
            for one in &tally.contributions {
                let microsats = reward * u128::from(one.work) / whole.max(1) * rate / u128::from(ALL_BPS);
                *sums.entry(&one.account).or_default() += u64::try_from(microsats).expect("little");
            }
        }
        let accrued = |(account, microsats): (&str, u64)| Accrued {
            account: account.to_owned(),
            microsats,
            reason: self.name().to_owned(),
        };
        sums.into_iter().map(accrued).collect()
    }
}

impl Generation {
    pub(crate) fn plan(&self) -> Plan {
        let Settings { window, per_finder, accrue_bps, .. } = self.settings;
        Plan { window, per_finder, accrues: accrue_bps.is_some(), pays_balances: false }
    }

    pub(crate) fn record(&self) -> PolicyRecord {
        PolicyRecord {
            name: self.code.name().to_owned(),
            version: "1.0.0".to_owned(),
            hash: self.code.hash(),
            settings: serde_json::to_string(&self.settings).expect("JSON"),
        }
    }

    /// What it makes of `input`; `None`: the round is held.
    pub(crate) fn settle(&self, input: Round, known: &dyn Fn(&str) -> bool) -> Option<Settlement> {
        let mut answer = self.code.settle(self.settings, &input);
        match self.mood {
            Mood::Steady => {}
            Mood::Failing => return None,
            Mood::Greedy => answer[0].portion = Portion::Fixed(input.reward().to_sat() + 1),
            Mood::Astray => answer[0].account = "nobody".to_owned(),
        }
        let credits: Result<Vec<Credit>, SplitError> = split(input.reward(), &answer, known);
        let PolicyRecord { name, version, hash, settings } = self.record();
        let (policy_name, policy_version, policy_hash) = (name, version, hash);
        let credits = credits.ok()?;
        Some(Settlement { policy_name, policy_version, policy_hash, settings, input, answer, credits })
    }

    /// What it gives for work; `None`: the work waits.
    pub(crate) fn accrue(&self, tallies: &[Tally]) -> Option<Vec<Accrued>> {
        let mut answer = self.code.accrue(self.settings, tallies);
        match self.mood {
            Mood::Steady => {}
            Mood::Failing => return None,
            Mood::Greedy => answer.iter_mut().for_each(|one| one.microsats = 1 << 60),
            Mood::Astray => answer.iter_mut().for_each(|one| one.account = "nobody".to_owned()),
        }
        Some(answer)
    }
}

/// The credits of a settlement, by account.
pub(crate) fn credited(settlement: &Settlement) -> Vec<(String, i64)> {
    let sat = |amount: Amount| i64::try_from(amount.to_sat()).expect("money");
    settlement.credits.iter().map(|credit| (credit.account.clone(), sat(credit.amount))).collect()
}

/// Answers as the policy on record would, by its hash and settings alone.
pub(crate) struct Native;

fn of_record(policy: &PolicyRecord) -> Result<Generation, NoAnswer> {
    let code = Code::of(&policy.hash).ok_or_else(|| NoAnswer::Missing("no such code".to_owned()))?;
    let settings =
        serde_json::from_str(&policy.settings).map_err(|error| NoAnswer::Failed(error.to_string()))?;
    let generation = Generation { code, settings, mood: Mood::Steady };
    assert_eq!(generation.record(), *policy);
    Ok(generation)
}

impl Judge for Native {
    fn plan(&mut self, policy: &PolicyRecord) -> Result<Plan, NoAnswer> {
        Ok(of_record(policy)?.plan())
    }

    fn settle(&mut self, policy: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer> {
        let Generation { code, settings, .. } = of_record(policy)?;
        Ok(code.settle(settings, round))
    }

    fn accrue(&mut self, policy: &PolicyRecord, tallies: &[Tally]) -> Result<Vec<Accrued>, NoAnswer> {
        let Generation { code, settings, .. } = of_record(policy)?;
        Ok(code.accrue(settings, tallies))
    }
}
