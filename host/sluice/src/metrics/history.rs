//! The last hour, for the page: a bounded ring of samples of the counters.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sluice_core::units::{Hashrate, Moment};

/// Time between samples.
pub const STEP: Duration = Duration::from_secs(5);
/// Samples kept, the oldest dropped first: one hour.
pub const SAMPLES: usize = 720;
/// What a hashrate is averaged over.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The counters at a moment; all of them only grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub at: Moment,
    /// Sum of difficulties.
    pub work: f64,
    pub accepted: u64,
    pub rejected: u64,
}

/// One point of the plot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// How long ago, in seconds.
    pub age_s: u64,
    /// Hashes per second over the [`WINDOW`] before.
    pub hashrate: f64,
    /// Shares per second over the same time.
    pub accepted: f64,
    pub rejected: f64,
}

/// The ring.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Sample>>);

impl History {
    pub fn push(&self, sample: Sample) {
        let mut samples = self.samples();
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Over the last [`WINDOW`], or since the first sample where that is less.
    pub fn hashrate(&self) -> Hashrate {
        let samples = self.samples();
        samples
            .len()
            .checked_sub(1)
            .and_then(|last| slope(&samples, last))
            .map_or(Hashrate(0.0), |slope| slope.0)
    }

    /// Oldest first.
    pub fn points(&self) -> Vec<Point> {
        let samples = self.samples();
        let Some(newest) = samples.back().map(|sample| sample.at) else { return Vec::new() };
        let point = |index: usize| {
            let (hashrate, accepted, rejected) = slope(&samples, index)?;
            let age_s = newest.since(samples.get(index)?.at).as_secs();
            Some(Point { age_s, hashrate: hashrate.0, accepted, rejected })
        };
        (1..samples.len()).filter_map(point).collect()
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashrate, accepted and rejected shares per second over the window that ends at `index`.
fn slope(samples: &VecDeque<Sample>, index: usize) -> Option<(Hashrate, f64, f64)> {
    let end = samples.get(index)?;
    let steps = usize::try_from(WINDOW.as_secs() / STEP.as_secs()).unwrap_or(1);
    let start = samples.get(index.saturating_sub(steps))?;
    let elapsed = end.at.since(start.at);
    let seconds = elapsed.as_secs_f64();
    let rate =
        |from: u64, to: u64| if seconds > 0.0 { to.saturating_sub(from) as f64 / seconds } else { 0.0 };
    let hashrate = Hashrate::from_work((end.work - start.work).max(0.0), elapsed);
    Some((hashrate, rate(start.accepted, end.accepted), rate(start.rejected, end.rejected)))
}
