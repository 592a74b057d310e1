//! A policy tried on what was, or on what could be: `sluice backtest`.
//!
//! [`scenario`] says which miners there are, `power` how fast each is over time, `simulate` lets them work under a vardiff
//! policy by the host's own rules, `observe` notes what comes of it; `replay` takes the miners from a ledger instead.
//! `payout` puts the questions of a ledger, or of a simulated `chain`, to another payout policy. `report` draws.

pub mod observe;
pub mod payout;
pub mod report;
pub mod scenario;
pub mod simulate;

mod chain;
mod power;
mod quantity;
mod random;
mod replay;

use std::sync::Arc;

use sluice_core::ids::{AccountName, WorkerName};
use sluice_core::policy::payout::PayoutPolicy;
use sluice_core::policy::vardiff::VardiffPolicy;
use sluice_ledger::{FileError, Recorded};

use self::payout::{Comparison, ComparisonError};
use self::power::Power;
use self::random::Random;
use self::scenario::{Group, Pool, Scenario};
use self::simulate::{Identity, Party, SimulationError, Terms, Trial};

/// Streams of random numbers for the miners' speeds begin here; those before are for their shares.
const SPEEDS: u64 = 1 << 32;

/// Hears what is done: so many things of so many.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, u64, u64);

/// Where the miners of a vardiff backtest are from.
pub enum Miners {
    Made(Box<Scenario>),
    Recorded(Box<Recorded>),
}

/// Why a vardiff policy was not tried.
#[derive(Debug, thiserror::Error)]
pub enum VardiffError {
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "the log holds no shares over any time; give the data directory of a pool that has run for a while"
    )]
    Empty,
}

/// Lets miners work under a policy, which is judged by `target` shares a minute.
///
/// # Errors
/// [`VardiffError`].
pub fn vardiff(
    miners: &Miners,
    target: f64,
    policy: &mut dyn VardiffPolicy,
    progress: Progress<'_>,
) -> Result<Trial, VardiffError> {
    match miners {
        Miners::Made(scenario) => {
            let pool = Pool { shares_per_minute: target, ..scenario.pool.clone() };
            let terms = terms(&pool, scenario.duration.0, scenario.seed);
            Ok(simulate::simulate(terms, made(scenario), policy, progress)?)
        }
        Miners::Recorded(ledger) => {
            let replay::Replayed { duration, left_out, parties } =
                replay::replay(ledger, target / 60.0, progress)?.ok_or(VardiffError::Empty)?;
            let pool = Pool { shares_per_minute: target, ..Pool::default() };
            let trial = simulate::simulate(terms(&pool, duration, 0), parties, policy, progress)?;
            Ok(Trial { left_out, ..trial })
        }
    }
}

/// Shares a minute that results are judged by where nothing else is said.
pub fn target(miners: &Miners) -> f64 {
    match miners {
        Miners::Made(scenario) => scenario.pool.shares_per_minute,
        Miners::Recorded(_) => Pool::default().shares_per_minute,
    }
}

/// Two payout policies over a scenario's chain, one account for each miner.
///
/// # Errors
/// [`ComparisonError`].
pub fn payout_simulated(
    scenario: &Scenario,
    candidate: &mut dyn PayoutPolicy,
    against: &mut dyn PayoutPolicy,
) -> Result<Comparison, ComparisonError> {
    payout::simulated(&mut chain::History::new(scenario), candidate, against)
}

/// A payout policy over what a ledger has on record; against the policies of the time, or another.
///
/// # Errors
/// [`ComparisonError`].
pub fn payout_recorded(
    ledger: &Recorded,
    candidate: &mut dyn PayoutPolicy,
    against: Option<&mut dyn PayoutPolicy>,
    progress: Progress<'_>,
) -> Result<Comparison, ComparisonError> {
    payout::recorded(ledger, candidate, against, progress)
}

fn terms(pool: &Pool, duration: f64, seed: u64) -> Terms {
    Terms {
        duration,
        target: pool.shares_per_minute / 60.0,
        start: pool.start_difficulty,
        floor: pool.minimum_difficulty,
        ceiling: pool.maximum_difficulty,
        seed,
    }
}

fn made(scenario: &Scenario) -> Vec<Party> {
    let mut number = 0u64;
    let mut party = |group: &Group| {
        let miners = (1..=group.count).filter_map(|index| {
            number += 1;
            let power = Power::of(group, Random::new(scenario.seed, SPEEDS + number));
            Some((identity(group, index)?, power))
        });
        Party { name: group.name.clone(), hashrate: group.hashrate.0, miners: miners.collect() }
    };
    scenario.groups.iter().map(&mut party).collect()
}

/// The names fit: the scenario was checked.
fn identity(group: &Group, index: u32) -> Option<Identity> {
    Some(Identity {
        account: AccountName::new(&group.name).ok()?,
        worker: WorkerName::new(&index.to_string()).ok()?,
        agent: Arc::from(group.agent.as_str()),
        password: group.password.clone(),
        latency: group.latency.0,
        lag: group.lag.0,
    })
}

#[cfg(test)]
mod tests;
