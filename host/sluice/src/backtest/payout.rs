//! Who would have got what: the questions of the past, or of a simulated chain, put to another payout policy.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bitcoin::Amount;
use serde::Serialize;
use sluice_core::policy::PolicyFailure;
use sluice_core::policy::accrual::{self, MICROSATS};
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Round, Tally};
use sluice_core::policy::split::split;
use sluice_ledger::{FileError, Recorded, RecordedRound, RecordedWork};

use super::Progress;

/// What is told of failures.
const FAILURES_TOLD: usize = 5;

/// What an account got under two policies, in satoshis. The house's name is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub account: String,
    pub current_sat: i64,
    pub candidate_sat: i64,
    /// What the candidate gives more.
    pub difference_sat: i64,
}

/// Two policies compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Rounds that both settled, and what they brought.
    pub rounds: u64,
    pub reward_sat: u64,
    /// Stretches of work that were credited without a block.
    pub accruals: u64,
    /// Rounds left out: the log has only hours left of what the candidate's window asks for.
    pub folded: u64,
    /// Questions left out: the candidate gave no usable answer, and the pool would hold them.
    pub held: u64,
    /// The first few reasons.
    pub failures: Vec<String>,
    /// The largest difference first.
    pub accounts: Vec<Line>,
}

impl Comparison {
    /// Whether every account gets the same.
    pub fn is_equal(&self) -> bool {
        self.held == 0 && self.accounts.iter().all(|line| line.difference_sat == 0)
    }
}

/// What accounts have got, in millionths of a satoshi; what the house got is what is left.
#[derive(Default)]
struct Purse(BTreeMap<String, i128>);

impl Purse {
    fn add(&mut self, account: &str, microsats: i128) {
        *self.0.entry(account.to_owned()).or_default() += microsats;
    }

    fn round(&mut self, credits: &[(String, Amount)]) {
        for (account, amount) in credits {
            self.add(account, i128::from(amount.to_sat()) * i128::from(MICROSATS));
        }
    }

    fn accrual(&mut self, accrued: &[Accrued]) {
        for one in accrued {
            self.add(&one.account, one.microsats.into());
            self.add("", -i128::from(one.microsats));
        }
    }

    /// Whole satoshis of an account. The house has what is left of everything, so it keeps the fractions.
    fn sats(&self, account: &str) -> i64 {
        let of = |name: &str| self.0.get(name).copied().unwrap_or(0).div_euclid(i128::from(MICROSATS));
        let sats = if account.is_empty() {
            let all: i128 = self.0.values().sum();
            let others = self.0.keys().filter(|name| !name.is_empty());
            all.div_euclid(i128::from(MICROSATS)) - others.map(|name| of(name)).sum::<i128>()
        } else {
            of(account)
        };
        i64::try_from(sats).unwrap_or(if sats < 0 { i64::MIN } else { i64::MAX })
    }
}

type Credits = Vec<(String, Amount)>;

fn divided(reward: Amount, entitlements: &[Entitlement]) -> Result<Credits, PolicyFailure> {
    let credits = split(reward, entitlements, &|_| true)
        .map_err(|error| PolicyFailure::BadAnswer(error.to_string()))?;
    Ok(credits.into_iter().map(|credit| (credit.account, credit.amount)).collect())
}

/// As the host settles: an answer that does not divide is none.
fn settle(policy: &mut dyn PayoutPolicy, round: &Round) -> Result<Credits, PolicyFailure> {
    divided(round.reward(), &policy.settle(round)?)
}

/// As the host accrues; nothing where the plan does not.
fn accrue(
    policy: &mut dyn PayoutPolicy,
    plan: Plan,
    tallies: &[Tally],
) -> Result<Vec<Accrued>, PolicyFailure> {
    if !plan.accrues {
        return Ok(Vec::new());
    }
    let accrued = policy.accrue(tallies)?;
    accrual::check(tallies, &accrued, &|_| true)
        .map_err(|error| PolicyFailure::BadAnswer(error.to_string()))?;
    Ok(accrued)
}

/// A comparison under way.
#[derive(Default)]
pub(super) struct Scales {
    comparison: Comparison,
    current: Purse,
    candidate: Purse,
}

impl Scales {
    fn hold(&mut self, failure: &PolicyFailure) {
        self.comparison.held += 1;
        let said = failure.to_string();
        if self.comparison.failures.len() < FAILURES_TOLD && !self.comparison.failures.contains(&said) {
            self.comparison.failures.push(said);
        }
    }

    fn round(&mut self, reward: Amount, both: Result<(Credits, Credits), PolicyFailure>) {
        match both {
            Ok((current, candidate)) => {
                self.comparison.rounds += 1;
                self.comparison.reward_sat = self.comparison.reward_sat.saturating_add(reward.to_sat());
                self.current.round(&current);
                self.candidate.round(&candidate);
            }
            Err(failure) => self.hold(&failure),
        }
    }

    /// A round of the ledger, as the candidate's plan wants it asked, then as that of `against`.
    fn recorded<'p>(
        &mut self,
        round: RecordedRound,
        candidate: &mut dyn PayoutPolicy,
        against: Option<&mut (dyn PayoutPolicy + 'p)>,
    ) {
        let RecordedRound { questions, asked, answer, .. } = round;
        let mut questions = questions.into_iter();
        let question = questions.next().flatten();
        let current = match against {
            None => Some(divided(asked.reward(), &answer)),
            Some(against) => questions.next().flatten().map(|question| settle(against, &question)),
        };
        let (Some(current), Some(question)) = (current, question) else {
            self.comparison.folded += 1;
            return;
        };
        let both = current.and_then(|current| Ok((current, settle(candidate, &question)?)));
        self.round(question.reward(), both);
    }

    fn work(&mut self, both: Result<(Vec<Accrued>, Vec<Accrued>), PolicyFailure>) {
        match both {
            Ok((current, candidate)) => {
                self.comparison.accruals += u64::from(!current.is_empty() || !candidate.is_empty());
                self.current.accrual(&current);
                self.candidate.accrual(&candidate);
            }
            Err(failure) => self.hold(&failure),
        }
    }

    fn finish(self) -> Comparison {
        let Self { mut comparison, current, candidate } = self;
        let names: BTreeSet<&String> = current.0.keys().chain(candidate.0.keys()).collect();
        let line = |account: &String| {
            let (current_sat, candidate_sat) = (current.sats(account), candidate.sats(account));
            let difference_sat = candidate_sat.saturating_sub(current_sat);
            Line { account: account.clone(), current_sat, candidate_sat, difference_sat }
        };
        comparison.accounts = names.into_iter().map(line).collect();
        comparison.accounts.sort_by_key(|line| {
            let both = line.current_sat.saturating_abs().saturating_add(line.candidate_sat.saturating_abs());
            std::cmp::Reverse((line.difference_sat.saturating_abs(), both))
        });
        comparison
    }
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("its plan: {0}")]
    Plan(PolicyFailure),
}

/// What the ledger has on record against `candidate`; or `against` instead of the policies of the time.
///
/// # Errors
/// [`ComparisonError`].
pub(super) fn recorded(
    ledger: &Recorded,
    candidate: &mut dyn PayoutPolicy,
    mut against: Option<&mut dyn PayoutPolicy>,
    progress: Progress<'_>,
) -> Result<Comparison, ComparisonError> {
    let plan = candidate.plan().map_err(ComparisonError::Plan)?;
    let other = against.as_deref_mut().map(PayoutPolicy::plan).transpose().map_err(ComparisonError::Plan)?;
    let plans: Vec<Plan> = std::iter::once(plan).chain(other).collect();
    let mut scales = Scales::default();
    let (of, mut done) = (ledger.extent()?.rounds, 0);
    ledger.rounds(&plans, &mut |round| {
        done += 1;
        progress("rounds", done, of.max(done));
        scales.recorded(round, candidate, against.as_deref_mut());
        ControlFlow::Continue(())
    })?;
    let of = ledger.extent()?.last;
    ledger.work(&mut |work| {
        let RecordedWork { tallies, answer, through, .. } = work;
        progress("shares", through.0, of.max(through.0));
        let current = match (against.as_deref_mut(), other) {
            (Some(against), Some(plan)) => accrue(against, plan, &tallies),
            _ => Ok(answer.unwrap_or_default()),
        };
        scales.work(current.and_then(|current| Ok((current, accrue(candidate, plan, &tallies)?))));
        ControlFlow::Continue(())
    })?;
    Ok(scales.finish())
}

/// A block, or a stretch of work, of a simulated chain; each as a plan wants it asked.
pub(super) enum Event {
    Block { candidate: Round, current: Round },
    Work(Vec<Tally>),
}

/// Two policies over a simulated chain.
///
/// # Errors
/// [`ComparisonError::Plan`].
pub(super) fn simulated(
    history: &mut super::chain::History,
    candidate: &mut dyn PayoutPolicy,
    current: &mut dyn PayoutPolicy,
) -> Result<Comparison, ComparisonError> {
    let plan = candidate.plan().map_err(ComparisonError::Plan)?;
    let current_plan = current.plan().map_err(ComparisonError::Plan)?;
    let mut scales = Scales::default();
    history.run((plan, current_plan), &mut |event| match event {
        Event::Block { candidate: question, current: asked } => {
            let both =
                settle(current, &asked).and_then(|current| Ok((current, settle(candidate, &question)?)));
            scales.round(question.reward(), both);
        }
        Event::Work(tallies) => {
            let both = accrue(current, current_plan, &tallies)
                .and_then(|given| Ok((given, accrue(candidate, plan, &tallies)?)));
            scales.work(both);
        }
    });
    Ok(scales.finish())
}

#[cfg(test)]
mod tests;
