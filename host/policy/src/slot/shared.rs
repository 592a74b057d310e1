//! What everybody may see of a slot, and the keeper may set.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sluice_core::policy::Descriptor;
use tokio::sync::{broadcast, watch};

use super::{Kind, unix_millis};
use crate::budgets::Budgets;
use crate::config::Limits;
use crate::counters::Totals;
use crate::load::Loaded;
use crate::lookup::Service;
use crate::reload::Wish;
use crate::shadow::{Shadow, ShadowStatus};
use crate::sheet::{Failure, GenerationStatus, Generations};
use crate::status::{
    HISTORY_LIMIT, LastReload, Outcome, PolicyEvent, PolicyIdentity, PolicyStatus, SlotState,
};

/// What everybody may see of a slot.
pub(crate) struct Shared<K: Kind> {
    pub(crate) file: String,
    pub(super) limits: Limits,
    pub(crate) totals: Totals,
    pub(super) generations: Generations,
    /// Questions that wait for the thread.
    pub(super) waiting: AtomicUsize,
    pub(super) face: Mutex<Face>,
    pub(super) samples: Mutex<VecDeque<Arc<K::Sample>>>,
    pub(super) generation: watch::Sender<u64>,
    pub(super) events: broadcast::Sender<PolicyEvent>,
    /// Beside what serves, where the configuration names one.
    pub(super) shadow: Option<Shadow<K>>,
    /// Where the configuration grants it something to look up.
    pub(super) lookup: Option<Arc<Service>>,
    /// Wakes the keeper; unset for a native policy.
    pub(super) keeper: OnceLock<SyncSender<Wish>>,
}

/// What was taken back by itself, for the record.
pub(crate) struct TakenBack {
    pub(crate) from: String,
    /// Of what was taken back.
    pub(crate) generation: u64,
    pub(crate) to: Arc<Loaded>,
    pub(crate) why: String,
}

pub(super) struct Face {
    pub(super) identity: Arc<PolicyIdentity>,
    pub(super) descriptor: Descriptor,
    pub(super) loaded_at: u64,
    pub(super) backing_off: bool,
    pub(super) loading: bool,
    pub(super) stopped: bool,
    pub(super) history: VecDeque<LastReload>,
    /// What serves, for the keeper; `None` for a native policy.
    pub(super) loaded: Option<Arc<Loaded>>,
    /// Taken back, as (hash, settings, why): not to be loaded again by itself.
    pub(super) rolled_back: Option<(String, Arc<str>, String)>,
    /// Not on record yet.
    pub(super) taken_back: Option<TakenBack>,
    pub(super) pinned: bool,
    /// Content hash of a changed file that is not applied, since the policy is pinned.
    pub(super) held: Option<String>,
}

impl<K: Kind> Shared<K> {
    pub(super) fn face(&self) -> std::sync::MutexGuard<'_, Face> {
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

    pub(crate) fn stopped(&self) -> bool {
        self.face().stopped
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

    /// What was taken back before this generation and is not on record yet.
    pub(crate) fn taken_back(&self, before: u64) -> Option<TakenBack> {
        self.face().taken_back.take_if(|taken| taken.generation < before)
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
        let (generations, figures) = (self.generations.told(), self.generations.sum());
        let waiting = self.waiting.load(Relaxed);
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
            lookup: self.lookup.as_ref().map(|service| service.status()),
            budgets: Budgets::of(&self.limits, generations.first().map(|one| &one.figures), waiting),
            last_failure: last_failure(&generations),
            generations,
            figures,
            slot: self.totals.figures(),
        }
    }
}

/// The latest of those that are told of.
fn last_failure(generations: &[GenerationStatus]) -> Option<Failure> {
    generations.iter().filter_map(|one| one.last_failure.as_ref()).max_by_key(|failure| failure.at).cloned()
}
