//! One guest in its store: armed with limits before every call, and dead after a trap.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sluice_core::policy::PolicyFailure;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, Store, Trap};

use crate::bindings::{log, lookup};
use crate::check::{Secrets, TEXT_LIMIT, bounded, reworded};
use crate::config::Limits;
use crate::counters::{Fault, TrapCause, raise};
use crate::engine::TICK;
use crate::limits::Meter;
use crate::lookup::{Session, Suspended};
use crate::sheet::Sheet;
use crate::weight::Weight;

/// The longest log line, in bytes; what is beyond is cut.
const LINE_LIMIT: usize = 1024;
/// Handles of resources: no policy has any.
const HANDLES: usize = 16;
/// Describe, configure and self-test may take so many times what a call may.
pub(crate) const SETUP_FACTOR: u32 = 5;
/// What they may answer at least, in bytes: a schema of settings alone may have half of it.
const SETUP_ANSWER: usize = 128 << 10;

pub(crate) type GuestStore = Store<Guest>;

/// What the host keeps beside a guest.
pub(crate) struct Guest {
    meter: Meter,
    sheet: Arc<Sheet>,
    lines_left: u32,
    /// The last line that the call wrote, which often says why it trapped.
    last_line: String,
    /// Of the call.
    secrets: Secrets,
    /// Of the call that runs, where it may look things up.
    session: Option<Session>,
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let message = bounded(&self.secrets.hidden(message), LINE_LIMIT);
        self.sheet.line(level, &message, self.lines_left > 0);
        self.lines_left = self.lines_left.saturating_sub(1);
        self.last_line = message;
        Ok(())
    }
}

impl lookup::Host for Guest {
    fn fetch(
        &mut self,
        request: lookup::Request,
    ) -> wasmtime::Result<Result<lookup::Answer, lookup::Failure>> {
        match &mut self.session {
            Some(session) => Ok(session.fetch(request)?),
            None => Ok(Err(lookup::Failure::Denied("lookups are made within authorize only".to_owned()))),
        }
    }
}

/// A linker that grants the log, and lookups: who may import those is settled before.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    lookup::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

/// What a new instance needs to know of its generation.
pub(crate) struct Terms {
    pub(crate) limits: Limits,
    pub(crate) sheet: Arc<Sheet>,
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
        let limits = terms.limits;
        let guest = Guest {
            meter: Meter::new(&limits),
            sheet: terms.sheet.clone(),
            lines_left: limits.log_lines,
            last_line: String::new(),
            secrets: Secrets::default(),
            session: None,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.meter);
        store.set_hostcall_fuel(limits.answer_bytes.max(SETUP_ANSWER));
        store.set_max_component_handles(HANDLES);
        let deadline = ticks(limits.deadline);
        arm(
            &mut store,
            limits.fuel.saturating_mul(u64::from(SETUP_FACTOR)),
            deadline * u64::from(SETUP_FACTOR),
        )
        .map_err(|error| PolicyFailure::Trap(error.to_string()))?;
        match pre.instantiate(&mut store) {
            Ok(instance) => {
                let mut instance = Self { store, instance, limits, deadline };
                instance.count_setup();
                Ok(instance)
            }
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

    /// It has said its name.
    pub(crate) fn counts_on(&mut self, sheet: &Arc<Sheet>) {
        self.store.data_mut().sheet = sheet.clone();
    }

    /// What the guest is told by the next call and may not tell anybody.
    pub(crate) fn hide<'a>(&mut self, secrets: impl Iterator<Item = &'a str>) {
        self.store.data_mut().secrets.replace(secrets);
    }

    /// A failure of the latest call, fit to be told.
    pub(crate) fn without_secrets(&self, failure: PolicyFailure) -> PolicyFailure {
        reworded(failure, |text| self.store.data().secrets.hidden(text))
    }

    /// A call about so many items, within its limits.
    pub(crate) fn call<R: Weight>(
        &mut self,
        items: usize,
        call: impl FnOnce(&mut GuestStore) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        let fuel = self.limits.fuel.saturating_add(self.limits.fuel_per_item.saturating_mul(items));
        self.store.set_hostcall_fuel(self.limits.answer_bytes);
        let answer = self.run(fuel, self.deadline, call);
        let left = self.store.get_fuel().unwrap_or(0);
        let counters = &self.store.data().sheet.counters;
        raise(&counters.fuel_peak, fuel.saturating_sub(left));
        if let Ok(answer) = &answer {
            raise(&counters.answer_peak, u64::try_from(answer.bytes()).unwrap_or(u64::MAX));
        }
        answer
    }

    /// A call that may look things up, with its session when it has ended.
    pub(crate) fn call_with<R: Weight>(
        &mut self,
        session: Session,
        call: impl FnOnce(&mut GuestStore) -> wasmtime::Result<R>,
    ) -> (Result<R, PolicyFailure>, Option<Session>) {
        self.store.data_mut().session = Some(session);
        let answer = self.call(1, call);
        (answer, self.store.data_mut().session.take())
    }

    /// A call that is made once in an instance's life.
    pub(crate) fn set_up<R>(
        &mut self,
        call: impl FnOnce(&mut GuestStore) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        let factor = u64::from(SETUP_FACTOR);
        self.store.set_hostcall_fuel(self.limits.answer_bytes.max(SETUP_ANSWER));
        let (fuel, deadline) =
            (self.limits.fuel.saturating_mul(factor), self.deadline.saturating_mul(factor));
        let answer = self.run(fuel, deadline, call);
        self.count_setup();
        answer
    }

    /// What is left of the fuel of a setup tells what it took.
    fn count_setup(&mut self) {
        let given = self.limits.fuel.saturating_mul(u64::from(SETUP_FACTOR));
        let left = self.store.get_fuel().unwrap_or(given);
        raise(&self.store.data().sheet.counters.setup_fuel_peak, given.saturating_sub(left));
    }

    fn run<R>(
        &mut self,
        fuel: u64,
        deadline: u64,
        call: impl FnOnce(&mut GuestStore) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyFailure> {
        arm(&mut self.store, fuel, deadline).map_err(|error| PolicyFailure::Trap(error.to_string()))?;
        let guest = self.store.data_mut();
        guest.lines_left = self.limits.log_lines;
        guest.last_line.clear();
        // What an earlier call was refused and got along without says nothing of this one.
        let _ = guest.meter.take_refused();
        let answer = call(&mut self.store);
        let guest = self.store.data();
        let memory = u64::try_from(guest.meter.memory()).unwrap_or(u64::MAX);
        let counters = &guest.sheet.counters;
        counters.memory.store(memory, Relaxed);
        raise(&counters.memory_peak, memory);
        raise(&counters.table_peak, u64::try_from(guest.meter.elements()).unwrap_or(u64::MAX));
        guest.sheet.tell_dropped();
        answer.map_err(|error| match error.downcast_ref::<Suspended>() {
            // The host's doing: whoever lent the session knows what is missing.
            Some(suspended) => PolicyFailure::Unavailable(suspended.to_string()),
            None => stopped(&mut self.store, &error),
        })
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
    let what = match cause {
        TrapCause::Fuel => "it used up its fuel".to_owned(),
        TrapCause::Deadline => "it ran past its deadline".to_owned(),
        TrapCause::Memory => "it was refused more memory than its limit".to_owned(),
        TrapCause::Stack => "it used up its stack".to_owned(),
        TrapCause::AnswerSize => "its answer is larger than its limit".to_owned(),
        TrapCause::Other => reason(error),
    };
    let (what, said) = (bounded(&what, 3 * TEXT_LIMIT), std::mem::take(&mut guest.last_line));
    let said = Some(said).filter(|said| !said.is_empty());
    let text = said.as_ref().map_or_else(|| what.clone(), |said| format!("{what}; it last said: {said}"));
    guest.sheet.counters.trap(cause);
    guest.sheet.failed(Fault::Trap(cause), &what, said);
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

/// The trap where there is one, else what was wrong in the first place: lines of where it happened come before that, as
/// many as the guest likes.
fn reason(error: &wasmtime::Error) -> String {
    error.downcast_ref::<Trap>().map_or_else(|| error.root_cause().to_string(), ToString::to_string)
}
