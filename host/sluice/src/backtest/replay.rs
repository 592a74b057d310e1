//! Miners as the share log remembers them: what a worker handed in, over time, is how fast it hashed.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_core::ids::{AccountName, WorkerName};
use sluice_ledger::{FileError, Recorded, RecordedShare};

use super::power::{Power, Stretch};
use super::scenario::MINERS_LIMIT;
use super::simulate::{Identity, Party};

/// A worker's speed is its shares over so long, in seconds: long enough for a few hundred at the usual rate.
const BIN: f64 = 600.0;
/// A worker without shares for so long is not connected, in seconds.
const AWAY: f64 = 1800.0;
const HASHES: f64 = 4_294_967_296.0;

/// The log's workers, by size.
pub(super) struct Replayed {
    /// Seconds.
    pub(super) duration: f64,
    /// Workers beyond the limit, the smallest.
    pub(super) left_out: usize,
    pub(super) parties: Vec<Party>,
}

/// Work by bin of time.
type Bins = BTreeMap<u32, f64>;

/// Reads the log. `None` where it has no shares, or all of one moment.
///
/// # Errors
/// [`FileError`].
pub(super) fn replay(ledger: &Recorded) -> Result<Option<Replayed>, FileError> {
    let mut workers: BTreeMap<u32, Bins> = BTreeMap::new();
    let (mut first, mut last): (Option<u64>, u64) = (None, 0);
    ledger.shares(&mut |RecordedShare { at, worker, difficulty }| {
        let first = *first.get_or_insert(at.0);
        last = at.0;
        let bin = (at.0.saturating_sub(first) as f64 / 1000.0 / BIN) as u32;
        *workers.entry(worker.0).or_default().entry(bin).or_default() += difficulty.get();
    })?;
    let duration = last.saturating_sub(first.unwrap_or(0)) as f64 / 1000.0;
    if duration <= 0.0 {
        return Ok(None);
    }
    let mut miners: Vec<(f64, Identity, Power)> = ledger
        .workers()
        .iter()
        .filter_map(|worker| {
            let identity = identity(&worker.account, &worker.name)?;
            let (mean, stretches) = stretches(workers.get(&worker.worker.0)?, duration);
            Some((mean, identity, Power::recorded(stretches)))
        })
        .collect();
    miners.sort_by(|a, b| b.0.total_cmp(&a.0));
    let left_out = miners.len().saturating_sub(MINERS_LIMIT as usize);
    miners.truncate(MINERS_LIMIT as usize);
    Ok(Some(Replayed { duration, left_out, parties: by_size(miners) }))
}

fn identity(account: &str, worker: &str) -> Option<Identity> {
    Some(Identity {
        account: AccountName::new(account).ok()?,
        worker: WorkerName::new(worker).ok()?,
        agent: Arc::from(""),
        password: None,
        latency: 0.0,
        lag: 0.0,
    })
}

/// The mean speed while it works, and the speed over time.
fn stretches(bins: &Bins, duration: f64) -> (f64, Vec<Stretch>) {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut end = 0.0;
    for (bin, work) in bins {
        let from = f64::from(*bin) * BIN;
        let until = (from + BIN).min(duration.max(from + 1.0));
        if from > end {
            let away = from - end >= AWAY || stretches.is_empty();
            stretches.push(Stretch { until: from, hashrate: (!away).then_some(0.0) });
        }
        stretches.push(Stretch { until, hashrate: Some(work * HASHES / (until - from)) });
        end = until;
    }
    let work: f64 = bins.values().sum();
    (work * HASHES / (bins.len() as f64 * BIN).min(duration.max(1.0)), stretches)
}

/// One group for each decimal order of magnitude.
fn by_size(miners: Vec<(f64, Identity, Power)>) -> Vec<Party> {
    let mut parties: BTreeMap<i32, Party> = BTreeMap::new();
    for (mean, identity, power) in miners {
        let order = mean.max(1.0).log10().floor() as i32;
        let low = sluice_core::units::Hashrate(10f64.powi(order));
        let high = sluice_core::units::Hashrate(10f64.powi(order + 1));
        let party = parties.entry(order).or_insert_with(|| Party {
            name: format!("{low} to {high}"),
            hashrate: 0.0,
            miners: Vec::new(),
        });
        party.hashrate += mean;
        party.miners.push((identity, power));
    }
    let mut parties: Vec<Party> = parties.into_values().collect();
    for party in &mut parties {
        party.hashrate /= party.miners.len().max(1) as f64;
    }
    parties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_ten_minutes_is_a_hash_rate_and_none_is_silence_and_then_absence() {
        // Ten minutes at work, ten silent, ten at work, an hour away, ten at work.
        let bins = Bins::from([(1, 600.0), (3, 1200.0), (10, 600.0)]);
        let (mean, found) = stretches(&bins, 6600.0);
        let rates: Vec<_> =
            found.iter().map(|stretch| (stretch.until, stretch.hashrate.map(|rate| rate / HASHES))).collect();
        let expected = [
            (600.0, None),
            (1200.0, Some(1.0)),
            (1800.0, Some(0.0)),
            (2400.0, Some(2.0)),
            (6000.0, None),
            (6600.0, Some(1.0)),
        ];
        assert_eq!(rates, expected);
        assert!((mean / HASHES - 4.0 / 3.0).abs() < 1e-9, "{mean}");
    }
}
