//! Counts of a generation and of its slot: written by their thread, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapCause {
    Fuel,
    Deadline,
    Memory,
    Stack,
    AnswerSize,
    /// A trap of its own, such as `unreachable`.
    Other,
}

impl TrapCause {
    pub const ALL: [Self; 6] =
        [Self::Fuel, Self::Deadline, Self::Memory, Self::Stack, Self::AnswerSize, Self::Other];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::AnswerSize => "answer_size",
            Self::Other => "other",
        }
    }
}

/// What was wrong with a call that gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was stopped.
    Trap(TrapCause),
    /// Its answer breaks a rule.
    BadAnswer,
    /// The policy itself says that it is broken.
    Internal,
}

impl Fault {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Trap(cause) => cause.label(),
            Self::BadAnswer => "bad_answer",
            Self::Internal => "internal",
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

/// Buckets of the latency histogram: bucket n counts calls of less than 2^n microseconds, the last all others.
const BUCKETS: usize = 26;

/// What is counted of one generation.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) items: AtomicU64,
    pub(crate) bad_input: AtomicU64,
    pub(crate) internal: AtomicU64,
    pub(crate) bad_answers: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) instances: AtomicU64,
    pub(crate) renewed: AtomicU64,
    pub(crate) log_lines: AtomicU64,
    pub(crate) log_dropped: AtomicU64,
    /// Bytes of linear memory of the instance that was asked last.
    pub(crate) memory: AtomicU64,
    pub(crate) memory_peak: AtomicU64,
    pub(crate) table_peak: AtomicU64,
    pub(crate) fuel_peak: AtomicU64,
    /// Of instantiating, describe, configure and self-test.
    pub(crate) setup_fuel_peak: AtomicU64,
    pub(crate) answer_peak: AtomicU64,
    traps: [AtomicU64; TrapCause::ALL.len()],
    latency: Histogram,
}

/// How long something took, each time.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    /// Nanoseconds.
    sum: AtomicU64,
    max: AtomicU64,
}

/// What is counted of a slot, whichever generation serves.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) queue_full: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) rejected_reloads: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
}

impl Totals {
    pub(crate) fn figures(&self) -> SlotFigures {
        SlotFigures {
            queue_full: self.queue_full.load(Relaxed),
            reloads: self.reloads.load(Relaxed),
            rejected_reloads: self.rejected_reloads.load(Relaxed),
            rollbacks: self.rollbacks.load(Relaxed),
        }
    }
}

/// Sets a peak. Nearly always it stands already: then this is a read.
pub(crate) fn raise(peak: &AtomicU64, value: u64) {
    if peak.load(Relaxed) < value {
        peak.fetch_max(value, Relaxed);
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn trap(&self, cause: TrapCause) {
        self.traps[cause as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn call(&self, took: Duration) {
        self.calls.fetch_add(1, Relaxed);
        self.latency.record(took);
    }

    /// Adds what another has counted; the higher peaks stand.
    pub(crate) fn absorb(&self, other: &Self) {
        let sums = [
            (&self.calls, &other.calls),
            (&self.items, &other.items),
            (&self.bad_input, &other.bad_input),
            (&self.internal, &other.internal),
            (&self.bad_answers, &other.bad_answers),
            (&self.unavailable, &other.unavailable),
            (&self.instances, &other.instances),
            (&self.renewed, &other.renewed),
            (&self.log_lines, &other.log_lines),
            (&self.log_dropped, &other.log_dropped),
        ];
        for (sum, more) in sums.into_iter().chain(self.traps.iter().zip(&other.traps)) {
            sum.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.latency.absorb(&other.latency);
        for (peak, value) in [
            (&self.memory_peak, &other.memory_peak),
            (&self.table_peak, &other.table_peak),
            (&self.fuel_peak, &other.fuel_peak),
            (&self.setup_fuel_peak, &other.setup_fuel_peak),
            (&self.answer_peak, &other.answer_peak),
        ] {
            raise(peak, value.load(Relaxed));
        }
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
            instances: self.instances.load(Relaxed),
            renewed: self.renewed.load(Relaxed),
            log_lines: self.log_lines.load(Relaxed),
            log_dropped: self.log_dropped.load(Relaxed),
            memory_peak: self.memory_peak.load(Relaxed),
            table_peak: self.table_peak.load(Relaxed),
            fuel_peak: self.fuel_peak.load(Relaxed),
            answer_peak: self.answer_peak.load(Relaxed),
            latency: self.latency.latency(),
        }
    }
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let micros = nanos / 1000;
        let bucket = usize::try_from(u64::BITS - micros.leading_zeros()).unwrap_or(0).min(BUCKETS - 1);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanos, Relaxed);
        raise(&self.max, nanos);
    }

    fn absorb(&self, other: &Self) {
        for (sum, more) in self.counts.iter().zip(&other.counts) {
            sum.fetch_add(more.load(Relaxed), Relaxed);
        }
        self.sum.fetch_add(other.sum.load(Relaxed), Relaxed);
        raise(&self.max, other.max.load(Relaxed));
    }

    pub(crate) fn latency(&self) -> Latency {
        let counts: [u64; BUCKETS] = std::array::from_fn(|bucket| self.counts[bucket].load(Relaxed));
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
        let sum = self.sum.load(Relaxed);
        Latency {
            mean_nanos: sum.checked_div(total).unwrap_or(0),
            p50_micros: quantile(500),
            p99_micros: quantile(990),
            max_micros: self.max.load(Relaxed) / 1000,
            sum_nanos: sum,
            counts,
        }
    }
}

/// The counts of a generation, or of all generations of a slot since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// Instances that were made.
    pub instances: u64,
    /// Instances that were replaced between two calls since they held most of the memory they may have.
    pub renewed: u64,
    pub log_lines: u64,
    pub log_dropped: u64,
    /// The most bytes of linear memory that an instance held.
    pub memory_peak: u64,
    /// The most elements of tables that an instance held.
    pub table_peak: u64,
    /// The most fuel that a call took.
    pub fuel_peak: u64,
    /// The most bytes that a call handed to the host.
    pub answer_peak: u64,
    pub latency: Latency,
}

/// The counts of a slot since the start of the process that belong to no generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotFigures {
    /// Questions that got the default since the queue was full.
    pub queue_full: u64,
    pub reloads: u64,
    pub rejected_reloads: u64,
    pub rollbacks: u64,
}

/// Stopped calls by what stopped them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traps {
    pub fuel: u64,
    pub deadline: u64,
    pub memory: u64,
    pub stack: u64,
    pub answer_size: u64,
    pub other: u64,
}

impl Traps {
    pub const fn of(&self, cause: TrapCause) -> u64 {
        match cause {
            TrapCause::Fuel => self.fuel,
            TrapCause::Deadline => self.deadline,
            TrapCause::Memory => self.memory,
            TrapCause::Stack => self.stack,
            TrapCause::AnswerSize => self.answer_size,
            TrapCause::Other => self.other,
        }
    }
}

/// How long calls took within the policy thread. Quantiles are upper bounds, powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub mean_nanos: u64,
    pub p50_micros: u64,
    pub p99_micros: u64,
    pub max_micros: u64,
    pub sum_nanos: u64,
    #[serde(skip)]
    counts: [u64; BUCKETS],
}

impl Latency {
    /// A histogram: upper bounds in seconds, each four times the last, with how many calls took less and more than the
    /// bound before. The last has no bound.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bound =
            |last: usize| if last < BUCKETS - 1 { (1_u64 << last) as f64 / 1e6 } else { f64::INFINITY };
        let mut buckets = vec![(bound(0), self.counts[0])];
        let mut last = 0;
        for pair in self.counts[1..].chunks(2) {
            last += pair.len();
            buckets.push((bound(last), pair.iter().sum()));
        }
        buckets
    }
}
