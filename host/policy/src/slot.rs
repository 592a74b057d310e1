//! A slot: the thread that asks one kind's policy, its bounded queue, and the generation that serves.
//!
//! Policies are synchronous and never run on the async reactor. A swap happens on this thread between two calls, so that
//! no call sees two generations.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sluice_core::policy::{Descriptor, PolicyFailure, PolicyKind};
use tokio::sync::{broadcast, watch};

use crate::config::Limits;
use crate::counters::{Counters, Totals};
use crate::error::{LoadError, StartError};
use crate::load::Loaded;
use crate::lookup::Service;
use crate::recovery::{Rate, Recovery, Remedy};
use crate::reload::Wish;
use crate::shadow::{Shadow, Unlike};
use crate::sheet::{Bearer, Generations, Role, Sheet};
use crate::status::{Outcome, PolicyEvent, PolicyIdentity};

mod inbox;
mod shared;

use inbox::{gather, next};
use shared::Face;
pub(crate) use shared::{Shared, TakenBack};

/// wasmtime carves a guest's stack out of the thread that calls it; less than that aborts the process.
pub(crate) const THREAD_STACK: usize = 8 << 20;
/// How many jobs are taken from the queue at one wake-up.
const DRAIN: usize = 256;
/// Recent inputs that a candidate is tried on.
pub(crate) const SAMPLES: usize = 32;
/// One in so many calls is kept as a sample once there are enough.
const SAMPLE_EVERY: u64 = 64;
/// Events that a slow listener may lag behind before it loses the oldest.
pub(crate) const EVENT_BACKLOG: usize = 256;
/// Calls that an instance answers at least before it makes way for its memory: making another costs up to a millisecond.
const CALLS_BEFORE_RENEWAL: u64 = 64;
/// At most one report of a failing call in this time; a miner may cause them at will.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What differs between the kinds.
pub(crate) trait Kind: Sized + Send + Sync + 'static {
    const KIND: PolicyKind;
    /// Unusable answers in a row that count as a failure like a trap. One alone may be a miner's doing.
    const BAD_ANSWERS: u32;
    type Policy: ?Sized + Send;
    type Job: Send;
    type Sample: Send + Sync;
    /// What the thread keeps beside its instance.
    type Aside: Send;

    /// At the thread's beginning. What is looked up for it wakes it when it is there.
    fn aside(lookup: Option<&Arc<Service>>, wake: Wake<Self>) -> Self::Aside;

    /// A fresh instance, configured.
    fn instance(loaded: &Arc<Loaded>) -> Result<Box<Self::Policy>, PolicyFailure>;

    /// Answers every job.
    fn serve(desk: &mut Desk<Self>, jobs: &mut Vec<Self::Job>);

    /// Asks an instance what was asked before; any failure but a refused input speaks against it.
    /// [`PolicyFailure::Unavailable`]: it wants to know more than is on record, and is done with.
    fn try_on(policy: &mut Self::Policy, sample: &Self::Sample) -> Result<(), PolicyFailure>;

    /// Cases that may wait for a shadow; one more is dropped and counted.
    const SHADOW_QUEUE: usize;
    /// An input and what was answered to it.
    type Case: Send;
    /// What is kept of a shadow's answers between two cases.
    type Memory: Default + Send;

    /// Asks a shadow what was asked, and says where its answers differ. [`PolicyFailure::Unavailable`] as for
    /// [`Kind::try_on`].
    fn compare(
        policy: &mut Self::Policy,
        memory: &mut Self::Memory,
        case: &Self::Case,
    ) -> Result<Vec<Unlike>, PolicyFailure>;

    /// `text` without the secrets of the case.
    fn redact(_case: &Self::Case, text: String) -> String {
        text
    }
}

enum Message<K: Kind> {
    Job(K::Job),
    Swap {
        loaded: Arc<Loaded>,
        done: SyncSender<Result<u64, LoadError>>,
    },
    /// What served before the program was started again.
    Warm(Arc<Loaded>),
    /// There is something to do beside the queue.
    Wake,
    Stop,
}

/// Wakes a slot's thread.
pub(crate) struct Wake<K: Kind>(SyncSender<Message<K>>);

impl<K: Kind> Wake<K> {
    pub(crate) fn wake(&self) {
        // Full: the thread is awake, and looks before it sleeps again.
        let _ = self.0.try_send(Message::Wake);
    }
}

/// What served before, loaded, and how often it failed.
struct Warm {
    loaded: Arc<Loaded>,
    rate: Rate,
}

pub(crate) fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Where a slot's policy comes from.
pub(crate) enum Source<K: Kind> {
    Native(Box<K::Policy>),
    Component(Arc<Loaded>),
}

/// The asking side of a slot.
pub(crate) struct Slot<K: Kind> {
    queue: SyncSender<Message<K>>,
    pub(crate) shared: Arc<Shared<K>>,
}

impl<K: Kind> Clone for Slot<K> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), shared: self.shared.clone() }
    }
}

/// What a slot starts with.
pub(crate) struct Opening<K: Kind> {
    pub(crate) file: String,
    pub(crate) source: Source<K>,
    pub(crate) limits: Limits,
    pub(crate) events: broadcast::Sender<PolicyEvent>,
    pub(crate) shadow: Option<Shadow<K>>,
    pub(crate) lookup: Option<Arc<Service>>,
}

impl<K: Kind> Slot<K> {
    /// Starts the thread.
    pub(crate) fn start(opening: Opening<K>) -> Result<Self, StartError> {
        let (queue, inbox) = sync_channel(opening.limits.queue.max(1));
        let (generation, _) = watch::channel(1);
        let (identity, descriptor, loaded) = match &opening.source {
            Source::Native(_) => (native_identity(), Descriptor::default(), None),
            Source::Component(loaded) => {
                (loaded.identity(1), loaded.descriptor.clone(), Some(loaded.clone()))
            }
        };
        let face = Face {
            identity: Arc::new(identity),
            descriptor,
            loaded_at: unix_millis(),
            backing_off: false,
            loading: false,
            stopped: false,
            history: VecDeque::new(),
            loaded,
            rolled_back: None,
            taken_back: None,
            pinned: false,
            held: None,
        };
        let shared = Arc::new(Shared {
            file: opening.file,
            limits: opening.limits,
            totals: Totals::default(),
            generations: Generations::default(),
            waiting: AtomicUsize::new(0),
            face: Mutex::new(face),
            samples: Mutex::default(),
            generation,
            events: opening.events,
            shadow: opening.shadow,
            lookup: opening.lookup,
            keeper: OnceLock::new(),
        });
        let aside = K::aside(shared.lookup.as_ref(), Wake(queue.clone()));
        let desk = Desk::new(shared.clone(), opening.source, aside);
        thread::Builder::new()
            .name(format!("policy-{}", K::KIND))
            .stack_size(THREAD_STACK)
            .spawn(move || desk.run(&inbox))
            .map_err(|error| StartError::Thread(error.to_string()))?;
        Ok(Self { queue, shared })
    }

    /// Puts a job in the queue, or says why the kind's default applies.
    pub(crate) fn ask(&self, job: K::Job) -> Result<(), PolicyFailure> {
        self.shared.waiting.fetch_add(1, Relaxed);
        let refused = match self.queue.try_send(Message::Job(job)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_)) => {
                Counters::add(&self.shared.totals.queue_full);
                PolicyFailure::Unavailable("its queue is full".to_owned())
            }
            Err(TrySendError::Disconnected(_)) => stopped(),
        };
        self.shared.waiting.fetch_sub(1, Relaxed);
        Err(refused)
    }

    /// Waits for its turn in the queue, then swaps: called by the keeper only.
    pub(crate) fn swap(&self, loaded: Arc<Loaded>) -> Result<u64, LoadError> {
        let (done, outcome) = sync_channel(1);
        self.queue.send(Message::Swap { loaded, done }).map_err(|_| LoadError::ShutDown)?;
        outcome.recv().map_err(|_| LoadError::ShutDown)?
    }

    /// What comes back if the generation that the program started with keeps failing: called by the keeper only.
    pub(crate) fn warm(&self, loaded: Arc<Loaded>) {
        // The thread is gone with its slot.
        let _ = self.queue.send(Message::Warm(loaded));
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    pub(crate) fn stop(&self) {
        self.shared.face().stopped = true;
        self.shared.shadow.iter().for_each(Shadow::stop);
        // Where the queue is full the thread is awake, and looks at the flag before it sleeps again.
        let _ = self.queue.try_send(Message::Stop);
        // So is the keeper.
        let _ = self.shared.keeper.get().map(|keeper| keeper.try_send(Wish::Look));
    }
}

pub(crate) fn stopped() -> PolicyFailure {
    PolicyFailure::Unavailable("it is shut down".to_owned())
}

fn native_bearer(kind: PolicyKind, identity: &PolicyIdentity) -> Bearer {
    let PolicyIdentity { name, version, hash, generation, .. } = identity.clone();
    Bearer { role: Role::Live, kind, name, version, hash, generation }
}

fn native_identity() -> PolicyIdentity {
    PolicyIdentity {
        name: "native".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hash: "native".to_owned(),
        settings: "{}".to_owned(),
        generation: 1,
    }
}

/// The answering side: owned by the thread.
pub(crate) struct Desk<K: Kind> {
    shared: Arc<Shared<K>>,
    /// `None` for a native policy, which is never replaced.
    loaded: Option<Arc<Loaded>>,
    last_good: Option<Warm>,
    identity: Arc<PolicyIdentity>,
    /// Of the generation that serves: what is counted on the way of a call is found here, once.
    sheet: Arc<Sheet>,
    instance: Option<Box<K::Policy>>,
    recovery: Recovery,
    bad_answers: u32,
    reported: Option<Instant>,
    sampled: u64,
    /// Calls that the instance has answered.
    asked: u64,
    /// The last instance was given up for no fault of its own.
    given_up: bool,
    aside: K::Aside,
}

impl<K: Kind> Desk<K> {
    fn new(shared: Arc<Shared<K>>, source: Source<K>, aside: K::Aside) -> Self {
        let (instance, loaded) = match source {
            Source::Native(policy) => (Some(policy), None),
            Source::Component(loaded) => (None, Some(loaded)),
        };
        let identity = shared.face().identity.clone();
        let sheet = match &loaded {
            Some(loaded) => loaded.sheet.clone(),
            None => Sheet::new(native_bearer(K::KIND, &identity), &shared.limits),
        };
        shared.generations.begin(sheet.clone());
        Self {
            shared,
            loaded,
            last_good: None,
            identity,
            sheet,
            instance,
            recovery: Recovery::new(Instant::now(), Rate::default()),
            bad_answers: 0,
            reported: None,
            sampled: 0,
            asked: 0,
            given_up: false,
            aside,
        }
    }

    pub(crate) fn aside(&self) -> &K::Aside {
        &self.aside
    }

    fn run(mut self, inbox: &Receiver<Message<K>>) {
        let mut jobs = Vec::with_capacity(DRAIN);
        while let Some(message) = next(inbox) {
            let last = gather(message, inbox, &mut jobs);
            self.shared.waiting.fetch_sub(jobs.len(), Relaxed);
            K::serve(&mut self, &mut jobs);
            match last {
                Some(Message::Swap { loaded, done }) => {
                    // The keeper may be gone.
                    let _ = done.send(self.swap(&loaded));
                }
                Some(Message::Warm(loaded)) => self.warm(loaded),
                Some(Message::Stop) => return,
                _ if self.shared.face().stopped => return,
                _ => {}
            }
        }
    }

    pub(crate) fn identity(&self) -> Arc<PolicyIdentity> {
        self.identity.clone()
    }

    /// Asks the policy, counts, and draws the consequences of a failure. `items` is how many questions that answers.
    pub(crate) fn ask<R>(
        &mut self,
        items: u64,
        question: impl FnOnce(&mut K::Policy) -> Result<R, PolicyFailure>,
    ) -> Result<R, PolicyFailure> {
        self.ask_in_turns(items, question, |_| true)
    }

    /// As [`Desk::ask`], where the call may have ended without an answer: that says nothing of the policy, good or bad,
    /// and takes its instance along.
    pub(crate) fn ask_in_turns<R>(
        &mut self,
        items: u64,
        question: impl FnOnce(&mut K::Policy) -> Result<R, PolicyFailure>,
        is_answer: impl FnOnce(&R) -> bool,
    ) -> Result<R, PolicyFailure> {
        let policy = self.policy(items)?;
        let began = Instant::now();
        let answer = question(policy);
        let counters = &self.sheet.counters;
        counters.call(began.elapsed());
        if answer.as_ref().is_ok_and(|answer| !is_answer(answer)) {
            (self.instance, self.given_up) = (None, true);
            return answer;
        }
        self.recovery.called();
        counters.items.fetch_add(items, Relaxed);
        match &answer {
            Ok(_) => {
                self.bad_answers = 0;
                self.renew_when_full();
            }
            Err(failure) => self.failed(failure),
        }
        answer
    }

    /// One that leaks makes way before it traps: no policy may rely on what it holds from call to call.
    fn renew_when_full(&mut self) {
        self.asked += 1;
        let Some(loaded) = &self.loaded else { return };
        let counters = &self.sheet.counters;
        let held = counters.memory.load(Relaxed);
        if self.asked < CALLS_BEFORE_RENEWAL || held <= loaded.memory_limit() / 4 * 3 {
            return;
        }
        match K::instance(loaded) {
            Ok(instance) => {
                Counters::add(&counters.renewed);
                self.install_instance(instance);
            }
            Err(failure) => self.failed(&failure),
        }
    }

    fn install_instance(&mut self, instance: Box<K::Policy>) {
        self.instance = Some(instance);
        self.asked = 0;
        Counters::add(&self.sheet.counters.instances);
    }

    /// The instance; a new one where the last was discarded.
    fn policy(&mut self, items: u64) -> Result<&mut K::Policy, PolicyFailure> {
        if self.instance.is_none() {
            self.renew(items)?;
        }
        self.instance.as_deref_mut().ok_or_else(stopped)
    }

    fn renew(&mut self, items: u64) -> Result<(), PolicyFailure> {
        let now = Instant::now();
        let given_up = std::mem::take(&mut self.given_up);
        if let Some(left) = self.recovery.paused(now) {
            self.sheet.counters.unavailable.fetch_add(items, Relaxed);
            let millis = left.as_millis();
            return Err(PolicyFailure::Unavailable(format!(
                "it failed repeatedly and is tried again in {millis} ms"
            )));
        }
        let Some(loaded) = self.loaded.clone() else { return Err(stopped()) };
        match K::instance(&loaded) {
            // It goes on where the last left off: neither a failure nor a new beginning.
            Ok(instance) if given_up => {
                self.install_instance(instance);
                Ok(())
            }
            Ok(instance) => {
                self.serves(instance, now);
                Ok(())
            }
            Err(failure) => {
                self.failed(&failure);
                Err(failure)
            }
        }
    }

    fn serves(&mut self, instance: Box<K::Policy>, now: Instant) {
        self.install_instance(instance);
        self.recovery.serves(now);
        self.shared.face().backing_off = false;
    }

    fn failed(&mut self, failure: &PolicyFailure) {
        self.sheet.fails(failure);
        match failure {
            PolicyFailure::BadInput(_) | PolicyFailure::Unavailable(_) => return,
            PolicyFailure::BadAnswer(_) => {
                self.report(failure);
                self.bad_answers += 1;
                if self.bad_answers < K::BAD_ANSWERS {
                    return;
                }
                self.bad_answers = 0;
            }
            PolicyFailure::Internal(_) | PolicyFailure::Trap(_) => self.report(failure),
        }
        self.remedy(failure);
    }

    fn remedy(&mut self, failure: &PolicyFailure) {
        // A native policy has no other instance to offer.
        if self.loaded.is_none() {
            return;
        }
        self.instance = None;
        let remedy = self.recovery.strike(Instant::now(), self.last_good.is_some());
        match remedy {
            Remedy::NewInstance => {}
            Remedy::Pause(pause) => {
                self.shared.face().backing_off = true;
                let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                self.shared.emit(PolicyEvent::BackingOff { kind: K::KIND, millis, why: failure.to_string() });
            }
            Remedy::RollBack => self.roll_back(failure),
        }
    }

    fn report(&mut self, failure: &PolicyFailure) {
        let now = Instant::now();
        if self.reported.is_some_and(|last| now.duration_since(last) < REPORT_EVERY) {
            return;
        }
        self.reported = Some(now);
        self.shared.emit(PolicyEvent::Trapped { kind: K::KIND, why: failure.to_string() });
    }

    /// The generation before serves again.
    fn roll_back(&mut self, failure: &PolicyFailure) {
        let (Some(good), Some(bad)) = (self.last_good.take(), self.loaded.clone()) else { return };
        let why = failure.to_string();
        let (from, generation) = (bad.hash.clone(), self.identity.generation);
        let mut face = self.shared.face();
        face.rolled_back = Some((from.clone(), bad.settings.clone(), why.clone()));
        face.taken_back =
            Some(TakenBack { from: from.clone(), generation, to: good.loaded.clone(), why: why.clone() });
        drop(face);
        self.install(good.loaded.with_role(Role::Live, self.next_generation()));
        Counters::add(&self.shared.totals.rollbacks);
        self.shared.record(Outcome::RolledBack, Some(from.clone()), Some(why.clone()));
        let generation = self.identity.generation;
        self.shared.emit(PolicyEvent::RolledBack {
            kind: K::KIND,
            generation,
            from,
            to: good.loaded.hash.clone(),
            why,
        });
        // Full: the keeper is awake, and looks before it sleeps again.
        let _ = self.shared.keeper.get().map(|keeper| keeper.try_send(Wish::Look));
    }

    /// A candidate that was proved takes over, unless it does not start.
    fn swap(&mut self, loaded: &Loaded) -> Result<u64, LoadError> {
        let loaded = loaded.with_role(Role::Live, self.next_generation());
        let instance = K::instance(&loaded).map_err(|failure| LoadError::Instantiate(failure.to_string()))?;
        let now = Instant::now();
        // Better one that fails now and then than none.
        let paused = self.recovery.paused(now).is_some();
        if self.recovery.good(now) || (self.last_good.is_none() && !paused) {
            let rate = self.recovery.rate();
            self.last_good = self.loaded.take().map(|loaded| Warm { loaded, rate });
        }
        self.install(loaded);
        self.shared.face().rolled_back = None;
        self.serves(instance, now);
        Ok(self.identity.generation)
    }

    /// Only what the program started with lacks one.
    fn warm(&mut self, loaded: Arc<Loaded>) {
        if self.identity.generation == 1 {
            self.last_good.get_or_insert(Warm { loaded, rate: Rate::default() });
        }
    }

    fn next_generation(&self) -> u64 {
        self.identity.generation + 1
    }

    /// `loaded` counts as the generation that is next.
    fn install(&mut self, loaded: Arc<Loaded>) {
        let generation = self.next_generation();
        self.identity = Arc::new(loaded.identity(generation));
        self.sheet = loaded.sheet.clone();
        self.shared.generations.begin(self.sheet.clone());
        (self.instance, self.given_up) = (None, false);
        let before = self.last_good.as_ref().map_or_else(Rate::default, |warm| warm.rate);
        self.recovery = Recovery::new(Instant::now(), before);
        self.bad_answers = 0;
        let mut face = self.shared.face();
        face.identity = self.identity.clone();
        face.descriptor = loaded.descriptor.clone();
        face.loaded_at = unix_millis();
        face.backing_off = false;
        face.loaded = Some(loaded.clone());
        drop(face);
        self.loaded = Some(loaded);
        self.shared.generation.send_replace(generation);
    }

    /// Leaves an input and its answer to the shadow, where there is one.
    pub(crate) fn shadow(&self, items: u64, case: impl FnOnce() -> K::Case) {
        if let Some(shadow) = &self.shared.shadow {
            shadow.offer(&self.identity, items, case);
        }
    }

    /// Keeps an input that was answered well: a candidate is tried on it. One that failed is not kept, or a poisonous
    /// login would keep every mended version out.
    pub(crate) fn sample(&mut self, sample: K::Sample) {
        self.sampled += 1;
        if self.sampled > u64::try_from(SAMPLES).unwrap_or(u64::MAX)
            && !self.sampled.is_multiple_of(SAMPLE_EVERY)
        {
            return;
        }
        let mut samples = self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(Arc::new(sample));
        while samples.len() > SAMPLES {
            samples.pop_front();
        }
    }
}
