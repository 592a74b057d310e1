//! What an operator may want of a policy that serves: promote its shadow, go back to an earlier generation, pin it
//! against changes. Each is proved like a changed file, and on record with who and why.

use std::path::PathBuf;

use serde::Serialize;
use sluice_core::policy::PolicyKind;

use crate::compile::content_hash;
use crate::config::Settings;
use crate::error::LoadError;
use crate::history::{Action, By};
use crate::keeper::{Cause, Keeper, read};
use crate::kept::{KeptError, resolve};
use crate::load::Loaded;
use crate::shadow::same;
use crate::slot::Kind;
use crate::status::{Outcome, PolicyEvent};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The shadow serves from now on; what served is kept warm, and comes back by itself if the shadow keeps failing.
    Promote,
    /// To the generation with this content hash (or its beginning); to what served before where none is given.
    RollBack { to: Option<String> },
    /// Changes of the file and of the settings are noticed and shown, not applied.
    Pin,
    /// A change that was noticed meanwhile is applied.
    Unpin,
}

/// An order, who gives it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub order: Order,
    pub by: By,
    pub why: String,
}

/// How things stand after an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    pub kind: PolicyKind,
    /// Content hash of what serves.
    pub hash: String,
    pub name: String,
    pub version: String,
    pub generation: u64,
    pub pinned: bool,
}

/// Why an order was not carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("the {0} policy is native: it cannot be replaced")]
    Native(PolicyKind),
    #[error("too many orders are waiting; try again")]
    Busy,
    #[error("the configuration names no shadow: set `shadow` in [policy.{0}]")]
    NoShadow(PolicyKind),
    #[error("the shadow is not loaded{}", .0.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    NotLoaded(Option<String>),
    #[error("it serves already")]
    Serving,
    #[error(
        "the shadow's file holds {0}, which has not been compared yet; look at its status, then order again"
    )]
    NotCompared(String),
    #[error("no earlier generation is on record; name one by its hash")]
    NothingBefore,
    #[error("it is pinned already")]
    Pinned,
    #[error("it is not pinned")]
    NotPinned,
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is done, and a restart will not know.
    #[error("it is done, but {path} cannot be written and a restart would undo it: {why}; the next order writes it too", path = path.display())]
    NotKept { path: PathBuf, why: String },
}

impl<K: Kind> Keeper<K> {
    pub(crate) fn obey(&mut self, command: &Command) -> Result<Done, OrderError> {
        let cause = |action| Cause { action, by: command.by, why: command.why.clone() };
        match &command.order {
            Order::Promote => self.promote(&cause(Action::Promoted))?,
            Order::RollBack { to } => self.roll_back(to.as_deref(), &cause(Action::RolledBack))?,
            Order::Pin => self.pin(&cause(Action::Pinned))?,
            Order::Unpin => self.unpin(&cause(Action::Unpinned))?,
        }
        let status = self.slot.shared.status();
        let (hash, name, version) = (status.hash, status.name, status.version);
        Ok(Done { kind: K::KIND, hash, name, version, generation: status.generation, pinned: status.pinned })
    }

    fn serving(&self) -> Result<std::sync::Arc<Loaded>, OrderError> {
        self.slot.shared.loaded().ok_or(OrderError::Load(LoadError::ShutDown))
    }

    fn promote(&mut self, cause: &Cause) -> Result<(), OrderError> {
        let slot = self.slot.clone();
        let shadow = slot.shared.shadow().ok_or(OrderError::NoShadow(K::KIND))?;
        let subject = shadow.subject().ok_or_else(|| OrderError::NotLoaded(shadow.error()))?;
        if same(&*self.serving()?, &subject) {
            return Err(OrderError::Serving);
        }
        // Refused: what it was before is compared, and shown with the refusal.
        if let Some(newer) = self.newer_shadow(&subject).filter(|_| shadow.error().is_none()) {
            return Err(OrderError::NotCompared(newer));
        }
        let settings = map(&subject.settings);
        self.install(&subject, &settings, cause)
    }

    fn roll_back(&mut self, to: Option<&str>, cause: &Cause) -> Result<(), OrderError> {
        let serving = self.serving()?.hash.clone();
        let hash = match to {
            Some(beginning) => resolve(&self.cache_dir, beginning)?,
            None => self.history.before(K::KIND, &serving).ok_or(OrderError::NothingBefore)?,
        };
        if hash == serving {
            return Err(OrderError::Serving);
        }
        // What it last served with; a component that never did gets the present ones.
        let settings =
            self.history.settings(K::KIND, &hash).map_or_else(|| self.settings.clone(), |text| map(&text));
        let loaded = self.of_the_past(&hash, &settings)?;
        self.install(&loaded, &settings, cause)
    }

    /// Proves it on recent inputs, swaps, and keeps the choice. A pin moves along.
    fn install(&mut self, loaded: &Loaded, settings: &Settings, cause: &Cause) -> Result<(), OrderError> {
        let pinned = self.slot.shared.pinned();
        // A change that the watcher is yet to tell of came before the order too.
        if let Ok(bytes) = read(&self.path) {
            self.file_hash = Some(content_hash(&bytes));
        }
        let applied = self.put_in(loaded, settings);
        let failed = applied.as_ref().err().cloned();
        self.conclude(&loaded.hash, applied, cause);
        match failed {
            Some(why) => Err(OrderError::Load(why)),
            None => self.settle(pinned),
        }
    }

    fn pin(&mut self, cause: &Cause) -> Result<(), OrderError> {
        if self.slot.shared.pinned() {
            return Err(OrderError::Pinned);
        }
        let serving = self.serving()?;
        let kept = self.settle(true);
        self.note(cause, None, &serving.hash, &serving.settings);
        self.slot.shared.emit(PolicyEvent::Pinned { kind: K::KIND, hash: serving.hash.clone() });
        kept
    }

    fn unpin(&mut self, cause: &Cause) -> Result<(), OrderError> {
        if !self.slot.shared.pinned() {
            return Err(OrderError::NotPinned);
        }
        let serving = self.serving()?;
        let over = self.choices.of(K::KIND).map(|choice| choice.over);
        self.slot.shared.pin(false, None);
        self.note(cause, None, &serving.hash, &serving.settings);
        self.slot.shared.emit(PolicyEvent::Unpinned { kind: K::KIND, hash: serving.hash.clone() });
        if over.is_some_and(|over| over != self.configured()) {
            self.reload();
            // It may have changed again meanwhile.
            self.follow_file();
        }
        if self.slot.shared.stopped() {
            // What was not let in yet is held at the next start.
            return Err(LoadError::ShutDown.into());
        }
        self.settle(false)
    }

    /// Says that a change is noticed and not applied.
    pub(crate) fn hold(&self, hash: &str) {
        let shared = &self.slot.shared;
        shared.pin(true, Some(hash.to_owned()));
        shared.record(Outcome::Held, Some(hash.to_owned()), None);
        shared.emit(PolicyEvent::Held { kind: K::KIND, hash: hash.to_owned() });
    }
}

/// Canonical JSON of settings that were in force.
pub(crate) fn map(text: &str) -> Settings {
    serde_json::from_str(text).unwrap_or_default()
}
