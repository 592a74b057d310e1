//! From a changed file or changed settings to a swap. One keeper thread for each kind: a slow compile of one kind delays
//! no other.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use sluice_core::policy::{PolicyFailure, PolicyKind};
use tokio::sync::{broadcast, oneshot};

use crate::auth::Auth;
use crate::compile::content_hash;
use crate::component::SIZE_LIMIT;
use crate::config::{PolicyConfig, Settings, SlotConfig};
use crate::counters::Counters;
use crate::error::{LoadError, Problem, StartError};
use crate::load::{Candidate, Loaded, Loader, canonical};
use crate::payout::Payout;
use crate::policies::Parts;
use crate::slot::{self, EVENT_BACKLOG, Kind, Slot, Source, THREAD_STACK};
use crate::status::{Outcome, PolicyEvent, ReloadOutcome};
use crate::vardiff::Vardiff;
use crate::watch::{Stamp, Watched, Watcher};

/// Wishes that may wait for a keeper; one more is refused. Changes of the file never wait here, they are counted.
const WISHES: usize = 16;

/// What a keeper is woken for.
pub(crate) enum Wish {
    /// The count of changes moved.
    File,
    Settings {
        settings: Settings,
        reply: oneshot::Sender<ReloadOutcome>,
    },
    Stop,
}

/// How to reach the keepers and the watcher.
pub(crate) struct Keepers {
    wishes: Vec<(PolicyKind, SyncSender<Wish>)>,
    watcher: Watcher,
}

impl Keepers {
    pub(crate) fn reconfigure(
        &self,
        kind: PolicyKind,
        settings: Settings,
        reply: oneshot::Sender<ReloadOutcome>,
    ) {
        let keeper = self.wishes.iter().find(|(of, _)| *of == kind);
        let sent = keeper.map(|(_, wishes)| wishes.try_send(Wish::Settings { settings, reply }));
        // Where the keeper is gone the reply goes with the wish, and the asker knows.
        if let Some(Err(TrySendError::Full(Wish::Settings { reply, .. }))) = sent {
            let why = "too many reloads are waiting; try again".to_owned();
            let _ = reply.send(ReloadOutcome::Rejected { why });
        }
    }

    pub(crate) fn stop(&self) {
        self.watcher.stop();
        for (_, wishes) in &self.wishes {
            // A keeper that is busy finds its channel closed, or its slot stopped.
            let _ = wishes.try_send(Wish::Stop);
        }
    }
}

/// Loads all three at the same time, then starts the threads.
///
/// # Errors
/// Every problem at once.
pub(crate) fn start(config: &PolicyConfig) -> Result<Parts, StartError> {
    let loader = Arc::new(Loader::new(&config.cache_dir, config.compiler.clone(), config.network)?);
    let (events, _) = broadcast::channel(EVENT_BACKLOG);
    let first = |kind: PolicyKind| {
        let (loader, slot, dir) = (loader.clone(), config.slot(kind).clone(), config.dir.clone());
        spawn(&format!("policy-load-{kind}"), move || First::load(&loader, kind, &dir, slot))
    };
    let threads = PolicyKind::ALL.map(first);
    let mut loaded = Vec::new();
    let mut problems = Vec::new();
    for thread in threads {
        match thread?.join() {
            Ok(Ok(first)) => loaded.push(first),
            Ok(Err(problem)) => problems.push(problem),
            Err(_) => return Err(StartError::Thread("loading a policy panicked".to_owned())),
        }
    }
    if !problems.is_empty() {
        return Err(StartError::Policies(problems));
    }
    let mut firsts = loaded.into_iter();
    let mut next = || firsts.next().ok_or_else(|| StartError::Thread("a policy is missing".to_owned()));
    let mut house = House { loader, events: events.clone(), wishes: Vec::new(), watched: Vec::new() };
    let auth = house.open::<Auth>(next()?)?;
    let vardiff = house.open::<Vardiff>(next()?)?;
    let payout = house.open::<Payout>(next()?)?;
    let watcher = Watcher::start(config, house.watched, events.clone())?;
    Ok(Parts { auth, vardiff, payout, events, keepers: Some(Keepers { wishes: house.wishes, watcher }) })
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, StartError> {
    // Candidates are instantiated and tried on these threads.
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(THREAD_STACK)
        .spawn(work)
        .map_err(|error| StartError::Thread(error.to_string()))
}

/// A policy that was loaded when the program started.
struct First {
    loaded: Loaded,
    path: PathBuf,
    stamp: Option<Stamp>,
    config: SlotConfig,
}

impl First {
    fn load(loader: &Loader, kind: PolicyKind, dir: &Path, config: SlotConfig) -> Result<Self, Problem> {
        let path = dir.join(&config.file);
        // Before the file is read: a change after that is seen by the watcher.
        let stamp = Stamp::of(&path);
        let loaded = read(&path).and_then(|bytes| {
            let hash = content_hash(&bytes);
            let (settings, limits) = (&config.settings, &config.limits);
            loader.load(&Candidate { kind, bytes: &bytes, hash: &hash, settings, limits }, &|| false)
        });
        match loaded {
            Ok(loaded) => Ok(Self { loaded, path, stamp, config }),
            Err(why) => Err(Problem { kind, path, why }),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |error: std::io::Error| LoadError::Read(error.to_string());
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// What the slots are opened with.
struct House {
    loader: Arc<Loader>,
    events: broadcast::Sender<PolicyEvent>,
    wishes: Vec<(PolicyKind, SyncSender<Wish>)>,
    watched: Vec<Watched>,
}

impl House {
    /// Starts the slot and the keeper of a kind.
    fn open<K: Kind>(&mut self, first: First) -> Result<Slot<K>, StartError> {
        let counters = Arc::new(Counters::default());
        let slot = Slot::<K>::start(slot::Opening {
            file: first.config.file.clone(),
            source: Source::Component(first.loaded.counting(&counters)),
            queue: first.config.limits.queue,
            counters,
            events: self.events.clone(),
        })?;
        slot.shared.record(Outcome::Applied, Some(first.loaded.hash.clone()), None);
        let (wishes, inbox) = sync_channel(WISHES);
        let changes = Arc::new(AtomicU64::new(0));
        let keeper = Keeper {
            slot: slot.clone(),
            loader: self.loader.clone(),
            path: first.path.clone(),
            settings: first.config.settings.clone(),
            refused_settings: None,
            config: first.config,
            changes: changes.clone(),
            handled: 0,
        };
        spawn(&format!("policy-keep-{}", K::KIND), move || keeper.run(&inbox))?;
        self.wishes.push((K::KIND, wishes.clone()));
        self.watched.push(Watched { kind: K::KIND, path: first.path, stamp: first.stamp, changes, wishes });
        Ok(slot)
    }
}

/// Proves candidates for one slot.
struct Keeper<K: Kind> {
    slot: Slot<K>,
    loader: Arc<Loader>,
    path: PathBuf,
    config: SlotConfig,
    /// In force.
    settings: Settings,
    /// Refused by what serves, and perhaps meant for a file that is yet to come.
    refused_settings: Option<Settings>,
    /// Moved by the watcher whenever the file changed and lies still.
    changes: Arc<AtomicU64>,
    handled: u64,
}

impl<K: Kind> Keeper<K> {
    fn run(mut self, inbox: &Receiver<Wish>) {
        while let Ok(wish) = inbox.recv() {
            match wish {
                Wish::Stop => return,
                Wish::File => {}
                Wish::Settings { settings, reply } => {
                    self.slot.shared.loading(true);
                    let outcome = self.reconfigure(settings);
                    self.slot.shared.loading(false);
                    // Whoever asked may be gone.
                    let _ = reply.send(outcome);
                }
            }
            self.follow_file();
        }
    }

    /// Loads the file until it has not changed meanwhile: the newest wins.
    fn follow_file(&mut self) {
        while self.behind() {
            self.handled = self.changes.load(Ordering::Acquire);
            self.slot.shared.loading(true);
            self.reload();
            self.slot.shared.loading(false);
        }
    }

    fn behind(&self) -> bool {
        self.changes.load(Ordering::Acquire) != self.handled
    }

    fn reload(&mut self) {
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(why) => {
                self.rejected(None, &why);
                return;
            }
        };
        let hash = content_hash(&bytes);
        // Settings that were refused before may be meant for this file.
        let wanted: Vec<Settings> = self.refused_settings.iter().chain([&self.settings]).cloned().collect();
        let mut outcome = Err(LoadError::Superseded);
        for settings in &wanted {
            outcome = self.attempt(&bytes, &hash, settings);
            if !matches!(outcome, Err(ref why) if *why != LoadError::Superseded) {
                break;
            }
        }
        self.conclude(&hash, outcome);
    }

    /// With the newest file where there is one; with what serves where that is refused.
    fn reconfigure(&mut self, settings: Settings) -> ReloadOutcome {
        let Some(active) = self.slot.shared.loaded() else {
            return ReloadOutcome::Rejected { why: LoadError::ShutDown.to_string() };
        };
        let handled = std::mem::replace(&mut self.handled, self.changes.load(Ordering::Acquire));
        let newer = read(&self.path).ok().map(|bytes| (content_hash(&bytes), bytes));
        if let Some((hash, bytes)) = newer.filter(|(hash, _)| *hash != active.hash)
            && let Ok(applied) = self.attempt(&bytes, &hash, &settings)
        {
            return self.conclude(&hash, Ok(applied));
        }
        let outcome = self.reconfigure_active(&active, &settings);
        // A change of the file that came meanwhile still has its turn, and its own record.
        self.handled = handled;
        if outcome.is_err() {
            self.refused_settings = Some(settings);
        }
        self.conclude(&active.hash, outcome)
    }

    fn reconfigure_active(
        &mut self,
        active: &Loaded,
        settings: &Settings,
    ) -> Result<ReloadOutcome, LoadError> {
        if *canonical(settings) == *active.settings {
            return Ok(ReloadOutcome::Unchanged);
        }
        let loaded = self.loader.reconfigured(active, settings)?;
        self.swap_in(&loaded, settings)
    }

    fn attempt(&mut self, bytes: &[u8], hash: &str, settings: &Settings) -> Result<ReloadOutcome, LoadError> {
        let text = canonical(settings);
        if self.slot.shared.loaded().is_some_and(|active| active.hash == hash && active.settings == text) {
            return Ok(ReloadOutcome::Unchanged);
        }
        if let Some(why) = self.slot.shared.rolled_back(hash, &text) {
            return Err(LoadError::RolledBack(why));
        }
        let superseded = || self.behind();
        let candidate = Candidate { kind: K::KIND, bytes, hash, settings, limits: &self.config.limits };
        let loaded = self.loader.load(&candidate, &superseded)?;
        self.swap_in(&loaded, settings)
    }

    fn swap_in(&mut self, loaded: &Loaded, settings: &Settings) -> Result<ReloadOutcome, LoadError> {
        self.try_on_recent(loaded)?;
        if self.behind() {
            return Err(LoadError::Superseded);
        }
        let generation = self.slot.swap(loaded.counting(&self.slot.shared.counters))?;
        self.settings = settings.clone();
        self.refused_settings = None;
        Ok(ReloadOutcome::Applied { generation })
    }

    /// What was asked lately is asked again; only an input that it calls beyond it is forgiven.
    fn try_on_recent(&self, loaded: &Loaded) -> Result<(), LoadError> {
        let samples = self.slot.shared.samples();
        if samples.is_empty() {
            return Ok(());
        }
        let refused = |failure: PolicyFailure| LoadError::Trial(failure.to_string());
        let mut policy = K::instance(&Arc::new(loaded.clone())).map_err(refused)?;
        for sample in samples {
            match K::try_on(&mut policy, &sample) {
                Ok(()) | Err(PolicyFailure::BadInput(_)) => {}
                Err(failure) => return Err(refused(failure)),
            }
        }
        Ok(())
    }

    /// Counts, records and tells how an attempt ended.
    fn conclude(&self, hash: &str, outcome: Result<ReloadOutcome, LoadError>) -> ReloadOutcome {
        let shared = &self.slot.shared;
        let (kind, hash_owned) = (K::KIND, hash.to_owned());
        match outcome {
            Ok(ReloadOutcome::Applied { generation }) => {
                Counters::add(&shared.counters.reloads);
                shared.record(Outcome::Applied, Some(hash_owned.clone()), None);
                let (name, version) = shared.loaded().map_or_else(Default::default, |loaded| {
                    (loaded.descriptor.name.clone(), loaded.descriptor.version.clone())
                });
                shared.emit(PolicyEvent::Applied { kind, generation, name, version, hash: hash_owned });
                ReloadOutcome::Applied { generation }
            }
            Ok(other) => {
                shared.record(Outcome::Unchanged, Some(hash_owned.clone()), None);
                shared.emit(PolicyEvent::Unchanged { kind, hash: hash_owned });
                other
            }
            // Its successor will have a record of its own.
            Err(LoadError::Superseded) => ReloadOutcome::Rejected { why: LoadError::Superseded.to_string() },
            Err(why) => self.rejected(Some(hash_owned), &why),
        }
    }

    fn rejected(&self, hash: Option<String>, why: &LoadError) -> ReloadOutcome {
        let shared = &self.slot.shared;
        let why = why.to_string();
        Counters::add(&shared.counters.rejected_reloads);
        shared.record(Outcome::Rejected, hash.clone(), Some(why.clone()));
        shared.emit(PolicyEvent::Rejected { kind: K::KIND, hash, why: why.clone() });
        ReloadOutcome::Rejected { why }
    }
}
