//! Counts of a slot: written by its thread, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrapCause {
    Fuel,
    Deadline,
    Memory,
    Stack,
    AnswerSize,
    Other,
}

const CAUSES: usize = 6;

/// Buckets of the latency histogram: bucket n counts calls of less than 2^n microseconds, the last all others.
const BUCKETS: usize = 24;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) items: AtomicU64,
    pub(crate) bad_input: AtomicU64,
    pub(crate) internal: AtomicU64,
    pub(crate) bad_answers: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) instances: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) rejected_reloads: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
    pub(crate) log_lines: AtomicU64,
    pub(crate) log_dropped: AtomicU64,
    pub(crate) memory_peak: AtomicU64,
    pub(crate) fuel_peak: AtomicU64,
    traps: [AtomicU64; CAUSES],
    latency: [AtomicU64; BUCKETS],
    latency_sum: AtomicU64,
    latency_max: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn trap(&self, cause: TrapCause) {
        self.traps[cause as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn call(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let micros = nanos / 1000;
        let bucket = usize::try_from(u64::BITS - micros.leading_zeros()).unwrap_or(0).min(BUCKETS - 1);
        self.calls.fetch_add(1, Relaxed);
        self.latency[bucket].fetch_add(1, Relaxed);
        self.latency_sum.fetch_add(nanos, Relaxed);
        self.latency_max.fetch_max(nanos, Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        let by_cause = |cause: TrapCause| self.traps[cause as usize].load(Relaxed);
        let traps_by_cause = Traps {
            fuel: by_cause(TrapCause::Fuel),
            deadline: by_cause(TrapCause::Deadline),
            memory: by_cause(TrapCause::Memory),
            stack: by_cause(TrapCause::Stack),
            answer_size: by_cause(TrapCause::AnswerSize),
            other: by_cause(TrapCause::Other),
        };
        Figures {
            calls: self.calls.load(Relaxed),
            items: self.items.load(Relaxed),
            traps: self.traps.iter().map(|count| count.load(Relaxed)).sum(),
            traps_by_cause,
            bad_input: self.bad_input.load(Relaxed),
            internal: self.internal.load(Relaxed),
            bad_answers: self.bad_answers.load(Relaxed),
            unavailable: self.unavailable.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            instances: self.instances.load(Relaxed),
            reloads: self.reloads.load(Relaxed),
            rejected_reloads: self.rejected_reloads.load(Relaxed),
            rollbacks: self.rollbacks.load(Relaxed),
            log_lines: self.log_lines.load(Relaxed),
            log_dropped: self.log_dropped.load(Relaxed),
            memory_peak: self.memory_peak.load(Relaxed),
            fuel_peak: self.fuel_peak.load(Relaxed),
            latency: self.latency(),
        }
    }

    fn latency(&self) -> Latency {
        let counts: Vec<u64> = self.latency.iter().map(|count| count.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let quantile = |part: u64| {
            let mut left = total * part / 1000;
            let bucket = counts.iter().position(|count| {
                let within = left < *count;
                left = left.saturating_sub(*count);
                within
            });
            bucket.map_or(0, |bucket| 1 << bucket)
        };
        let sum = self.latency_sum.load(Relaxed);
        Latency {
            mean_nanos: sum.checked_div(total).unwrap_or(0),
            p50_micros: quantile(500),
            p99_micros: quantile(990),
            max_micros: self.latency_max.load(Relaxed) / 1000,
            sum_nanos: sum,
        }
    }
}

/// The counts of a slot since the start of the process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Calls into the policy; a batch is one.
    pub calls: u64,
    /// Questions answered: logins, openings, reviews, rounds.
    pub items: u64,
    /// Calls that were stopped.
    pub traps: u64,
    pub traps_by_cause: Traps,
    /// Calls that the policy refused as beyond it.
    pub bad_input: u64,
    /// Calls that the policy itself called broken.
    pub internal: u64,
    /// Answers that broke a rule.
    pub bad_answers: u64,
    /// Questions that got the default since the policy was backing off.
    pub unavailable: u64,
    /// Questions that got the default since the queue was full.
    pub queue_full: u64,
    pub instances: u64,
    pub reloads: u64,
    pub rejected_reloads: u64,
    pub rollbacks: u64,
    pub log_lines: u64,
    pub log_dropped: u64,
    /// The most bytes of linear memory that an instance held.
    pub memory_peak: u64,
    /// The most fuel that a call took.
    pub fuel_peak: u64,
    pub latency: Latency,
}

/// Stopped calls by what stopped them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traps {
    pub fuel: u64,
    pub deadline: u64,
    pub memory: u64,
    pub stack: u64,
    pub answer_size: u64,
    pub other: u64,
}

/// How long calls took within the policy thread. Quantiles are upper bounds, powers of two.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    pub mean_nanos: u64,
    pub p50_micros: u64,
    pub p99_micros: u64,
    pub max_micros: u64,
    pub sum_nanos: u64,
}
