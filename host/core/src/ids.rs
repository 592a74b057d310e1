//! Names of things. Two ids of different kinds do not mix.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A connection, unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A channel of a connection (05§5.2). SV1 connections have one, number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A job, unique in the process. SV1 sends it as lower-case hex without leading zeros (V1-51), SV2 as U32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub u32);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A template, unique in the process; grows with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemplateId(pub u64);

/// The ledger's number of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(pub u32);

/// The ledger's number of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerId(pub u32);

/// Position of a share in the log. The first is 1; 0 means "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShareSeq(pub u64);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} has {length} bytes, at most {limit} are allowed")]
    TooLong { what: &'static str, length: usize, limit: usize },
    #[error(
        "{what} contains the character {found:?}; printable ASCII without quotes and backslash is allowed"
    )]
    Character { what: &'static str, found: char },
}

/// The longest account name, in bytes. Bitcoin addresses need 90, DATUM allows 191 (V1-17).
pub const ACCOUNT_LIMIT: usize = 128;
/// The longest worker name, in bytes.
pub const WORKER_LIMIT: usize = 128;

fn checked(what: &'static str, text: &str, limit: usize, may_be_empty: bool) -> Result<Arc<str>, NameError> {
    if text.is_empty() && !may_be_empty {
        return Err(NameError::Empty { what });
    }
    if text.len() > limit {
        return Err(NameError::TooLong { what, length: text.len(), limit });
    }
    // These names reach logs, pages, SQL and the wire.
    match text.chars().find(|c| !matches!(c, ' '..='~') || matches!(c, '"' | '\\' | '\'' | '<' | '>' | '&')) {
        Some(found) => Err(NameError::Character { what, found }),
        None => Ok(Arc::from(text)),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr, $may_be_empty:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Printable ASCII within the limit, or why not.
            pub fn new(text: &str) -> Result<Self, NameError> {
                checked($what, text, $limit, $may_be_empty).map(Self)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Who is paid: what the auth policy maps a login to. 1 to 128 printable bytes.
    AccountName, "account name", ACCOUNT_LIMIT, false
);
name!(
    /// A machine of an account. 0 to 128 printable bytes.
    WorkerName, "worker name", WORKER_LIMIT, true
);

/// Which protocol a connection speaks; the label of every metric and log line that concerns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    StratumV1,
    StratumV2,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::StratumV1, Self::StratumV2];

    /// `stratum_v1` or `stratum_v2`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::StratumV1 => "stratum_v1",
            Self::StratumV2 => "stratum_v2",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
