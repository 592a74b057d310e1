//! Miners as the share log remembers them: what a worker handed in, over time, is how fast it hashed.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_core::ids::{AccountName, WorkerName};
use sluice_ledger::{FileError, Recorded, RecordedShare};

use super::Progress;
use super::power::{Power, Stretch};
use super::scenario::MINERS_LIMIT;
use super::simulate::{EVENTS_LIMIT, Identity, Party};

/// A worker's speed is its shares over so long, in seconds: long enough for a few hundred at the usual rate.
const BIN: f64 = 600.0;
/// A worker without shares for so long is not connected, in seconds.
const AWAY: f64 = 1800.0;
const HASHES: f64 = 4_294_967_296.0;
/// The most bins that are kept: 16 bytes each. Where a log has more, every other worker is left out, and again.
const BINS_LIMIT: usize = 8 << 20;
/// A log is simulated with so many events at most, where the policy keeps to the target.
const EVENTS_EXPECTED: f64 = (EVENTS_LIMIT / 8) as f64;
/// Events of a share: it is found, and it arrives.
const EVENTS_OF_A_SHARE: f64 = 2.0;
/// Shares that were read between two words on progress.
const TOLD_EVERY: u64 = 1 << 14;

/// The log's workers, by size.
pub(super) struct Replayed {
    /// Seconds.
    pub(super) duration: f64,
    /// Workers that do not take part: those that do are every so many-th by size.
    pub(super) left_out: usize,
    pub(super) parties: Vec<Party>,
}

/// Work of a worker by bin of time, the oldest first.
type Bins = Vec<(u32, f64)>;

/// What was read of a log.
struct Reading {
    workers: BTreeMap<u32, Bins>,
    bins: usize,
    limit: usize,
    /// Every so many-th worker is kept.
    step: u32,
    first: Option<u64>,
    last: u64,
}

impl Reading {
    fn new(limit: usize) -> Self {
        Self { workers: BTreeMap::new(), bins: 0, limit, step: 1, first: None, last: 0 }
    }

    fn share(&mut self, RecordedShare { at, worker, difficulty }: RecordedShare) {
        let first = *self.first.get_or_insert(at.0);
        self.last = self.last.max(at.0);
        if !worker.0.is_multiple_of(self.step) {
            return;
        }
        let bin = (at.0.saturating_sub(first) as f64 / 1000.0 / BIN) as u32;
        let bins = self.workers.entry(worker.0).or_default();
        match bins.last_mut() {
            // A clock that went back a little makes no bin of its own.
            Some((last, work)) if *last >= bin => *work += difficulty.get(),
            _ => {
                bins.push((bin, difficulty.get()));
                self.bins += 1;
            }
        }
        if self.bins > self.limit {
            self.step *= 2;
            self.workers.retain(|worker, _| worker.is_multiple_of(self.step));
            self.bins = self.workers.values().map(Vec::len).sum();
        }
    }

    fn duration(&self) -> f64 {
        self.last.saturating_sub(self.first.unwrap_or(0)) as f64 / 1000.0
    }
}

/// Reads the log, for a simulation at `target` shares a second. `None` where it has no shares, or all of one moment.
///
/// # Errors
/// [`FileError`].
pub(super) fn replay(
    ledger: &Recorded,
    target: f64,
    progress: Progress<'_>,
) -> Result<Option<Replayed>, FileError> {
    let of = ledger.extent()?.shares;
    let (mut reading, mut done) = (Reading::new(BINS_LIMIT), 0u64);
    ledger.shares(&mut |share| {
        done += 1;
        if done.is_multiple_of(TOLD_EVERY) {
            progress("shares", done, of.max(done));
        }
        reading.share(share);
    })?;
    let duration = reading.duration();
    if duration <= 0.0 {
        return Ok(None);
    }
    let mut miners: Vec<(f64, Identity, Power)> = Vec::new();
    let mut known = 0;
    for worker in ledger.workers() {
        let Some(identity) = identity(&worker.account, &worker.name) else { continue };
        known += usize::from(!worker.worker.0.is_multiple_of(reading.step));
        let Some(bins) = reading.workers.get(&worker.worker.0) else { continue };
        known += 1;
        let (mean, stretches) = stretches(bins, duration);
        miners.push((mean, identity, Power::recorded(stretches)));
    }
    miners.sort_by(|a, b| b.0.total_cmp(&a.0));
    let step = sample(miners.len(), reading.bins as f64 * BIN, target);
    let miners: Vec<_> = miners.into_iter().step_by(step).collect();
    Ok(Some(Replayed { duration, left_out: known - miners.len(), parties: by_size(miners) }))
}

/// Every how many-th of the miners is simulated, who hash for so many seconds together, at so many shares a second.
fn sample(miners: usize, hashed: f64, target: f64) -> usize {
    let events = hashed * target * EVENTS_OF_A_SHARE;
    let by_events = (events / EVENTS_EXPECTED).ceil() as usize;
    by_events.max(miners.div_ceil(MINERS_LIMIT as usize)).max(1)
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
    let work: f64 = bins.iter().map(|(_, work)| work).sum();
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

    #[test]
    fn however_long_the_log_what_is_kept_of_it_is_bounded() {
        use sluice_core::ids::WorkerId;
        use sluice_core::units::{Difficulty, Timestamp};

        let mut reading = Reading::new(1000);
        for minute in 0..10_000u64 {
            for worker in 0..16 {
                let at = Timestamp(1_700_000_000_000 + minute * 60_000);
                reading.share(RecordedShare { at, worker: WorkerId(worker), difficulty: Difficulty::ONE });
                assert!(reading.bins <= 1000);
            }
        }
        // A thousand bins of ten minutes for each.
        assert_eq!(reading.workers.keys().copied().collect::<Vec<_>>(), [0]);
        assert_eq!((reading.bins, reading.duration()), (1000, 9_999.0 * 60.0));
        assert!(reading.workers[&0].iter().all(|(_, work)| *work == 10.0));
    }

    #[test]
    fn many_workers_or_a_long_time_are_sampled() {
        assert_eq!([sample(0, 0.0, 0.3), sample(20_000, 1e6, 0.3), sample(20_001, 1e6, 0.3)], [1, 1, 2]);
        let day = 86_400.0;
        assert_eq!([sample(1000, 1000.0 * day, 0.3), sample(1000, 1000.0 * 30.0 * day, 0.3)], [1, 25]);
    }
}
