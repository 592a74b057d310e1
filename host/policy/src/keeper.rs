//! The keeper of a kind: proves candidates, swaps them in, and keeps on record what serves and why.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use sluice_core::policy::{Descriptor, PolicyFailure};

use crate::choice::{self, Choice, Choices, Configured};
use crate::compile::content_hash;
use crate::component::SIZE_LIMIT;
use crate::config::{Settings, SlotConfig};
use crate::counters::Counters;
use crate::error::LoadError;
use crate::history::{Action, By, Entry, History};
use crate::kept::kept;
use crate::load::{Candidate, Loaded, Loader, canonical};
use crate::orders::{OrderError, map};
use crate::recovery::PROBATION;
use crate::reload::Wish;
use crate::shadow::same;
use crate::slot::{self, Kind, Slot, TakenBack};
use crate::status::{Outcome, PolicyEvent, ReloadOutcome};

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |error: std::io::Error| LoadError::Read(error.to_string());
    let mut bytes = Vec::new();
    // Opening a pipe would wait for somebody who writes.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a directory" } else { "no regular file" };
        return Err(LoadError::Read(format!("it is {what}")));
    }
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Where the shadow of a slot comes from.
pub(crate) struct Shade {
    pub(crate) path: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) changes: Arc<AtomicU64>,
    pub(crate) handled: u64,
}

/// Why something else serves.
pub(crate) struct Cause {
    pub(crate) action: Action,
    pub(crate) by: By,
    pub(crate) why: String,
}

impl Cause {
    fn change(by: By) -> Self {
        Self { action: Action::Applied, by, why: String::new() }
    }
}

/// Proves candidates for one slot.
pub(crate) struct Keeper<K: Kind> {
    pub(crate) slot: Slot<K>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) history: Arc<History>,
    pub(crate) choices: Arc<Choices>,
    pub(crate) cache_dir: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) config: SlotConfig,
    /// In force.
    pub(crate) settings: Settings,
    /// Configured: perhaps refused by what serves, and meant for a file that is yet to come.
    pub(crate) wanted: Settings,
    /// Content hash of what lies in the file; `None` where it could not be read.
    pub(crate) file_hash: Option<String>,
    /// Content hash of what served when that was last put on record.
    pub(crate) served: String,
    /// Moved by the watcher whenever the file changed and lies still.
    pub(crate) changes: Arc<AtomicU64>,
    pub(crate) handled: u64,
    pub(crate) shade: Option<Shade>,
    /// Orders in the inbox.
    pub(crate) waiting: Arc<AtomicUsize>,
}

impl<K: Kind> Keeper<K> {
    pub(crate) fn run(mut self, inbox: &Receiver<Wish>) {
        self.warm_up();
        // All kinds are loaded by now.
        self.loader.cache.tidy();
        while let Ok(wish) = inbox.recv() {
            if self.slot.shared.stopped() {
                return;
            }
            self.note_taken_back(u64::MAX);
            // What still cannot be written was said where it was tried.
            let _ = self.choices.retry();
            match wish {
                Wish::Stop => return,
                Wish::Look => {}
                Wish::Settings { settings, reply } => {
                    self.slot.shared.loading(true);
                    let outcome = self.reconfigure(&settings);
                    self.slot.shared.loading(false);
                    // Whoever asked may be gone.
                    let _ = reply.send(outcome);
                }
                Wish::Order { command, reply } => {
                    self.waiting.fetch_sub(1, Ordering::AcqRel);
                    // A change that came before the order is not to undo it.
                    self.follow_file();
                    self.slot.shared.loading(true);
                    let done = self.obey(&command);
                    self.slot.shared.loading(false);
                    let _ = reply.send(done);
                }
            }
            self.follow();
            self.loader.cache.tidy();
        }
    }

    /// Until neither file has changed meanwhile; what serves goes first, and an order before a shadow.
    fn follow(&mut self) {
        loop {
            self.follow_file();
            let done = self.follow_shadow();
            if self.ordered() || self.slot.shared.stopped() || (done && !self.behind()) {
                return;
            }
        }
    }

    fn ordered(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// What served before a change that is still young is loaded again after a restart, so that it can come back.
    fn warm_up(&self) {
        let age = u64::try_from(PROBATION.as_millis()).unwrap_or(u64::MAX);
        let Some((hash, settings)) = self.history.lately_before(K::KIND, slot::unix_millis(), age) else {
            return;
        };
        match self.of_the_past(&hash, &map(&settings)) {
            Ok(loaded) => self.slot.warm(Arc::new(loaded)),
            Err(why) => {
                tracing::warn!(kind = %K::KIND, hash, %why, "what served before cannot be kept warm");
            }
        }
    }

    /// A kept component, loaded.
    pub(crate) fn of_the_past(&self, hash: &str, settings: &Settings) -> Result<Loaded, OrderError> {
        let bytes = kept(&self.cache_dir, hash)?;
        let (limits, may_look_up) = (&self.config.limits, self.config.may_look_up());
        let candidate = Candidate { kind: K::KIND, bytes: &bytes, hash, settings, limits, may_look_up };
        Ok(self.loader.load(&candidate, &|| self.slot.shared.stopped())?)
    }

    /// What served when the program started is put on record where it is not what served last.
    pub(crate) fn opened(&mut self, pinned: bool) {
        let serving =
            self.slot.shared.loaded().map(|loaded| (loaded.hash.clone(), Some(loaded.settings.to_string())));
        let last = self.history.last(K::KIND);
        if last != serving {
            let from = last.map(|(hash, _)| hash).filter(|hash| *hash != self.served);
            let cause = Cause { action: Action::Started, by: By::File, why: String::new() };
            let (hash, settings) = (self.served.clone(), canonical(&self.settings));
            self.note(&cause, from, &hash, &settings);
        }
        // What cannot be written is said where it is.
        let _ = self.settle(pinned);
        let over = self.choices.of(K::KIND).map(|choice| choice.over);
        if let Some(hash) =
            self.file_hash.clone().filter(|_| pinned && over.is_some_and(|over| over != self.configured()))
        {
            self.hold(&hash);
        }
    }

    pub(crate) fn configured(&self) -> Configured {
        Configured::new(self.file_hash.as_deref(), &self.wanted)
    }

    /// Puts a change on record.
    pub(crate) fn note(&mut self, cause: &Cause, from: Option<String>, to: &str, settings: &str) {
        self.history.record(Entry {
            at: slot::unix_millis(),
            kind: K::KIND,
            action: cause.action,
            from,
            to: to.to_owned(),
            who: cause.by.to_string(),
            why: cause.why.clone(),
            settings: Some(settings.to_owned()),
        });
        to.clone_into(&mut self.served);
    }

    /// After something else serves, or is pinned: keeps the choice where it is one, and tells the shadow.
    pub(crate) fn settle(&mut self, pinned: bool) -> Result<(), OrderError> {
        // What was noticed and not applied since it was pinned stays noticed.
        let serving = self.slot.shared.loaded().map(|loaded| loaded.hash.clone());
        let before = self.choices.of(K::KIND).filter(|before| pinned && before.pinned);
        let same = before.filter(|before| Some(&before.serving) == serving.as_ref());
        self.settle_over(pinned, same.map(|before| before.over))
    }

    /// `over` is what a pin stands over since before; without it, what is configured now.
    fn settle_over(&mut self, pinned: bool, over: Option<Configured>) -> Result<(), OrderError> {
        let shared = &self.slot.shared;
        let Some(serving) = shared.loaded() else { return Err(LoadError::ShutDown.into()) };
        if let Some(shadow) = shared.shadow() {
            shadow.face(Some(&serving));
        }
        let follows = self.file_hash.as_deref() == Some(&*serving.hash)
            && *canonical(&self.wanted) == *serving.settings;
        if over.is_none() || !shared.pinned() {
            shared.pin(pinned, None);
        }
        let choice = (pinned || !follows).then(|| Choice {
            serving: serving.hash.clone(),
            settings: map(&serving.settings),
            over: over.unwrap_or_else(|| self.configured()),
            pinned,
        });
        self.keep(choice)
    }

    /// After a change of the file or of the settings: where what is configured serves, no choice goes before it.
    fn settle_change(&mut self, outcome: &ReloadOutcome) {
        if !matches!(outcome, ReloadOutcome::Rejected { .. }) {
            // What cannot be written is said where it is.
            let _ = self.settle(false);
        }
    }

    fn keep(&self, choice: Option<Choice>) -> Result<(), OrderError> {
        self.choices.set(K::KIND, choice).map_err(|error| {
            let path = self.cache_dir.join(choice::FILE);
            tracing::error!(file = %path.display(), %error, "which policy serves is not kept over a restart");
            OrderError::NotKept { path, why: error.to_string() }
        })
    }

    /// What failed and was taken back by the slot itself goes on record here.
    fn note_taken_back(&mut self, before: u64) {
        let shared = self.slot.shared.clone();
        let Some(TakenBack { from, to, why, .. }) = shared.taken_back(before) else { return };
        if shared.loaded().is_some_and(|serving| same(&serving, &to)) {
            self.settings = map(&to.settings);
            let pinned = shared.pinned();
            // Nobody decided about what is held.
            let before = self.choices.of(K::KIND).filter(|before| pinned && before.pinned);
            // First what counts after a restart; what cannot be written is said where it is.
            let _ = self.settle_over(pinned, before.map(|before| before.over));
        }
        let cause = Cause { action: Action::RolledBack, by: By::Recovery, why };
        self.note(&cause, Some(from), &to.hash, &to.settings);
    }

    /// Loads the shadow's file until it has not changed meanwhile; `false` where what serves must be seen to first.
    fn follow_shadow(&mut self) -> bool {
        let slot = self.slot.clone();
        let (Some(shadow), Some(shade)) = (slot.shared.shadow(), self.shade.as_ref()) else { return true };
        let seen = shade.changes.load(Ordering::Acquire);
        if seen == shade.handled {
            return true;
        }
        shadow.loading(true);
        let loaded = self.load_shadow(shade, seen, shadow.subject().as_deref());
        shadow.loading(false);
        if matches!(loaded, Err(LoadError::Superseded)) {
            return false;
        }
        self.shade.iter_mut().for_each(|shade| shade.handled = seen);
        match loaded {
            Ok(Some(loaded)) => {
                shadow.replace(&loaded);
                shadow.face(slot.shared.loaded().as_deref());
                let Loaded { hash, descriptor: Descriptor { name, version, .. }, .. } = loaded;
                slot.shared.emit(PolicyEvent::Shadowing { kind: K::KIND, name, version, hash });
            }
            Ok(None) => {}
            Err(why) => {
                shadow.refused(why.to_string());
                slot.shared.emit(PolicyEvent::ShadowRejected { kind: K::KIND, why: why.to_string() });
            }
        }
        true
    }

    /// `None`: as before.
    fn load_shadow(
        &self,
        shade: &Shade,
        seen: u64,
        present: Option<&Loaded>,
    ) -> Result<Option<Loaded>, LoadError> {
        let bytes = read(&shade.path)?;
        let hash = content_hash(&bytes);
        if present.is_some_and(|present| present.hash == hash) {
            return Ok(None);
        }
        let superseded = || {
            let changed = shade.changes.load(Ordering::Acquire) != seen;
            changed || self.behind() || self.ordered() || self.slot.shared.stopped()
        };
        let (settings, limits) = (&shade.settings, &self.config.limits);
        let may_look_up = self.config.may_look_up();
        let candidate =
            Candidate { kind: K::KIND, bytes: &bytes, hash: &hash, settings, limits, may_look_up };
        self.loader.load(&candidate, &superseded).map(Some)
    }

    /// Content hash of what lies in the shadow's file, where that is not what is compared.
    pub(crate) fn newer_shadow(&self, compared: &Loaded) -> Option<String> {
        let bytes = read(&self.shade.as_ref()?.path).ok()?;
        Some(content_hash(&bytes)).filter(|hash| *hash != compared.hash)
    }

    /// Loads the file until it has not changed meanwhile: the newest wins.
    pub(crate) fn follow_file(&mut self) {
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

    pub(crate) fn reload(&mut self) {
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(why) => {
                self.file_hash = None;
                self.rejected(None, &why);
                return;
            }
        };
        let hash = content_hash(&bytes);
        self.file_hash = Some(hash.clone());
        if self.slot.shared.pinned() {
            match self.choices.of(K::KIND) {
                Some(choice) if choice.over == self.configured() => self.slot.shared.pin(true, None),
                _ => self.hold(&hash),
            }
            return;
        }
        let cause = Cause::change(By::File);
        if self.chosen_over_this() {
            let why = self.slot.shared.rolled_back(&hash, &canonical(&self.wanted));
            let outcome = why.map_or(Ok(ReloadOutcome::Unchanged), |why| Err(LoadError::RolledBack(why)));
            self.conclude(&hash, outcome, &cause);
            return;
        }
        // Settings that were refused before may be meant for this file.
        let mut outcome = Err(LoadError::Superseded);
        for settings in [self.wanted.clone(), self.settings.clone()] {
            outcome = self.attempt(&bytes, &hash, &settings);
            if !matches!(outcome, Err(ref why) if *why != LoadError::Superseded) {
                break;
            }
        }
        let outcome = self.conclude(&hash, outcome, &cause);
        self.settle_change(&outcome);
    }

    /// Something else serves, and was chosen when the file and the settings were as they are.
    fn chosen_over_this(&self) -> bool {
        self.choices.of(K::KIND).is_some_and(|choice| choice.over == self.configured())
    }

    /// With the newest file where there is one; with what serves where that is refused.
    fn reconfigure(&mut self, settings: &Settings) -> ReloadOutcome {
        let Some(active) = self.slot.shared.loaded() else {
            return ReloadOutcome::Rejected { why: LoadError::ShutDown.to_string() };
        };
        self.wanted.clone_from(settings);
        if self.chosen_over_this() {
            // As they were: nothing is held for them any more.
            self.slot.shared.pin(self.slot.shared.pinned(), None);
            return ReloadOutcome::Unchanged;
        }
        if self.slot.shared.pinned() {
            self.hold(&self.file_hash.clone().unwrap_or_else(|| active.hash.clone()));
            return ReloadOutcome::Rejected { why: LoadError::Pinned(K::KIND).to_string() };
        }
        let outcome = self.reconfigure_with(&active, settings);
        self.settle_change(&outcome);
        outcome
    }

    fn reconfigure_with(&mut self, active: &Loaded, settings: &Settings) -> ReloadOutcome {
        let cause = Cause::change(By::Config);
        let handled = std::mem::replace(&mut self.handled, self.changes.load(Ordering::Acquire));
        let newer = read(&self.path).ok().map(|bytes| (content_hash(&bytes), bytes));
        // Also one that something was chosen over: with the settings that stood then.
        if let Some((hash, bytes)) = newer.filter(|(hash, _)| *hash != active.hash)
            && let Ok(applied) = self.attempt(&bytes, &hash, settings)
        {
            self.file_hash = Some(hash.clone());
            return self.conclude(&hash, Ok(applied), &cause);
        }
        let outcome = self.reconfigure_active(active, settings);
        // A change of the file that came meanwhile still has its turn, and its own record.
        self.handled = handled;
        self.conclude(&active.hash, outcome, &cause)
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
        let superseded = || self.behind() || self.slot.shared.stopped();
        let (limits, may_look_up) = (&self.config.limits, self.config.may_look_up());
        let candidate = Candidate { kind: K::KIND, bytes, hash, settings, limits, may_look_up };
        let loaded = self.loader.load(&candidate, &superseded)?;
        self.swap_in(&loaded, settings)
    }

    fn swap_in(&mut self, loaded: &Loaded, settings: &Settings) -> Result<ReloadOutcome, LoadError> {
        self.try_on_recent(loaded)?;
        if self.behind() {
            return Err(LoadError::Superseded);
        }
        self.swap(loaded, settings)
    }

    /// As an order says, whatever became of the file meanwhile.
    pub(crate) fn put_in(
        &mut self,
        loaded: &Loaded,
        settings: &Settings,
    ) -> Result<ReloadOutcome, LoadError> {
        self.try_on_recent(loaded)?;
        self.swap(loaded, settings)
    }

    fn swap(&mut self, loaded: &Loaded, settings: &Settings) -> Result<ReloadOutcome, LoadError> {
        let generation = self.slot.swap(Arc::new(loaded.clone()))?;
        self.settings = settings.clone();
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
                // It wants to look up what its predecessor did not.
                Err(PolicyFailure::Unavailable(_)) => {
                    policy = K::instance(&Arc::new(loaded.clone())).map_err(refused)?;
                }
                Err(failure) => return Err(refused(failure)),
            }
        }
        Ok(())
    }

    /// Counts, records and tells how an attempt ended.
    pub(crate) fn conclude(
        &mut self,
        hash: &str,
        outcome: Result<ReloadOutcome, LoadError>,
        cause: &Cause,
    ) -> ReloadOutcome {
        if let Ok(ReloadOutcome::Applied { generation }) = outcome {
            self.note_taken_back(generation);
            let (from, settings) = (Some(self.served.clone()), canonical(&self.settings));
            self.note(cause, from, hash, &settings);
        }
        let shared = &self.slot.shared;
        let (kind, hash_owned) = (K::KIND, hash.to_owned());
        match outcome {
            Ok(ReloadOutcome::Applied { generation }) => {
                Counters::add(&shared.totals.reloads);
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
        Counters::add(&shared.totals.rejected_reloads);
        shared.record(Outcome::Rejected, hash.clone(), Some(why.clone()));
        shared.emit(PolicyEvent::Rejected { kind: K::KIND, hash, why: why.clone() });
        ReloadOutcome::Rejected { why }
    }
}
