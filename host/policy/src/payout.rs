//! Who has earned what: every question to a fresh instance, so that no answer depends on the one before.

use std::sync::Arc;

use sluice_core::ids::AccountName;
use sluice_core::policy::accrual::{self, MICROSATS};
use sluice_core::policy::payout::{
    Accrued, Contribution, Entitlement, PayoutPolicy, Plan, Portion, Round, Tally, Window,
};
use sluice_core::policy::split::{ENTITLEMENT_LIMIT, split};
use sluice_core::policy::{PolicyFailure, PolicyKind};
use tokio::sync::oneshot;

use crate::bindings::payout as wit;
use crate::check::{bad_answer, lifted, printable, small};
use crate::instance::{GuestStore, Instance};
use crate::load::{Interface, Loaded};
use crate::lookup::Service;
use crate::shadow::Unlike;
use crate::slot::{Desk, Kind, Wake};
use crate::status::PolicyIdentity;
use crate::weight::Weight;

mod comparison;

use comparison::{PayoutCase, compare};

/// A round with more contributions is not kept to try a candidate on: it may hold every account of a large pool.
const CONTRIBUTIONS_SAMPLED: usize = 10_000;
/// The longest window, in network difficulties and in milliseconds (90 days).
const WINDOW_WORK_LIMIT: f64 = 1000.0;
const WINDOW_MS_LIMIT: u64 = 90 * 24 * 3600 * 1000;

/// An answer, and exactly what gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub entitlements: Vec<Entitlement>,
    pub policy: Arc<PolicyIdentity>,
}

/// Credits for work alone, and exactly what gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccruedBy {
    pub accrued: Vec<Accrued>,
    pub policy: Arc<PolicyIdentity>,
}

type Reply<T> = oneshot::Sender<Result<T, PolicyFailure>>;

pub(crate) enum PayoutJob {
    Plan { reply: Reply<Plan> },
    Settle { round: Round, reply: Reply<Settled> },
    Accrue { tallies: Vec<Tally>, reply: Reply<AccruedBy> },
}

/// What a candidate is tried on.
pub(crate) enum PayoutSample {
    Round(Round),
    Tallies(Vec<Tally>),
}

pub(crate) struct Payout;

impl Kind for Payout {
    const KIND: PolicyKind = PolicyKind::Payout;
    const BAD_ANSWERS: u32 = 3;
    type Policy = dyn PayoutPolicy;
    type Job = PayoutJob;
    type Sample = PayoutSample;
    /// A round may hold every account of a large pool.
    const SHADOW_QUEUE: usize = 8;
    type Case = PayoutCase;
    type Memory = ();

    type Aside = ();

    fn aside(_: Option<&Arc<Service>>, _: Wake<Self>) {}

    fn instance(loaded: &Arc<Loaded>) -> Result<Box<dyn PayoutPolicy>, PolicyFailure> {
        Ok(Box::new(WasmPayout::new(loaded.clone())))
    }

    fn serve(desk: &mut Desk<Self>, jobs: &mut Vec<PayoutJob>) {
        for job in jobs.drain(..) {
            match job {
                PayoutJob::Plan { reply } => {
                    let answer = desk.ask(1, |policy| policy.plan());
                    desk.shadow(1, || PayoutCase::Plan { live: answer.clone() });
                    let _ = reply.send(answer);
                }
                PayoutJob::Settle { round, reply } => {
                    let answer = desk.ask(1, |policy| divisible(policy, &round));
                    desk.shadow(1, || PayoutCase::Settle { round: round.clone(), live: answer.clone() });
                    let keep = answer.is_ok() && round.contributions.len() <= CONTRIBUTIONS_SAMPLED;
                    let answer = answer.map(|entitlements| Settled { entitlements, policy: desk.identity() });
                    let _ = reply.send(answer);
                    if keep {
                        desk.sample(PayoutSample::Round(round));
                    }
                }
                PayoutJob::Accrue { tallies, reply } => {
                    let answer = desk.ask(1, |policy| creditable(policy, &tallies));
                    desk.shadow(1, || PayoutCase::Accrue { tallies: tallies.clone(), live: answer.clone() });
                    let work: usize = tallies.iter().map(|tally| tally.contributions.len()).sum();
                    let keep = answer.is_ok() && work <= CONTRIBUTIONS_SAMPLED;
                    let answer = answer.map(|accrued| AccruedBy { accrued, policy: desk.identity() });
                    let _ = reply.send(answer);
                    if keep {
                        desk.sample(PayoutSample::Tallies(tallies));
                    }
                }
            }
        }
    }

    fn try_on(policy: &mut Self::Policy, sample: &PayoutSample) -> Result<(), PolicyFailure> {
        match sample {
            PayoutSample::Round(round) => divisible(policy, round).map(|_| ()),
            // Only a policy that accrues is asked to.
            PayoutSample::Tallies(tallies) if policy.plan()?.accrues => {
                creditable(policy, tallies).map(|_| ())
            }
            PayoutSample::Tallies(_) => Ok(()),
        }
    }

    fn compare(
        policy: &mut Self::Policy,
        (): &mut (),
        case: &PayoutCase,
    ) -> Result<Vec<Unlike>, PolicyFailure> {
        compare(policy, case).map(|unlike| unlike.into_iter().collect())
    }
}

/// An answer that divides to the satoshi. Which accounts exist is the ledger's to know: its caller checks that.
fn divisible(policy: &mut dyn PayoutPolicy, round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
    let entitlements = policy.settle(round)?;
    split(round.reward(), &entitlements, &|_| true).map_err(bad_answer)?;
    Ok(entitlements)
}

/// An answer that gives no more than the work is expected to bring.
fn creditable(policy: &mut dyn PayoutPolicy, tallies: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
    let accrued = policy.accrue(tallies)?;
    accrual::check(tallies, &accrued, &|_| true).map_err(bad_answer)?;
    Ok(accrued)
}

/// The payout policy behind the contract.
pub(crate) struct WasmPayout {
    loaded: Arc<Loaded>,
}

impl WasmPayout {
    pub(crate) fn new(loaded: Arc<Loaded>) -> Self {
        Self { loaded }
    }

    /// Checks the types of its functions.
    pub(crate) fn look_up(&self) -> Result<(), PolicyFailure> {
        self.fresh().map(|_| ())
    }

    fn fresh(&self) -> Result<(Instance, wit::Guest), PolicyFailure> {
        let mut instance = self.loaded.instance()?;
        let Interface::Payout(indices) = &self.loaded.interface else { return Err(self.loaded.wrong_kind()) };
        let guest = instance.load(|store, instance| indices.load(store, instance))?;
        Ok((instance, guest))
    }

    /// Makes an instance for this one question.
    fn ask<R: Weight>(
        &self,
        items: usize,
        question: impl FnOnce(&wit::Guest, &mut GuestStore) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        let (mut instance, guest) = self.fresh()?;
        instance.call(items, |store| question(&guest, store))
    }
}

impl PayoutPolicy for WasmPayout {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        plan(self.ask(1, |guest, store| guest.call_describe_plan(store))?)
    }

    fn settle(&mut self, round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        let contributions = contributions(&round.contributions)?;
        let question = wit::Round {
            found: round.found,
            height: round.height,
            at: small("at", round.at.0)?,
            subsidy: small("subsidy", round.subsidy.to_sat())?,
            fees: small("fees", round.fees.to_sat())?,
            network_difficulty: finite("network difficulty", round.network_difficulty)?,
            finder: &round.finder,
            work_unit: finite("work unit", round.work_unit)?,
            contributions: &contributions,
        };
        let answer = self.ask(contributions.len(), |guest, store| guest.call_settle(store, question))?;
        entitlements(answer.map_err(lifted)?)
    }

    fn accrue(&mut self, tallies: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        let lists =
            tallies.iter().map(|one| contributions(&one.contributions)).collect::<Result<Vec<_>, _>>()?;
        let questions =
            tallies.iter().zip(&lists).map(|(one, list)| tally(one, list)).collect::<Result<Vec<_>, _>>()?;
        let items = lists.iter().map(Vec::len).sum::<usize>() + tallies.len();
        let answer = self.ask(items, |guest, store| guest.call_accrue(store, &questions))?;
        let answer = answer.map_err(lifted)?;
        at_most(answer.len(), "accruals")?;
        answer.into_iter().map(accrued).collect()
    }
}

fn finite(what: &str, value: f64) -> Result<f64, PolicyFailure> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(PolicyFailure::BadInput(format!("{what} {value} is no finite number")))
    }
}

fn contributions(list: &[Contribution]) -> Result<Vec<wit::Contribution<'_>>, PolicyFailure> {
    list.iter()
        .map(|one| {
            Ok(wit::Contribution {
                account: &one.account,
                work: small("work", one.work)?,
                shares: small("shares", one.shares)?,
            })
        })
        .collect()
}

fn tally<'a>(
    tally: &'a Tally,
    contributions: &'a [wit::Contribution<'a>],
) -> Result<wit::Tally<'a>, PolicyFailure> {
    Ok(wit::Tally {
        height: tally.height,
        subsidy: small("subsidy", tally.subsidy.to_sat())?,
        fees: small("fees", tally.fees.to_sat())?,
        network_difficulty: finite("network difficulty", tally.network_difficulty)?,
        work_unit: finite("work unit", tally.work_unit)?,
        contributions,
    })
}

fn plan(answer: wit::Plan) -> Result<Plan, PolicyFailure> {
    let window = match answer.window {
        wit::Window::Round => Window::Round,
        wit::Window::Work(times) if times > 0.0 && times <= WINDOW_WORK_LIMIT => Window::Work(times),
        wit::Window::Work(times) => {
            return Err(bad_answer(format_args!(
                "a window of {times} times the network difficulty; above 0 and at most {WINDOW_WORK_LIMIT} is allowed"
            )));
        }
        wit::Window::DurationMs(millis) if (1..=WINDOW_MS_LIMIT).contains(&millis) => {
            Window::DurationMs(millis)
        }
        wit::Window::DurationMs(millis) => {
            return Err(bad_answer(format_args!("a window of {millis} ms; 1 ms to 90 days is allowed")));
        }
        wit::Window::None => Window::None,
    };
    let wit::Plan { per_finder, accrues, pays_balances, .. } = answer;
    Ok(Plan { window, per_finder, accrues, pays_balances })
}

fn entitlements(answer: Vec<wit::Entitlement>) -> Result<Vec<Entitlement>, PolicyFailure> {
    at_most(answer.len(), "entitlements")?;
    answer.into_iter().map(entitlement).collect()
}

fn at_most(count: usize, what: &str) -> Result<(), PolicyFailure> {
    if count > ENTITLEMENT_LIMIT {
        return Err(bad_answer(format_args!("{count} {what}; at most {ENTITLEMENT_LIMIT} are allowed")));
    }
    Ok(())
}

fn accrued(answer: wit::Accrual) -> Result<Accrued, PolicyFailure> {
    let account = account(answer.account)?;
    let rest = u64::from(answer.microsats);
    if rest >= MICROSATS {
        return Err(bad_answer(format_args!("{rest} millionths of a satoshi; below {MICROSATS} is allowed")));
    }
    let sats = in_range("credit of satoshis", answer.sats)?;
    let microsats =
        sats.checked_mul(MICROSATS).and_then(|whole| whole.checked_add(rest)).ok_or_else(|| {
            bad_answer(format_args!("a credit of {sats} sat; at most {} is allowed", u64::MAX / MICROSATS))
        })?;
    Ok(Accrued { account, microsats, reason: printable(&answer.reason) })
}

/// The empty name is the house.
fn account(name: String) -> Result<String, PolicyFailure> {
    if !name.is_empty() {
        AccountName::new(&name).map_err(bad_answer)?;
    }
    Ok(name)
}

fn entitlement(answer: wit::Entitlement) -> Result<Entitlement, PolicyFailure> {
    let account = account(answer.account)?;
    let portion = match answer.portion {
        wit::Portion::Weight(weight) => Portion::Weight(in_range("weight", weight)?),
        wit::Portion::Fixed(sats) => Portion::Fixed(in_range("fixed portion", sats)?),
    };
    Ok(Entitlement { account, portion, reason: printable(&answer.reason) })
}

fn in_range(what: &str, value: u64) -> Result<u64, PolicyFailure> {
    small(what, value).map_err(|_| bad_answer(format_args!("a {what} of {value}; below 2^53 is allowed")))
}
