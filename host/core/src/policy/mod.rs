//! The three decisions an operator makes: the typed traits that `sluice-policy` implements over WIT, the values that
//! pass, and the checks that every answer goes through before it is used.
//!
//! The traits are synchronous and called off the share path. A native implementation is as good as a component:
//! the host's own tests use them.

pub mod accrual;
pub mod auth;
pub mod payout;
pub mod split;
pub mod vardiff;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::Protocol;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyKind {
    Auth,
    Vardiff,
    Payout,
}

impl PolicyKind {
    pub const ALL: [Self; 3] = [Self::Auth, Self::Vardiff, Self::Payout];

    /// `auth`, `vardiff` or `payout`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Vardiff => "vardiff",
            Self::Payout => "payout",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What is known of the machine at the other end. All text is what it says of itself, with control characters removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub protocol: Protocol,
    /// Name of the listener it came in on.
    pub listener: Arc<str>,
    /// IP address without port.
    pub address: Arc<str>,
    /// SV1 user agent; SV2 vendor and firmware.
    pub agent: Arc<str>,
    pub hardware: Arc<str>,
}

/// A policy that gave no usable answer. The host has a default for each kind; nobody is disconnected for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFailure {
    /// The policy says this input is beyond it.
    #[error("the policy refused the input: {0}")]
    BadInput(String),
    /// The policy says it is broken.
    #[error("the policy failed: {0}")]
    Internal(String),
    /// It was stopped: a trap, or a limit of fuel, time, memory or stack.
    #[error("the policy was stopped: {0}")]
    Trap(String),
    /// It answered, and the answer breaks a rule.
    #[error("the policy's answer was refused: {0}")]
    BadAnswer(String),
    /// Nothing is loaded, the policy is backing off after traps, or its queue is full.
    #[error("the policy is not available: {0}")]
    Unavailable(String),
}

/// What a policy says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// JSON Schema of the settings, or empty.
    pub settings_schema: String,
    /// Format of what `memo` holds; memos are carried over a reload only between equal numbers.
    pub memo_format: u32,
}
