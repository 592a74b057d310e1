//! What holds a guest in: memory and tables summed over its store, and the log it may write.

use std::sync::{Arc, Mutex, PoisonError};
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

/// Log lines that all instances of a generation may write in a second.
const LINES_PER_SECOND: u32 = 50;

/// Lets lines through at a bounded rate.
#[derive(Clone, Debug)]
pub(crate) struct LogGate {
    window: Arc<Mutex<(Instant, u32)>>,
}

impl LogGate {
    pub(crate) fn new() -> Self {
        Self { window: Arc::new(Mutex::new((Instant::now(), 0))) }
    }

    pub(crate) fn pass(&self, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(window.0) >= Duration::from_secs(1) {
            *window = (now, 0);
        }
        window.1 = window.1.saturating_add(1);
        window.1 <= LINES_PER_SECOND
    }
}
