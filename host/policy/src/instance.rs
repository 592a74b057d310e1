//! One guest in its store: armed with limits before every call, and dead after a trap.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sluice_core::policy::{PolicyFailure, PolicyKind};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, Store, Trap};

use crate::bindings::log;
use crate::check::{TEXT_LIMIT, bounded};
use crate::config::Limits;
use crate::counters::{Counters, TrapCause};
use crate::engine::TICK;
use crate::limits::{LogGate, Meter};

/// The longest log line, in bytes; what is beyond is cut.
const LINE_LIMIT: usize = 1024;
/// Handles of resources: no policy has any.
const HANDLES: usize = 16;
/// Describe, configure and self-test may take so many times what a call may.
pub(crate) const SETUP_FACTOR: u32 = 5;

pub(crate) type GuestStore = Store<Guest>;

/// What the host keeps beside a guest.
pub(crate) struct Guest {
    meter: Meter,
    kind: PolicyKind,
    name: Arc<str>,
    gate: LogGate,
    counters: Arc<Counters>,
    lines_left: u32,
    /// The last line it wrote, which often says why it trapped.
    last_line: String,
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let message = bounded(&message, LINE_LIMIT);
        if self.lines_left == 0 || !self.gate.pass(Instant::now()) {
            Counters::add(&self.counters.log_dropped);
        } else {
            self.lines_left -= 1;
            Counters::add(&self.counters.log_lines);
            let (kind, name) = (self.kind, &*self.name);
            match level {
                log::Level::Debug => tracing::debug!(target: "policy", %kind, name, "{message}"),
                log::Level::Info => tracing::info!(target: "policy", %kind, name, "{message}"),
                log::Level::Warn => tracing::warn!(target: "policy", %kind, name, "{message}"),
                log::Level::Error => tracing::error!(target: "policy", %kind, name, "{message}"),
            }
        }
        self.last_line = message;
        Ok(())
    }
}

/// A linker that grants the log and nothing else.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

/// What a new instance needs to know of its generation.
pub(crate) struct Terms {
    pub(crate) kind: PolicyKind,
    pub(crate) name: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) gate: LogGate,
    pub(crate) counters: Arc<Counters>,
}

/// A guest that can be called.
pub(crate) struct Instance {
    store: GuestStore,
    instance: wasmtime::component::Instance,
    limits: Limits,
    deadline: u64,
}

fn ticks(deadline: Duration) -> u64 {
    // One more, since the current tick is already running.
    u64::try_from(deadline.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX - 1) + 1
}

impl Instance {
    /// # Errors
    /// A guest that traps or asks for too much while it starts.
    pub(crate) fn new(
        engine: &Engine,
        pre: &wasmtime::component::InstancePre<Guest>,
        terms: &Terms,
    ) -> Result<Self, PolicyFailure> {
        let limits = terms.limits.clone();
        let guest = Guest {
            meter: Meter::new(&limits),
            kind: terms.kind,
            name: terms.name.clone(),
            gate: terms.gate.clone(),
            counters: terms.counters.clone(),
            lines_left: limits.log_lines,
            last_line: String::new(),
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.meter);
        store.set_hostcall_fuel(limits.answer_bytes);
        store.set_max_component_handles(HANDLES);
        let deadline = ticks(limits.deadline);
        arm(
            &mut store,
            limits.fuel.saturating_mul(u64::from(SETUP_FACTOR)),
            deadline * u64::from(SETUP_FACTOR),
        )
        .map_err(|error| PolicyFailure::Trap(error.to_string()))?;
        match pre.instantiate(&mut store) {
            Ok(instance) => Ok(Self { store, instance, limits, deadline }),
            Err(error) => Err(stopped(&mut store, &error)),
        }
    }

    /// Looks up the functions of an interface and checks their types.
    pub(crate) fn load<R>(
        &mut self,
        look_up: impl FnOnce(&mut GuestStore, &wasmtime::component::Instance) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        look_up(&mut self.store, &self.instance)
            .map_err(|error| PolicyFailure::BadAnswer(format!("{error:#}")))
    }

    /// A call about so many items, within its limits.
    pub(crate) fn call<R>(
        &mut self,
        items: usize,
        call: impl FnOnce(&mut GuestStore) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        let fuel = self.limits.fuel.saturating_add(self.limits.fuel_per_item.saturating_mul(items));
        let answer = self.run(fuel, self.deadline, call);
        let left = self.store.get_fuel().unwrap_or(0);
        self.store.data().counters.fuel_peak.fetch_max(fuel.saturating_sub(left), Relaxed);
        answer
    }

    /// A call that is made once in an instance's life.
    pub(crate) fn set_up<R>(
        &mut self,
        call: impl FnOnce(&mut GuestStore) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        let factor = u64::from(SETUP_FACTOR);
        self.run(self.limits.fuel.saturating_mul(factor), self.deadline.saturating_mul(factor), call)
    }

    fn run<R>(
        &mut self,
        fuel: u64,
        deadline: u64,
        call: impl FnOnce(&mut GuestStore) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        arm(&mut self.store, fuel, deadline).map_err(|error| PolicyFailure::Trap(error.to_string()))?;
        self.store.data_mut().lines_left = self.limits.log_lines;
        let answer = call(&mut self.store);
        let guest = self.store.data();
        guest
            .counters
            .memory_peak
            .fetch_max(u64::try_from(guest.meter.memory()).unwrap_or(u64::MAX), Relaxed);
        answer.map_err(|error| stopped(&mut self.store, &error))
    }
}

fn arm(store: &mut GuestStore, fuel: u64, deadline: u64) -> wasmtime::Result<()> {
    store.set_fuel(fuel)?;
    // Relative to now; without it a store traps at the next tick.
    store.set_epoch_deadline(deadline);
    Ok(())
}

/// Counts and words a call that was stopped.
fn stopped(store: &mut GuestStore, error: &wasmtime::Error) -> PolicyFailure {
    let guest = store.data_mut();
    let refused = guest.meter.take_refused();
    let cause = cause(error, refused);
    guest.counters.trap(cause);
    let what = match cause {
        TrapCause::Fuel => "it used up its fuel".to_owned(),
        TrapCause::Deadline => "it ran past its deadline".to_owned(),
        TrapCause::Memory => "it was refused more memory than its limit".to_owned(),
        TrapCause::Stack => "it used up its stack".to_owned(),
        TrapCause::AnswerSize => "its answer is larger than its limit".to_owned(),
        TrapCause::Other => reason(error),
    };
    let said = std::mem::take(&mut guest.last_line);
    let text = if said.is_empty() { what } else { format!("{what}; it last said: {said}") };
    PolicyFailure::Trap(bounded(&text, 3 * TEXT_LIMIT))
}

fn cause(error: &wasmtime::Error, refused: bool) -> TrapCause {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => TrapCause::Fuel,
        Some(Trap::Interrupt) => TrapCause::Deadline,
        Some(Trap::StackOverflow) => TrapCause::Stack,
        _ if refused => TrapCause::Memory,
        None if format!("{error:#}").contains("fuel allocated for hostcalls") => TrapCause::AnswerSize,
        _ => TrapCause::Other,
    }
}

/// The trap where there is one, without the lines that only say that something went wrong.
fn reason(error: &wasmtime::Error) -> String {
    error.downcast_ref::<Trap>().map_or_else(|| format!("{error:#}"), ToString::to_string)
}
