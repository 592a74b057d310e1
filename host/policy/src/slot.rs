//! A slot: the thread that asks one kind's policy, its bounded queue, and the generation that serves.
//!
//! Policies are synchronous and never run on the async reactor. A swap happens on this thread between two calls, so that
//! no call sees two generations.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sluice_core::policy::{Descriptor, PolicyFailure, PolicyKind};
use tokio::sync::{broadcast, watch};

use crate::counters::Counters;
use crate::error::{LoadError, StartError};
use crate::load::Loaded;
use crate::recovery::{Recovery, Remedy};
use crate::reload::Wish;
use crate::shadow::{Shadow, ShadowStatus, Unlike};
use crate::status::{
    HISTORY_LIMIT, LastReload, Outcome, PolicyEvent, PolicyIdentity, PolicyStatus, SlotState,
};

mod inbox;

use inbox::{gather, next};

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

    /// A fresh instance, configured.
    fn instance(loaded: &Arc<Loaded>) -> Result<Box<Self::Policy>, PolicyFailure>;

    /// Answers every job.
    fn serve(desk: &mut Desk<Self>, jobs: &mut Vec<Self::Job>);

    /// Asks an instance what was asked before; any failure but a refused input speaks against it.
    fn try_on(policy: &mut Self::Policy, sample: &Self::Sample) -> Result<(), PolicyFailure>;

    /// Cases that may wait for a shadow; one more is dropped and counted.
    const SHADOW_QUEUE: usize;
    /// An input and what was answered to it.
    type Case: Send;
    /// What is kept of a shadow's answers between two cases.
    type Memory: Default + Send;

    /// Asks a shadow what was asked, and says where its answers differ.
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
    Swap { loaded: Arc<Loaded>, done: SyncSender<Result<u64, LoadError>> },
    Stop,
}

/// What everybody may see of a slot.
pub(crate) struct Shared<K: Kind> {
    pub(crate) file: String,
    pub(crate) counters: Arc<Counters>,
    face: Mutex<Face>,
    samples: Mutex<VecDeque<Arc<K::Sample>>>,
    generation: watch::Sender<u64>,
    events: broadcast::Sender<PolicyEvent>,
    /// Beside what serves, where the configuration names one.
    shadow: Option<Shadow<K>>,
    /// Wakes the keeper; unset for a native policy.
    keeper: OnceLock<SyncSender<Wish>>,
}

/// What was taken back by itself, for the record.
pub(crate) struct TakenBack {
    pub(crate) from: String,
    pub(crate) why: String,
}

struct Face {
    identity: Arc<PolicyIdentity>,
    descriptor: Descriptor,
    loaded_at: u64,
    backing_off: bool,
    loading: bool,
    stopped: bool,
    history: VecDeque<LastReload>,
    /// What serves, for the keeper; `None` for a native policy.
    loaded: Option<Arc<Loaded>>,
    /// Taken back, as (hash, settings, why): not to be loaded again by itself.
    rolled_back: Option<(String, Arc<str>, String)>,
    /// Not on record yet.
    taken_back: Option<TakenBack>,
    pinned: bool,
    /// Content hash of a changed file that is not applied, since the policy is pinned.
    held: Option<String>,
}

impl<K: Kind> Shared<K> {
    fn face(&self) -> std::sync::MutexGuard<'_, Face> {
        self.face.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn emit(&self, event: PolicyEvent) {
        match &event {
            PolicyEvent::Applied { .. }
            | PolicyEvent::Unchanged { .. }
            | PolicyEvent::Pinned { .. }
            | PolicyEvent::Unpinned { .. }
            | PolicyEvent::Shadowing { .. } => {
                tracing::info!(kind = %K::KIND, "{event}");
            }
            _ => tracing::warn!(kind = %K::KIND, "{event}"),
        }
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// Puts a change and its end on record.
    pub(crate) fn record(&self, outcome: Outcome, hash: Option<String>, error: Option<String>) {
        let mut face = self.face();
        face.history.push_front(LastReload { outcome, at: unix_millis(), hash, error });
        face.history.truncate(HISTORY_LIMIT);
    }

    pub(crate) fn loading(&self, loading: bool) {
        self.face().loading = loading;
    }

    pub(crate) fn loaded(&self) -> Option<Arc<Loaded>> {
        self.face().loaded.clone()
    }

    pub(crate) fn rolled_back(&self, hash: &str, settings: &str) -> Option<String> {
        let face = self.face();
        let (bad, with, why) = face.rolled_back.as_ref()?;
        (bad == hash && **with == *settings).then(|| why.clone())
    }

    /// Whom to wake when something was taken back.
    pub(crate) fn kept_by(&self, keeper: SyncSender<Wish>) {
        // A slot has one keeper.
        let _ = self.keeper.set(keeper);
    }

    pub(crate) fn taken_back(&self) -> Option<TakenBack> {
        self.face().taken_back.take()
    }

    pub(crate) fn shadow(&self) -> Option<&Shadow<K>> {
        self.shadow.as_ref()
    }

    pub(crate) fn pinned(&self) -> bool {
        self.face().pinned
    }

    /// Whether it is pinned, and the file that is not applied for that.
    pub(crate) fn pin(&self, pinned: bool, held: Option<String>) {
        let mut face = self.face();
        face.pinned = pinned;
        face.held = held;
    }

    fn shadow_status(&self) -> Option<ShadowStatus> {
        self.shadow.as_ref().map(Shadow::status)
    }

    pub(crate) fn samples(&self) -> Vec<Arc<K::Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn status(&self) -> PolicyStatus {
        let shadow = self.shadow_status();
        let face = self.face();
        let state = match (face.stopped, face.backing_off, face.loading) {
            (true, ..) => SlotState::Stopped,
            (_, true, _) => SlotState::BackingOff,
            (.., true) => SlotState::Loading,
            _ => SlotState::Active,
        };
        let first = LastReload { outcome: Outcome::Applied, at: face.loaded_at, hash: None, error: None };
        PolicyStatus {
            kind: K::KIND,
            file: self.file.clone(),
            name: face.identity.name.clone(),
            version: face.identity.version.clone(),
            summary: face.descriptor.summary.clone(),
            hash: face.identity.hash.clone(),
            generation: face.identity.generation,
            loaded_at: face.loaded_at,
            state,
            last_reload: face.history.front().cloned().unwrap_or(first),
            history: face.history.iter().cloned().collect(),
            pinned: face.pinned,
            held: face.held.clone(),
            shadow,
            figures: self.counters.figures(),
        }
    }
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
    pub(crate) queue: usize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) events: broadcast::Sender<PolicyEvent>,
    pub(crate) shadow: Option<Shadow<K>>,
}

impl<K: Kind> Slot<K> {
    /// Starts the thread.
    pub(crate) fn start(opening: Opening<K>) -> Result<Self, StartError> {
        let (queue, inbox) = sync_channel(opening.queue.max(1));
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
            counters: opening.counters,
            face: Mutex::new(face),
            samples: Mutex::default(),
            generation,
            events: opening.events,
            shadow: opening.shadow,
            keeper: OnceLock::new(),
        });
        let desk = Desk::new(shared.clone(), opening.source);
        thread::Builder::new()
            .name(format!("policy-{}", K::KIND))
            .stack_size(THREAD_STACK)
            .spawn(move || desk.run(&inbox))
            .map_err(|error| StartError::Thread(error.to_string()))?;
        Ok(Self { queue, shared })
    }

    /// Puts a job in the queue, or says why the kind's default applies.
    pub(crate) fn ask(&self, job: K::Job) -> Result<(), PolicyFailure> {
        match self.queue.try_send(Message::Job(job)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                Counters::add(&self.shared.counters.queue_full);
                Err(PolicyFailure::Unavailable("its queue is full".to_owned()))
            }
            Err(TrySendError::Disconnected(_)) => Err(stopped()),
        }
    }

    /// Waits for its turn in the queue, then swaps: called by the keeper only.
    pub(crate) fn swap(&self, loaded: Arc<Loaded>) -> Result<u64, LoadError> {
        let (done, outcome) = sync_channel(1);
        self.queue.send(Message::Swap { loaded, done }).map_err(|_| LoadError::ShutDown)?;
        outcome.recv().map_err(|_| LoadError::ShutDown)?
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    pub(crate) fn stop(&self) {
        self.shared.face().stopped = true;
        self.shared.shadow.iter().for_each(Shadow::stop);
        // Where the queue is full the thread is awake, and looks at the flag before it sleeps again.
        let _ = self.queue.try_send(Message::Stop);
    }
}

pub(crate) fn stopped() -> PolicyFailure {
    PolicyFailure::Unavailable("it is shut down".to_owned())
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
    last_good: Option<Arc<Loaded>>,
    identity: Arc<PolicyIdentity>,
    instance: Option<Box<K::Policy>>,
    recovery: Recovery,
    bad_answers: u32,
    reported: Option<Instant>,
    sampled: u64,
}

impl<K: Kind> Desk<K> {
    fn new(shared: Arc<Shared<K>>, source: Source<K>) -> Self {
        let (instance, loaded) = match source {
            Source::Native(policy) => (Some(policy), None),
            Source::Component(loaded) => (None, Some(loaded)),
        };
        let identity = shared.face().identity.clone();
        Self {
            shared,
            loaded,
            last_good: None,
            identity,
            instance,
            recovery: Recovery::new(Instant::now()),
            bad_answers: 0,
            reported: None,
            sampled: 0,
        }
    }

    fn run(mut self, inbox: &Receiver<Message<K>>) {
        let mut jobs = Vec::with_capacity(DRAIN);
        while let Some(message) = next(inbox) {
            let last = gather(message, inbox, &mut jobs);
            K::serve(&mut self, &mut jobs);
            match last {
                Some(Message::Swap { loaded, done }) => {
                    // The keeper may be gone.
                    let _ = done.send(self.swap(loaded));
                }
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
        let policy = self.policy(items)?;
        let began = Instant::now();
        let answer = question(policy);
        let counters = &self.shared.counters;
        counters.call(began.elapsed());
        counters.items.fetch_add(items, std::sync::atomic::Ordering::Relaxed);
        match &answer {
            Ok(_) => self.bad_answers = 0,
            Err(failure) => self.failed(failure),
        }
        answer
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
        if let Some(left) = self.recovery.paused(now) {
            self.shared.counters.unavailable.fetch_add(items, std::sync::atomic::Ordering::Relaxed);
            let millis = left.as_millis();
            return Err(PolicyFailure::Unavailable(format!(
                "it failed repeatedly and is tried again in {millis} ms"
            )));
        }
        let Some(loaded) = self.loaded.clone() else { return Err(stopped()) };
        match K::instance(&loaded) {
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
        self.instance = Some(instance);
        self.recovery.serves(now);
        self.shared.face().backing_off = false;
        Counters::add(&self.shared.counters.instances);
    }

    fn failed(&mut self, failure: &PolicyFailure) {
        let counters = self.shared.counters.clone();
        match failure {
            PolicyFailure::BadInput(_) => return Counters::add(&counters.bad_input),
            PolicyFailure::Unavailable(_) => return,
            PolicyFailure::BadAnswer(_) => {
                Counters::add(&counters.bad_answers);
                self.report(failure);
                self.bad_answers += 1;
                if self.bad_answers < K::BAD_ANSWERS {
                    return;
                }
                self.bad_answers = 0;
            }
            PolicyFailure::Internal(_) => {
                Counters::add(&counters.internal);
                self.report(failure);
            }
            // Counted by its cause where it was stopped.
            PolicyFailure::Trap(_) => self.report(failure),
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
        let from = bad.hash.clone();
        let mut face = self.shared.face();
        face.rolled_back = Some((from.clone(), bad.settings.clone(), why.clone()));
        face.taken_back = Some(TakenBack { from: from.clone(), why: why.clone() });
        drop(face);
        self.install(good.clone());
        Counters::add(&self.shared.counters.rollbacks);
        self.shared.record(Outcome::RolledBack, Some(from.clone()), Some(why.clone()));
        let generation = self.identity.generation;
        self.shared.emit(PolicyEvent::RolledBack {
            kind: K::KIND,
            generation,
            from,
            to: good.hash.clone(),
            why,
        });
        // Full: the keeper is awake, and looks before it sleeps again.
        let _ = self.shared.keeper.get().map(|keeper| keeper.try_send(Wish::Look));
    }

    /// A candidate that was proved takes over, unless it does not start.
    fn swap(&mut self, loaded: Arc<Loaded>) -> Result<u64, LoadError> {
        let instance = K::instance(&loaded).map_err(|failure| LoadError::Instantiate(failure.to_string()))?;
        let now = Instant::now();
        if self.recovery.good(now) {
            self.last_good = self.loaded.take();
        }
        self.install(loaded);
        self.shared.face().rolled_back = None;
        self.serves(instance, now);
        Ok(self.identity.generation)
    }

    fn install(&mut self, loaded: Arc<Loaded>) {
        let generation = self.identity.generation + 1;
        self.identity = Arc::new(loaded.identity(generation));
        self.instance = None;
        self.recovery = Recovery::new(Instant::now());
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
