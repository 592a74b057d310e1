//! A shadow: a generation beside the one that serves. It gets every call's input after the one that serves has answered,
//! on a thread and through a queue of its own; its answers are compared and counted, never used.
//!
//! A queue that is full drops the input and counts it: nothing ever waits for a shadow.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use serde::Serialize;
use sluice_core::policy::PolicyFailure;

use crate::check::{bounded, reworded};
use crate::counters::{Counters, Figures};
use crate::error::StartError;
use crate::load::Loaded;
use crate::recovery::{Rate, Recovery, Remedy};
use crate::sheet::{GenerationStatus, Generations, Role, Sheet};
use crate::slot::{Kind, THREAD_STACK, unix_millis};
use crate::status::PolicyIdentity;

/// The last so many differences are kept as examples.
pub const EXAMPLES: usize = 16;
/// The longest text of an example, in bytes.
const EXAMPLE_TEXT: usize = 400;

/// An input that the two answered differently. Printable, bounded, without passwords.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Milliseconds since 1970.
    pub at: u64,
    pub input: String,
    /// What the miner or the ledger got.
    pub live: String,
    pub shadow: String,
}

/// What a comparison says before it is made fit to be shown.
pub(crate) struct Unlike {
    pub(crate) input: String,
    /// Live, shadow.
    pub(crate) answers: [String; 2],
}

/// What a shadow is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowState {
    Comparing,
    /// A file is compiled and proved; what was there before goes on meanwhile.
    Loading,
    /// It keeps failing and is not asked for a while.
    BackingOff,
    /// The same code with the same settings serves: there is nothing to compare.
    Serving,
    /// Its file did not load and there is nothing before it.
    Refused,
}

/// A shadow, for `GET /api/v1/policies`. Counts are since the present pair of generations came together.
#[derive(Clone, Debug, Serialize)]
pub struct ShadowStatus {
    pub file: String,
    pub name: String,
    pub version: String,
    pub hash: String,
    /// Milliseconds since 1970.
    pub loaded_at: u64,
    pub state: ShadowState,
    /// Why the latest file was refused.
    pub error: Option<String>,
    /// The generation that it is compared with.
    pub against: u64,
    /// Questions that both answered.
    pub compared: u64,
    pub agreed: u64,
    pub differed: u64,
    /// Questions that it gave no usable answer to.
    pub failed: u64,
    /// Questions that were not put to it: its queue was full.
    pub dropped: u64,
    /// Questions that were not put to it: it was backing off, or wanted to look up what nobody had looked up.
    pub skipped: u64,
    pub last_failure: Option<String>,
    /// The latest differences, newest first, at most [`EXAMPLES`].
    pub examples: Vec<Difference>,
    /// Inputs that wait for it; a batch is one.
    pub waiting: usize,
    /// It and the shadows before it, newest first.
    pub generations: Vec<GenerationStatus>,
    #[serde(flatten)]
    pub figures: Figures,
}

enum Note<K: Kind> {
    Case {
        against: u64,
        items: u64,
        case: K::Case,
    },
    /// Something is next, or it is stopped.
    Wake,
}

/// The side of a shadow that everybody sees.
pub(crate) struct Shadow<K: Kind> {
    queue: SyncSender<Note<K>>,
    record: Arc<Record>,
}

/// What the thread and the others share.
struct Record {
    file: String,
    /// Inputs are wanted.
    open: AtomicBool,
    stopped: AtomicBool,
    queued: AtomicUsize,
    /// The generation that answered the latest input.
    against: AtomicU64,
    /// Inputs of that generation.
    dropped: AtomicU64,
    /// Questions of the present subject that were dropped, whichever generation answered them.
    missed: AtomicU64,
    generations: Generations,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    subject: Option<Subject>,
    /// How many there were.
    subjects: u64,
    /// Set until the thread has taken the subject up. A slow shadow has a full queue: nobody waits for a place in it.
    next: bool,
    loading: bool,
    backing_off: bool,
    error: Option<String>,
    tally: Tally,
}

#[derive(Clone)]
struct Subject {
    loaded: Arc<Loaded>,
    since: u64,
}

impl Subject {
    /// `missed`: questions that were dropped before it got them.
    fn missed(&self, missed: u64) {
        self.loaded.sheet.comparison.dropped.store(missed, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Tally {
    against: u64,
    agreed: u64,
    differed: u64,
    failed: u64,
    skipped: u64,
    last_failure: Option<String>,
    examples: VecDeque<Difference>,
}

impl Record {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> Shadow<K> {
    /// Starts its thread, with nothing to ask yet.
    pub(crate) fn start(file: &str) -> Result<Self, StartError> {
        // One more for a nudge.
        let (queue, inbox) = sync_channel(K::SHADOW_QUEUE + 1);
        let record = Arc::new(Record {
            file: file.to_owned(),
            open: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            against: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            generations: Generations::default(),
            state: Mutex::default(),
        });
        let bench = Bench::<K> {
            record: record.clone(),
            loaded: None,
            instance: None,
            memory: K::Memory::default(),
            recovery: Recovery::new(Instant::now(), Rate::default()),
        };
        thread::Builder::new()
            .name(format!("policy-shadow-{}", K::KIND))
            .stack_size(THREAD_STACK)
            .spawn(move || bench.run(&inbox))
            .map_err(|error| StartError::Thread(error.to_string()))?;
        Ok(Self { queue, record })
    }

    /// Leaves an input and what it was answered, if there is room. `case` is only made where it is.
    pub(crate) fn offer(&self, live: &PolicyIdentity, items: u64, case: impl FnOnce() -> K::Case) {
        if !self.record.open.load(Ordering::Relaxed) {
            return;
        }
        if self.record.against.swap(live.generation, Ordering::Relaxed) != live.generation {
            self.record.dropped.store(0, Ordering::Relaxed);
        }
        let drop_it = || {
            self.record.dropped.fetch_add(items, Ordering::Relaxed);
            self.record.missed.fetch_add(items, Ordering::Relaxed);
        };
        if self.record.queued.load(Ordering::Relaxed) >= K::SHADOW_QUEUE {
            drop_it();
            return;
        }
        self.record.queued.fetch_add(1, Ordering::Relaxed);
        let note = Note::Case { against: live.generation, items, case: case() };
        if self.queue.try_send(note).is_err() {
            self.record.queued.fetch_sub(1, Ordering::Relaxed);
            drop_it();
        }
    }

    /// A generation that was proved is compared from now on. Waits for nothing.
    pub(crate) fn replace(&self, loaded: &Loaded) {
        let mut state = self.record.state();
        let missed = self.record.missed.swap(0, Ordering::Relaxed);
        state.subject.iter().for_each(|before| before.missed(missed));
        state.subjects += 1;
        let loaded = loaded.with_role(Role::Shadow, state.subjects);
        self.record.generations.begin(loaded.sheet.clone());
        state.subject = Some(Subject { loaded, since: unix_millis() });
        state.error = None;
        state.tally = Tally::default();
        state.next = true;
        drop(state);
        self.record.dropped.store(0, Ordering::Relaxed);
        // Full: the thread is awake, and looks before the next input.
        let _ = self.queue.try_send(Note::Wake);
    }

    pub(crate) fn refused(&self, why: String) {
        self.record.state().error = Some(why);
    }

    pub(crate) fn loading(&self, loading: bool) {
        self.record.state().loading = loading;
    }

    pub(crate) fn subject(&self) -> Option<Arc<Loaded>> {
        self.record.state().subject.as_ref().map(|subject| subject.loaded.clone())
    }

    /// Why there is nothing to promote, where something was refused.
    pub(crate) fn error(&self) -> Option<String> {
        self.record.state().error.clone()
    }

    /// Asks for inputs where there is something to compare with what serves.
    pub(crate) fn face(&self, live: Option<&Loaded>) {
        let subject = self.subject();
        let differs = |subject: Arc<Loaded>| live.is_some_and(|live| !same(live, &subject));
        self.record.open.store(subject.is_some_and(differs), Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.record.stopped.store(true, Ordering::Release);
        // Full: the thread is awake, and looks at the flag before it sleeps again.
        let _ = self.queue.try_send(Note::Wake);
    }

    pub(crate) fn status(&self) -> ShadowStatus {
        let record = &self.record;
        let state = record.state();
        state.subject.iter().for_each(|subject| subject.missed(record.missed.load(Ordering::Relaxed)));
        let generations = record.generations.told();
        let present = match (&state.subject, record.open.load(Ordering::Relaxed)) {
            _ if state.loading => ShadowState::Loading,
            (None, _) => ShadowState::Refused,
            (Some(_), false) => ShadowState::Serving,
            (Some(_), true) if state.backing_off => ShadowState::BackingOff,
            (Some(_), true) => ShadowState::Comparing,
        };
        let tally = &state.tally;
        let of = |text: fn(&Loaded) -> &String| {
            state.subject.as_ref().map(|subject| text(&subject.loaded).clone()).unwrap_or_default()
        };
        ShadowStatus {
            file: record.file.clone(),
            name: of(|loaded| &loaded.descriptor.name),
            version: of(|loaded| &loaded.descriptor.version),
            hash: of(|loaded| &loaded.hash),
            loaded_at: state.subject.as_ref().map_or(0, |subject| subject.since),
            state: present,
            error: state.error.clone(),
            against: tally.against,
            compared: tally.agreed + tally.differed,
            agreed: tally.agreed,
            differed: tally.differed,
            failed: tally.failed,
            dropped: record.dropped.load(Ordering::Relaxed),
            skipped: tally.skipped,
            last_failure: tally.last_failure.clone(),
            examples: tally.examples.iter().cloned().collect(),
            waiting: record.queued.load(Ordering::Relaxed),
            figures: generations.first().map(|one| one.figures.clone()).unwrap_or_default(),
            generations,
        }
    }
}

/// Same code, same settings.
pub(crate) fn same(one: &Loaded, other: &Loaded) -> bool {
    one.hash == other.hash && one.settings == other.settings
}

/// The asking side: owned by the thread.
struct Bench<K: Kind> {
    record: Arc<Record>,
    loaded: Option<Arc<Loaded>>,
    instance: Option<Box<K::Policy>>,
    /// What the kind keeps between inputs.
    memory: K::Memory,
    recovery: Recovery,
}

impl<K: Kind> Bench<K> {
    fn run(mut self, inbox: &Receiver<Note<K>>) {
        while let Ok(note) = inbox.recv() {
            if self.record.stopped.load(Ordering::Acquire) {
                return;
            }
            self.take_next();
            if let Note::Case { against, items, case } = note {
                self.record.queued.fetch_sub(1, Ordering::Relaxed);
                self.compare(against, items, &case);
            }
        }
    }

    /// Takes up what is to be compared now, where that changed.
    fn take_next(&mut self) {
        let mut state = self.record.state();
        if !std::mem::take(&mut state.next) {
            return;
        }
        let Some(Subject { loaded, .. }) = state.subject.clone() else { return };
        state.backing_off = false;
        state.tally = Tally::default();
        drop(state);
        self.loaded = Some(loaded);
        self.instance = None;
        self.memory = K::Memory::default();
        self.recovery = Recovery::new(Instant::now(), Rate::default());
    }

    fn compare(&mut self, against: u64, items: u64, case: &K::Case) {
        self.compared_with(against);
        let found = match self.instance() {
            Some(Ok(())) => self.ask(items, case),
            Some(Err(failure)) => Err(failure),
            None => return self.skip(items),
        };
        match found {
            Ok(differences) => self.count(items, case, differences),
            // It wants to know what nobody looked up.
            Err(PolicyFailure::Unavailable(_)) => {
                self.instance = None;
                self.skip(items);
            }
            Err(failure) => self.failed(items, case, &failure),
        }
    }

    fn skip(&self, items: u64) {
        self.record.state().tally.skipped += items;
        self.tell(|sheet| sheet.comparison.skipped.fetch_add(items, Ordering::Relaxed));
    }

    /// Counts begin anew where another generation serves.
    fn compared_with(&self, against: u64) {
        let mut state = self.record.state();
        if state.tally.against != against {
            state.tally = Tally { against, ..Tally::default() };
        }
    }

    /// Sees to an instance; `None` while it is backing off.
    fn instance(&mut self) -> Option<Result<(), PolicyFailure>> {
        if self.instance.is_some() {
            return Some(Ok(()));
        }
        let now = Instant::now();
        if self.recovery.paused(now).is_some() {
            return None;
        }
        let made = K::instance(self.loaded.as_ref()?);
        Some(made.map(|instance| {
            self.instance = Some(instance);
            self.recovery.serves(now);
            self.record.state().backing_off = false;
            self.tell(|sheet| Counters::add(&sheet.counters.instances));
        }))
    }

    fn ask(&mut self, items: u64, case: &K::Case) -> Result<Vec<Unlike>, PolicyFailure> {
        let Some(policy) = self.instance.as_deref_mut() else { return Ok(Vec::new()) };
        let began = Instant::now();
        let found = K::compare(policy, &mut self.memory, case);
        let took = began.elapsed();
        self.tell(|sheet| {
            sheet.counters.call(took);
            sheet.counters.items.fetch_add(items, Ordering::Relaxed)
        });
        found
    }

    /// Counts, where there is a subject.
    fn tell<T>(&self, count: impl FnOnce(&Sheet) -> T) {
        if let Some(loaded) = &self.loaded {
            count(&loaded.sheet);
        }
    }

    fn count(&self, items: u64, case: &K::Case, differences: Vec<Unlike>) {
        let mut state = self.record.state();
        let differed = u64::try_from(differences.len()).unwrap_or(u64::MAX).min(items);
        let tally = &mut state.tally;
        tally.agreed += items - differed;
        tally.differed += differed;
        self.tell(|sheet| {
            sheet.comparison.agreed.fetch_add(items - differed, Ordering::Relaxed);
            sheet.comparison.differed.fetch_add(differed, Ordering::Relaxed)
        });
        for Unlike { input, answers: [live, shadow] } in differences {
            let fit = |text: String| bounded(&K::redact(case, text), EXAMPLE_TEXT);
            let (input, live, shadow) = (fit(input), fit(live), fit(shadow));
            tally.examples.push_front(Difference { at: unix_millis(), input, live, shadow });
            tally.examples.truncate(EXAMPLES);
        }
    }

    fn failed(&mut self, items: u64, case: &K::Case, failure: &PolicyFailure) {
        self.tell(|sheet| {
            sheet.comparison.failed.fetch_add(items, Ordering::Relaxed);
            sheet.fails(&reworded(failure.clone(), |text| K::redact(case, text)));
        });
        let why = bounded(&K::redact(case, failure.to_string()), EXAMPLE_TEXT);
        let mut state = self.record.state();
        state.tally.failed += items;
        state.tally.last_failure = Some(why);
        if matches!(failure, PolicyFailure::Trap(_) | PolicyFailure::Internal(_)) {
            self.instance = None;
            state.backing_off = matches!(self.recovery.strike(Instant::now(), false), Remedy::Pause(_));
        }
    }
}

/// What two answers to one question come to: nothing where they are alike, both in words where they are not. A refusal of
/// the input is an answer; any other failure of the shadow is its failure.
pub(crate) fn verdict<A>(
    live: &Result<A, PolicyFailure>,
    shadow: Result<A, PolicyFailure>,
    differ: impl FnOnce(&A, &A) -> Option<[String; 2]>,
    tell: impl Fn(&A) -> String,
) -> Result<Option<[String; 2]>, PolicyFailure> {
    match (live, shadow) {
        (Ok(live), Ok(shadow)) => Ok(differ(live, &shadow)),
        (Err(PolicyFailure::BadInput(_)), Err(PolicyFailure::BadInput(_))) => Ok(None),
        (Ok(live), Err(failure @ PolicyFailure::BadInput(_))) => Ok(Some([tell(live), failure.to_string()])),
        (Err(failure), Ok(shadow)) => Ok(Some([failure.to_string(), tell(&shadow)])),
        (_, Err(failure)) => Err(failure),
    }
}
