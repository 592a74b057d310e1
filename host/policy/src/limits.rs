//! What holds a guest in: memory and tables summed over its store, and the log it may write.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

use crate::config::Limits;

/// Core instances, memories and tables of one component instance. CPython has about 40.
const INSTANCES: usize = 200;
const MEMORIES: usize = 32;
const TABLES: usize = 64;

/// Sums what a store holds. wasmtime's own limits count each memory by itself, and components may have many.
#[derive(Debug)]
pub(crate) struct Meter {
    memory: usize,
    memory_limit: usize,
    elements: usize,
    element_limit: usize,
    refused: bool,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (memory_limit, element_limit) = (limits.memory, limits.table_elements);
        Self { memory: 0, memory_limit, elements: 0, element_limit, refused: false }
    }

    /// Bytes of all memories. They never shrink.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Elements of all tables. They never shrink either.
    pub(crate) fn elements(&self) -> usize {
        self.elements
    }

    /// Whether growth was refused since the last look; a trap that follows is likely its consequence.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }
}

impl ResourceLimiter for Meter {
    /// `false` makes `memory.grow` answer -1: the guest may handle it, and the same happens at every replay.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        let allowed = total <= self.memory_limit;
        if allowed {
            self.memory = total;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        let allowed = total <= self.element_limit;
        if allowed {
            self.elements = total;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }

    fn tables(&self) -> usize {
        TABLES
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Written,
    Dropped,
}

/// How often it is said that lines were dropped.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Lets the lines of a generation through at a bounded rate, and remembers how many it did not.
#[derive(Debug)]
pub(crate) struct LogGate {
    per_second: u32,
    /// Dropped and not said yet. Beside the lock, so that a call that wrote nothing does not take it.
    untold: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
    said: Option<Instant>,
}

impl LogGate {
    pub(crate) fn new(per_second: u32) -> Self {
        let window = Window { since: Instant::now(), lines: 0, said: None };
        Self { per_second, untold: AtomicU64::new(0), window: Mutex::new(window) }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `within`: the call may still write one.
    pub(crate) fn pass(&self, now: Instant, within: bool) -> Passed {
        let mut window = self.window();
        if now.duration_since(window.since) >= Duration::from_secs(1) {
            (window.since, window.lines) = (now, 0);
        }
        if !within || window.lines >= self.per_second {
            self.untold.fetch_add(1, Relaxed);
            return Passed::Dropped;
        }
        window.lines += 1;
        Passed::Written
    }

    /// How many lines were dropped since that was last said, where it is time to say it again.
    pub(crate) fn untold(&self, now: Instant) -> Option<u64> {
        if self.untold.load(Relaxed) == 0 {
            return None;
        }
        let mut window = self.window();
        if window.said.is_some_and(|said| now.duration_since(said) < SAY_EVERY) {
            return None;
        }
        window.said = Some(now);
        self.rest()
    }

    /// The same, whenever that was last said.
    pub(crate) fn rest(&self) -> Option<u64> {
        Some(self.untold.swap(0, Relaxed)).filter(|dropped| *dropped > 0)
    }
}

#[cfg(test)]
mod tests;
