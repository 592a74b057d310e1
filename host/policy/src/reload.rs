//! From a changed file or changed settings to a swap. One keeper thread for each kind: a slow compile of one kind delays
//! no other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use sluice_core::policy::PolicyKind;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, oneshot};

use crate::auth::Auth;
use crate::choice::{self, Choice, Choices, Configured};
use crate::compile::content_hash;
use crate::config::{PolicyConfig, Settings, ShadowConfig, SlotConfig};
use crate::error::{LoadError, Problem, StartError};
use crate::history::History;
use crate::keeper::{Keeper, Shade, read};
use crate::kept::kept;
use crate::load::{Candidate, Loaded, Loader};
use crate::lookup::{Outside, Service};
use crate::orders::{Command, Done, OrderError};
use crate::payout::Payout;
use crate::policies::Parts;
use crate::shadow::Shadow;
use crate::sheet::Role;
use crate::slot::{self, EVENT_BACKLOG, Kind, Slot, Source, THREAD_STACK};
use crate::status::{Outcome, PolicyEvent, ReloadOutcome};
use crate::vardiff::Vardiff;
use crate::watch::{Stamp, Watched, Watcher};

/// Wishes that may wait for a keeper; one more is refused. Changes of the file never wait here, they are counted.
const WISHES: usize = 16;

/// What a keeper is woken for.
pub(crate) enum Wish {
    /// A count of changes moved, or something was taken back.
    Look,
    Settings {
        settings: Settings,
        reply: oneshot::Sender<ReloadOutcome>,
    },
    Order {
        command: Command,
        reply: oneshot::Sender<Result<Done, OrderError>>,
    },
    Stop,
}

/// How to reach the keepers and the watcher.
pub(crate) struct Keepers {
    doors: Vec<Door>,
    watcher: Watcher,
}

/// How to reach one of them.
struct Door {
    kind: PolicyKind,
    wishes: SyncSender<Wish>,
    /// Orders that it has not taken up yet.
    waiting: Arc<AtomicUsize>,
}

impl Keepers {
    pub(crate) fn reconfigure(
        &self,
        kind: PolicyKind,
        settings: Settings,
        reply: oneshot::Sender<ReloadOutcome>,
    ) {
        let keeper = self.doors.iter().find(|door| door.kind == kind);
        let sent = keeper.map(|door| door.wishes.try_send(Wish::Settings { settings, reply }));
        // Where the keeper is gone the reply goes with the wish, and the asker knows.
        if let Some(Err(TrySendError::Full(Wish::Settings { reply, .. }))) = sent {
            let why = "too many reloads are waiting; try again".to_owned();
            let _ = reply.send(ReloadOutcome::Rejected { why });
        }
    }

    pub(crate) fn order(
        &self,
        kind: PolicyKind,
        command: Command,
        reply: oneshot::Sender<Result<Done, OrderError>>,
    ) {
        let Some(door) = self.doors.iter().find(|door| door.kind == kind) else { return };
        // Before it is there: the keeper counts down.
        door.waiting.fetch_add(1, Ordering::AcqRel);
        if let Err(refused) = door.wishes.try_send(Wish::Order { command, reply }) {
            door.waiting.fetch_sub(1, Ordering::AcqRel);
            if let TrySendError::Full(Wish::Order { reply, .. }) = refused {
                let _ = reply.send(Err(OrderError::Busy));
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.watcher.stop();
        for door in &self.doors {
            // A keeper that is busy finds its channel closed, or its slot stopped.
            let _ = door.wishes.try_send(Wish::Stop);
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
    let unusable = |error: std::io::Error| StartError::Cache {
        path: config.cache_dir.clone(),
        why: format!("its {} or history: {error}", choice::FILE),
    };
    let history = Arc::new(History::open(&config.cache_dir).map_err(unusable)?);
    let choices = Arc::new(Choices::open(&config.cache_dir).map_err(unusable)?);
    let first = |kind: PolicyKind| {
        let (loader, config, choice) = (loader.clone(), config.clone(), choices.of(kind));
        spawn(&format!("policy-load-{kind}"), move || First::load(&loader, kind, &config, choice.as_ref()))
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
    let mut house = House {
        loader,
        events: events.clone(),
        history: history.clone(),
        choices,
        dir: config.dir.clone(),
        cache_dir: config.cache_dir.clone(),
        outside: config.outside.clone(),
        doors: Vec::new(),
        watched: Vec::new(),
    };
    let auth = house.open::<Auth>(next()?)?;
    let vardiff = house.open::<Vardiff>(next()?)?;
    let payout = house.open::<Payout>(next()?)?;
    let watcher = Watcher::start(config, house.watched, events.clone())?;
    let keepers = Some(Keepers { doors: house.doors, watcher });
    Ok(Parts { auth, vardiff, payout, events, keepers, history: Some(history) })
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
    /// In force: the configured ones, or those of the choice.
    settings: Settings,
    pinned: bool,
    path: PathBuf,
    stamp: Option<Stamp>,
    /// Content hash of what lies in the file.
    file_hash: Option<String>,
    config: SlotConfig,
}

impl First {
    fn load(
        loader: &Loader,
        kind: PolicyKind,
        all: &PolicyConfig,
        choice: Option<&Choice>,
    ) -> Result<Self, Problem> {
        let config = all.slot(kind).clone();
        let path = all.dir.join(&config.file);
        // Before the file is read: a change after that is seen by the watcher.
        let stamp = Stamp::of(&path);
        let bytes = read(&path);
        let file_hash = bytes.as_ref().ok().map(|bytes| content_hash(bytes));
        let configured = Configured::new(file_hash.as_deref(), &config.settings);
        let choice = choice.filter(|choice| choice.stands(&configured));
        let settings = choice.map_or(&config.settings, |choice| &choice.settings).clone();
        let bytes = match choice {
            Some(choice) => kept(&all.cache_dir, &choice.serving)
                .map_err(|why| LoadError::Chosen(why.to_string(), all.cache_dir.join(choice::FILE))),
            None => bytes,
        };
        let loaded = bytes.and_then(|bytes| {
            let hash = content_hash(&bytes);
            let (limits, may_look_up) = (&config.limits, config.may_look_up());
            let candidate =
                Candidate { kind, bytes: &bytes, hash: &hash, settings: &settings, limits, may_look_up };
            loader.load(&candidate, &|| false)
        });
        let pinned = choice.is_some_and(|choice| choice.pinned);
        match loaded {
            Ok(loaded) => Ok(Self { loaded, settings, pinned, path, stamp, file_hash, config }),
            Err(why) => Err(Problem { kind, path, why }),
        }
    }
}

/// What the slots are opened with.
struct House {
    loader: Arc<Loader>,
    events: broadcast::Sender<PolicyEvent>,
    history: Arc<History>,
    choices: Arc<Choices>,
    dir: PathBuf,
    cache_dir: PathBuf,
    outside: Outside,
    doors: Vec<Door>,
    watched: Vec<Watched>,
}

impl House {
    /// Starts the slot and the keeper of a kind, and its shadow.
    fn open<K: Kind>(&mut self, first: First) -> Result<Slot<K>, StartError> {
        let shadow = first.config.shadow.as_ref().map(|shadow| Shadow::start(&shadow.file)).transpose()?;
        let slot = Slot::<K>::start(slot::Opening {
            file: first.config.file.clone(),
            source: Source::Component(first.loaded.with_role(Role::Live, 1)),
            limits: first.config.limits,
            events: self.events.clone(),
            shadow,
            lookup: self.lookup(&first.config)?,
        })?;
        slot.shared.record(Outcome::Applied, Some(first.loaded.hash.clone()), None);
        let (wishes, inbox) = sync_channel(WISHES);
        slot.shared.kept_by(wishes.clone());
        let changes = Arc::new(AtomicU64::new(0));
        let shade = first.config.shadow.clone().map(|shadow| self.shade(K::KIND, shadow, &wishes));
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut keeper = Keeper {
            slot: slot.clone(),
            loader: self.loader.clone(),
            history: self.history.clone(),
            choices: self.choices.clone(),
            cache_dir: self.cache_dir.clone(),
            path: first.path.clone(),
            settings: first.settings,
            wanted: first.config.settings.clone(),
            file_hash: first.file_hash,
            served: first.loaded.hash.clone(),
            config: first.config,
            changes: changes.clone(),
            handled: 0,
            shade,
            waiting: waiting.clone(),
        };
        keeper.opened(first.pinned);
        spawn(&format!("policy-keep-{}", K::KIND), move || keeper.run(&inbox))?;
        self.doors.push(Door { kind: K::KIND, wishes: wishes.clone(), waiting });
        let (path, stamp) = (first.path, first.stamp);
        self.watched.push(Watched { kind: K::KIND, shadow: false, path, stamp, changes, wishes });
        Ok(slot)
    }

    /// Makes requests on the runtime that started the policies.
    fn lookup(&self, config: &SlotConfig) -> Result<Option<Arc<Service>>, StartError> {
        if !config.may_look_up() {
            return Ok(None);
        }
        let runtime = Handle::try_current().map_err(|error| StartError::Thread(error.to_string()))?;
        Ok(Some(Service::new(config.lookup.clone(), self.outside.clone(), runtime)))
    }

    /// Watches a shadow's file, and has it loaded as soon as its keeper runs.
    fn shade(&mut self, kind: PolicyKind, config: ShadowConfig, wishes: &SyncSender<Wish>) -> Shade {
        let path = self.dir.join(&config.file);
        let stamp = Stamp::of(&path);
        let changes = Arc::new(AtomicU64::new(1));
        let (wishes, own) = (wishes.clone(), changes.clone());
        // The first in its queue: there is room.
        let _ = wishes.try_send(Wish::Look);
        self.watched.push(Watched { kind, shadow: true, path: path.clone(), stamp, changes: own, wishes });
        Shade { path, settings: config.settings, changes, handled: 0 }
    }
}
