//! What the policies say of themselves: to the status page, the API, the console and the ledger.

use std::fmt;

use serde::{Deserialize, Serialize};
use sluice_core::policy::PolicyKind;

use crate::budgets::Budgets;
use crate::counters::{Figures, SlotFigures};
use crate::lookup::LookupStatus;
use crate::shadow::ShadowStatus;
use crate::sheet::{Failure, GenerationStatus};

/// Exactly what answered: enough, with the recorded input and the kept component, to compute the answer again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyIdentity {
    pub name: String,
    pub version: String,
    /// SHA-256 of the component, in hex; `native` for a policy that is part of the host.
    pub hash: String,
    /// Canonical JSON.
    pub settings: String,
    /// Counts the swaps of its slot, from 1.
    pub generation: u64,
}

/// What came of a change of file or settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// Same content, same settings.
    Unchanged,
    /// Serves from now on.
    Applied { generation: u64 },
    /// Nothing changed.
    Rejected { why: String },
}

/// How the last change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Unchanged,
    Applied,
    Rejected,
    /// Applied, and taken back by itself.
    RolledBack,
    /// Not tried: the policy is pinned.
    Held,
}

/// A change and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    pub outcome: Outcome,
    /// Milliseconds since 1970.
    pub at: u64,
    /// Content hash of what was to be loaded, where it could be read.
    pub hash: Option<String>,
    pub error: Option<String>,
}

/// Whether a slot serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    Active,
    /// Active, while a candidate is compiled and proved.
    Loading,
    /// It keeps trapping: calls get the kind's default until it is tried again.
    BackingOff,
    Stopped,
}

/// One slot, for `GET /api/v1/policies`.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyStatus {
    pub kind: PolicyKind,
    pub file: String,
    pub name: String,
    pub version: String,
    pub summary: String,
    pub hash: String,
    pub generation: u64,
    /// Milliseconds since 1970.
    pub loaded_at: u64,
    pub state: SlotState,
    pub last_reload: LastReload,
    /// The latest changes, newest first, at most [`HISTORY_LIMIT`].
    pub history: Vec<LastReload>,
    /// Changes of its file and its settings are not applied.
    pub pinned: bool,
    /// Content hash of the changed file that is not applied for that.
    pub held: Option<String>,
    /// Beside it, where the configuration names one.
    pub shadow: Option<ShadowStatus>,
    /// What it looks up, where the configuration grants it something.
    pub lookup: Option<LookupStatus>,
    pub budgets: Budgets,
    /// The latest that there is on record.
    pub last_failure: Option<Failure>,
    /// The one that serves and those before it, newest first.
    pub generations: Vec<GenerationStatus>,
    /// Of all generations since the start of the process.
    #[serde(flatten)]
    pub figures: Figures,
    #[serde(flatten)]
    pub slot: SlotFigures,
}

/// How many changes are remembered for each slot.
pub const HISTORY_LIMIT: usize = 16;

/// What happened, for the console and the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PolicyEvent {
    Applied {
        kind: PolicyKind,
        generation: u64,
        name: String,
        version: String,
        hash: String,
    },
    Unchanged {
        kind: PolicyKind,
        hash: String,
    },
    Rejected {
        kind: PolicyKind,
        hash: Option<String>,
        why: String,
    },
    RolledBack {
        kind: PolicyKind,
        generation: u64,
        from: String,
        to: String,
        why: String,
    },
    /// At most one a second for each slot.
    Trapped {
        kind: PolicyKind,
        why: String,
    },
    BackingOff {
        kind: PolicyKind,
        millis: u64,
        why: String,
    },
    /// The change is noticed and not applied.
    Held {
        kind: PolicyKind,
        hash: String,
    },
    Pinned {
        kind: PolicyKind,
        hash: String,
    },
    Unpinned {
        kind: PolicyKind,
        hash: String,
    },
    /// A shadow is compared from now on.
    Shadowing {
        kind: PolicyKind,
        name: String,
        version: String,
        hash: String,
    },
    ShadowRejected {
        kind: PolicyKind,
        why: String,
    },
    /// The file is gone; what it held keeps serving.
    FileGone {
        kind: PolicyKind,
        file: String,
    },
}

impl PolicyEvent {
    pub fn kind(&self) -> PolicyKind {
        match self {
            Self::Applied { kind, .. }
            | Self::Unchanged { kind, .. }
            | Self::Rejected { kind, .. }
            | Self::RolledBack { kind, .. }
            | Self::Trapped { kind, .. }
            | Self::BackingOff { kind, .. }
            | Self::Held { kind, .. }
            | Self::Pinned { kind, .. }
            | Self::Unpinned { kind, .. }
            | Self::Shadowing { kind, .. }
            | Self::ShadowRejected { kind, .. }
            | Self::FileGone { kind, .. } => *kind,
        }
    }
}

/// The first eight digits of a hash, for people.
fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

impl fmt::Display for PolicyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { kind, generation, name, version, hash } => {
                write!(
                    f,
                    "{kind} policy: {name} {version} ({}) serves as generation {generation}",
                    short(hash)
                )
            }
            Self::Unchanged { kind, hash } => write!(f, "{kind} policy: unchanged ({})", short(hash)),
            Self::Rejected { kind, hash, why } => {
                write!(
                    f,
                    "{kind} policy: {} refused, the present one keeps serving: {why}",
                    hash.as_deref().map_or("the change", short)
                )
            }
            Self::RolledBack { kind, generation, from, to, why } => write!(
                f,
                "{kind} policy: {} rolled back to {} as generation {generation}: {why}",
                short(from),
                short(to)
            ),
            Self::Trapped { kind, why } => write!(f, "{kind} policy: {why}"),
            Self::BackingOff { kind, millis, why } => {
                write!(f, "{kind} policy: not asked for {millis} ms after repeated failures: {why}")
            }
            Self::Held { kind, hash } => {
                write!(f, "{kind} policy: {} is not applied, the present one is pinned", short(hash))
            }
            Self::Pinned { kind, hash } => write!(f, "{kind} policy: pinned to {}", short(hash)),
            Self::Unpinned { kind, hash } => {
                write!(f, "{kind} policy: {} is no longer pinned", short(hash))
            }
            Self::Shadowing { kind, name, version, hash } => {
                write!(f, "{kind} policy: {name} {version} ({}) is compared as shadow", short(hash))
            }
            Self::ShadowRejected { kind, why } => write!(f, "{kind} policy: shadow refused: {why}"),
            Self::FileGone { kind, file } => write!(f, "{kind} policy: {file} is gone; it keeps serving"),
        }
    }
}
