//! What is known of a generation: who it is, what it has cost, what it last did wrong. Its instances count here and write
//! their log lines under its name.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use sluice_core::policy::{PolicyFailure, PolicyKind};

use crate::bindings::log::Level;
use crate::config::Limits;
use crate::counters::{Counters, Fault, Figures};
use crate::limits::{LogGate, Passed};
use crate::slot::unix_millis;

/// How many generations that no longer serve are told of, for each slot and as many for its shadow.
pub const ENDED_KEPT: usize = 8;

/// What a generation is to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It serves.
    Live,
    /// It is compared with what serves.
    Shadow,
    /// It is proved, or asked by a command: nothing depends on it.
    Candidate,
}

impl Role {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
            Self::Candidate => "candidate",
        }
    }
}

/// Which generation.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    pub(crate) role: Role,
    pub(crate) kind: PolicyKind,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) hash: String,
    /// Of what serves: counts the swaps. Of a shadow: counts the shadows since the start. 0: a candidate.
    pub(crate) generation: u64,
}

/// The last call that gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Milliseconds since 1970.
    pub at: u64,
    pub generation: u64,
    /// `fuel`, `deadline`, `memory`, `stack`, `answer_size`, `other` (a trap), `bad_answer` or `internal`.
    pub cause: Fault,
    pub why: String,
    /// The last line that the call wrote to the log.
    pub said: Option<String>,
}

/// How a shadow compares; all zero for what serves.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) agreed: AtomicU64,
    pub(crate) differed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

/// The questions that were left to a shadow, by what came of them, since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    pub agreed: u64,
    pub differed: u64,
    /// It gave no usable answer.
    pub failed: u64,
    /// Its queue was full.
    pub dropped: u64,
    /// It was backing off.
    pub skipped: u64,
}

impl Comparison {
    fn told(&self) -> Compared {
        Compared {
            agreed: self.agreed.load(Relaxed),
            differed: self.differed.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) bearer: Bearer,
    pub(crate) counters: Counters,
    pub(crate) comparison: Comparison,
    gate: LogGate,
    since: u64,
    /// 0: not ended.
    until: AtomicU64,
    last_failure: Mutex<Option<Failure>>,
}

impl Sheet {
    pub(crate) fn new(bearer: Bearer, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            bearer,
            counters: Counters::default(),
            comparison: Comparison::default(),
            gate: LogGate::new(limits.log_lines_per_second),
            since: unix_millis(),
            until: AtomicU64::new(0),
            last_failure: Mutex::default(),
        })
    }

    /// A line of the guest, bounded and printable. `within`: the call may write it.
    pub(crate) fn line(&self, level: Level, text: &str, within: bool) {
        match self.gate.pass(Instant::now(), within) {
            Passed::Dropped => Counters::add(&self.counters.log_dropped),
            Passed::Written => {
                Counters::add(&self.counters.log_lines);
                self.write(level, text);
            }
        }
    }

    fn write(&self, level: Level, text: &str) {
        let (kind, role) = (self.bearer.kind.label(), self.bearer.role.label());
        let (name, hash, generation) = (&*self.bearer.name, self.hash12(), self.bearer.generation);
        match level {
            Level::Debug => tracing::debug!(target: "policy", kind, name, hash, generation, role, "{text}"),
            Level::Info => tracing::info!(target: "policy", kind, name, hash, generation, role, "{text}"),
            Level::Warn => tracing::warn!(target: "policy", kind, name, hash, generation, role, "{text}"),
            Level::Error => tracing::error!(target: "policy", kind, name, hash, generation, role, "{text}"),
        }
    }

    /// Says how many lines were dropped, where any were: once a second at most.
    pub(crate) fn tell_dropped(&self) {
        if let Some(dropped) = self.gate.untold(Instant::now()) {
            self.write(Level::Warn, &format!("{dropped} lines dropped"));
        }
    }

    fn hash12(&self) -> &str {
        self.bearer.hash.get(..12).unwrap_or(&self.bearer.hash)
    }

    /// Counts a call that gave no usable answer.
    pub(crate) fn fails(&self, failure: &PolicyFailure) {
        match failure {
            PolicyFailure::BadAnswer(why) => {
                Counters::add(&self.counters.bad_answers);
                self.failed(Fault::BadAnswer, why, None);
            }
            PolicyFailure::Internal(why) => {
                Counters::add(&self.counters.internal);
                self.failed(Fault::Internal, why, None);
            }
            PolicyFailure::BadInput(_) => Counters::add(&self.counters.bad_input),
            // Counted by its cause where it was stopped.
            PolicyFailure::Trap(_) | PolicyFailure::Unavailable(_) => {}
        }
    }

    pub(crate) fn failed(&self, cause: Fault, why: &str, said: Option<String>) {
        let (generation, why) = (self.bearer.generation, why.to_owned());
        *self.failure() = Some(Failure { at: unix_millis(), generation, cause, why, said });
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.until.store(unix_millis(), Relaxed);
        if let Some(dropped) = self.gate.rest() {
            self.write(Level::Warn, &format!("{dropped} lines dropped"));
        }
    }

    fn told(&self) -> GenerationStatus {
        let Bearer { role, name, version, hash, generation, .. } = self.bearer.clone();
        let until = self.until.load(Relaxed);
        GenerationStatus {
            generation,
            name,
            version,
            hash,
            since: self.since,
            until: (until > 0).then_some(until),
            figures: self.counters.figures(),
            compared: (role == Role::Shadow).then(|| self.comparison.told()),
            last_failure: self.failure().clone(),
        }
    }
}

/// A generation and its counts, for `GET /api/v1/policies` and the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GenerationStatus {
    /// Counts the swaps of its slot, from 1. Of a shadow: counts the shadows since the start.
    pub generation: u64,
    pub name: String,
    pub version: String,
    pub hash: String,
    /// Milliseconds since 1970.
    pub since: u64,
    /// `None`: it serves, or is compared.
    pub until: Option<u64>,
    #[serde(flatten)]
    pub figures: Figures,
    /// Of a shadow.
    pub compared: Option<Compared>,
    pub last_failure: Option<Failure>,
}

/// The generations that are told of: the present one and the last few before it. What older ones counted stays in the
/// sum.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Newest first.
    sheets: VecDeque<Arc<Sheet>>,
    gone: Counters,
}

impl Generations {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this one counts.
    pub(crate) fn begin(&self, sheet: Arc<Sheet>) {
        let mut kept = self.kept();
        if let Some(before) = kept.sheets.front() {
            before.end();
        }
        kept.sheets.push_front(sheet);
        while kept.sheets.len() > ENDED_KEPT + 1 {
            if let Some(oldest) = kept.sheets.pop_back() {
                kept.gone.absorb(&oldest.counters);
            }
        }
    }

    /// Newest first.
    pub(crate) fn told(&self) -> Vec<GenerationStatus> {
        self.kept().sheets.iter().map(|sheet| sheet.told()).collect()
    }

    /// Of all together.
    pub(crate) fn sum(&self) -> Figures {
        let kept = self.kept();
        let sum = Counters::default();
        sum.absorb(&kept.gone);
        kept.sheets.iter().for_each(|sheet| sum.absorb(&sheet.counters));
        sum.figures()
    }
}

#[cfg(test)]
mod tests;
