//! A plugin's own type behind the host's trait: the code as it is tested natively, asked as the host asks.

use sluice_core::policy::PolicyFailure;
use sluice_core::policy::payout::{
    Accrued, Contribution, Entitlement, PayoutPolicy, Plan, Portion, Round, Tally, Window,
};
use sluice_plugin::{PolicyError, payout as sdk};

pub(crate) struct Native<P>(P);

/// A shipped scheme with these settings (JSON).
pub(crate) fn scheme(name: &str, settings: &str) -> Box<dyn PayoutPolicy> {
    fn make<P: sdk::PayoutPolicy + Send + 'static>(settings: &str) -> Box<dyn PayoutPolicy> {
        Box::new(Native(sluice_plugin::configure::<P>(settings).expect("the settings are good")))
    }
    match name {
        "payout-solo" => make::<plugin_payout_solo::policy::Solo>(settings),
        "payout-pplns" => make::<plugin_payout_pplns::policy::Pplns>(settings),
        "payout-tides" => make::<plugin_payout_tides::policy::Tides>(settings),
        "payout-fpps" => make::<plugin_payout_fpps::policy::Fpps>(settings),
        other => panic!("{other} is not shipped"),
    }
}

impl<P: sdk::PayoutPolicy + Send> PayoutPolicy for Native<P> {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        let plan = self.0.plan();
        Ok(Plan {
            window: match plan.window {
                sdk::Window::Round => Window::Round,
                sdk::Window::Work(times) => Window::Work(times),
                sdk::Window::DurationMs(millis) => Window::DurationMs(millis),
                sdk::Window::None => Window::None,
            },
            per_finder: plan.per_finder,
            accrues: plan.accrues,
            pays_balances: plan.pays_balances,
        })
    }

    fn settle(&mut self, round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        let round = sdk::Round {
            found: round.found,
            height: round.height,
            at: round.at.0,
            subsidy: round.subsidy.to_sat(),
            fees: round.fees.to_sat(),
            network_difficulty: round.network_difficulty,
            finder: round.finder.clone(),
            work_unit: round.work_unit,
            contributions: contributions(&round.contributions),
        };
        Ok(self.0.settle(&round).map_err(failure)?.into_iter().map(entitlement).collect())
    }

    fn accrue(&mut self, tallies: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        let tally = |tally: &Tally| sdk::Tally {
            height: tally.height,
            subsidy: tally.subsidy.to_sat(),
            fees: tally.fees.to_sat(),
            network_difficulty: tally.network_difficulty,
            work_unit: tally.work_unit,
            contributions: contributions(&tally.contributions),
        };
        let tallies: Vec<sdk::Tally> = tallies.iter().map(tally).collect();
        let accrued = |sdk::Accrual { account, microsats, reason }| Accrued { account, microsats, reason };
        Ok(self.0.accrue(&tallies).map_err(failure)?.into_iter().map(accrued).collect())
    }
}

fn contributions(list: &[Contribution]) -> Vec<sdk::Contribution> {
    let convert = |one: &Contribution| sdk::Contribution {
        account: one.account.clone(),
        work: one.work,
        shares: one.shares,
    };
    list.iter().map(convert).collect()
}

fn entitlement(answer: sdk::Entitlement) -> Entitlement {
    let portion = match answer.portion {
        sdk::Portion::Weight(weight) => Portion::Weight(weight),
        sdk::Portion::Fixed(sats) => Portion::Fixed(sats),
    };
    Entitlement { account: answer.account, portion, reason: answer.reason }
}

fn failure(error: PolicyError) -> PolicyFailure {
    match error {
        PolicyError::BadInput(why) => PolicyFailure::BadInput(why),
        PolicyError::Internal(why) => PolicyFailure::Internal(why),
    }
}
