//! Miners on a clock that jumps from event to event. What a miner does is simulated; when its policy is asked, and what
//! becomes of the answer, are the host's own rules (`sluice_core::channel::pacing`).
//!
//! Shares are a Poisson process. A changed difficulty goes out with new work at once, as the pool does it, and takes the
//! latency to arrive; a share counts what its work was sent with, and, for a while after a lowering, no more than the
//! present difficulty (V1-40).

mod miner;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use sluice_core::policy::PolicyFailure;
use sluice_core::policy::vardiff::VardiffPolicy;

use super::Progress;
use super::observe::{Group, Summary};
use super::power::Power;
pub(super) use miner::Identity;
use miner::{Miner, Step};

/// The most events of a simulation: a policy that lets a flood of shares through is told so, not waited for.
pub(super) const EVENTS_LIMIT: u64 = 500_000_000;
/// Events between two words on progress.
const TOLD_EVERY: u64 = 1 << 14;
/// What is told of failures.
const FAILURES_TOLD: usize = 5;

/// The listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Seconds.
    pub(super) duration: f64,
    /// Shares a second, to judge by.
    pub(super) target: f64,
    pub(super) start: f64,
    pub(super) floor: f64,
    pub(super) ceiling: f64,
    pub(super) seed: u64,
}

/// A group and its miners.
pub(super) struct Party {
    pub(super) name: String,
    /// Of one miner.
    pub(super) hashrate: f64,
    pub(super) miners: Vec<(Identity, Power)>,
}

/// What came of a policy.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Trial {
    pub groups: Vec<Summary>,
    /// Recorded workers that are not simulated, of all sizes.
    pub left_out: usize,
    pub calls: u64,
    /// Calls without a usable answer: the host keeps the difficulty.
    pub failures: u64,
    /// The first few, in words.
    pub failed: Vec<String>,
}

/// Why a simulation was given up.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error(
        "after {at:.0} s of simulated time {shares} shares have come; at most {EVENTS_LIMIT} events are simulated: the difficulty is too low for these miners"
    )]
    Flood { at: f64, shares: u64 },
}

/// The policy, and how often it was asked.
struct Asked<'a> {
    policy: &'a mut dyn VardiffPolicy,
    calls: u64,
    failures: u64,
    failed: Vec<String>,
}

impl Asked<'_> {
    fn ask<R>(
        &mut self,
        question: impl FnOnce(&mut dyn VardiffPolicy) -> Result<R, PolicyFailure>,
    ) -> Option<R> {
        self.calls += 1;
        match question(self.policy) {
            Ok(answer) => Some(answer),
            Err(failure) => {
                self.failures += 1;
                let said = failure.to_string();
                if self.failed.len() < FAILURES_TOLD && !self.failed.contains(&said) {
                    self.failed.push(said);
                }
                None
            }
        }
    }
}

/// A time of a heap.
#[derive(Clone, Copy, Debug, PartialEq)]
struct At(f64);

impl Eq for At {}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Lets the miners of `parties` work under `policy`. The same seed gives the same result.
///
/// # Errors
/// [`SimulationError`].
pub(super) fn simulate(
    terms: Terms,
    parties: Vec<Party>,
    policy: &mut dyn VardiffPolicy,
    progress: Progress<'_>,
) -> Result<Trial, SimulationError> {
    let mut groups = Vec::new();
    let mut miners = Vec::new();
    for (index, party) in parties.into_iter().enumerate() {
        groups.push(Group::new(&party.name, party.hashrate, terms.duration, terms.target));
        for (identity, power) in party.miners {
            let number = miners.len() as u64;
            miners.push((index, Miner::new(&identity, power, &terms, number)));
        }
    }
    let mut asked = Asked { policy, calls: 0, failures: 0, failed: Vec::new() };
    run(terms, &mut miners, &mut groups, &mut asked, progress)?;
    let summary = |(index, group): (usize, Group)| {
        let own = miners.iter().filter(|(group, _)| *group == index).map(|(_, miner)| miner.watch());
        group.summary(&own.collect::<Vec<_>>())
    };
    let Asked { calls, failures, failed, .. } = asked;
    let groups = groups.into_iter().enumerate().map(summary).collect();
    Ok(Trial { groups, left_out: 0, calls, failures, failed })
}

fn run(
    terms: Terms,
    miners: &mut [(usize, Miner)],
    groups: &mut [Group],
    asked: &mut Asked<'_>,
    progress: Progress<'_>,
) -> Result<(), SimulationError> {
    let mut queue: BinaryHeap<Reverse<(At, usize)>> = BinaryHeap::with_capacity(miners.len());
    for (number, (group, miner)) in miners.iter_mut().enumerate() {
        queue.push(Reverse((At(miner.next(groups[*group].width())), number)));
    }
    let mut events = 0u64;
    while let Some(Reverse((At(now), number))) = queue.pop() {
        if now > terms.duration {
            break;
        }
        events += 1;
        if events.is_multiple_of(TOLD_EVERY) {
            progress("simulated seconds", now as u64, terms.duration as u64);
        }
        if events > EVENTS_LIMIT {
            let shares = miners.iter().map(|(_, miner)| miner.watch().shares).sum();
            return Err(SimulationError::Flood { at: now, shares });
        }
        let (group, miner) = &mut miners[number];
        let group = &mut groups[*group];
        miner.act(now, Step { terms: &terms, group, asked });
        queue.push(Reverse((At(miner.next(group.width())), number)));
    }
    for (group, miner) in miners {
        miner.pass(terms.duration, &mut groups[*group]);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
