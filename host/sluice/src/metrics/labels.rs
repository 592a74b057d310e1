//! The labels of the series: closed sets, so that the number of series is bounded.

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use sluice_core::ids::Protocol;
use sluice_core::policy::auth::Refusal;

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($variant),+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label),+
                }
            }
        }
    };
}

labels! {
    /// Why a connection was refused before it was one.
    Refused {
        Full = "full",
        AddressLimit = "address_limit",
        Reconnects = "reconnects",
        Banned = "banned",
        NoWork = "no_work",
        Tls = "tls",
        ProxyHeader = "proxy_header",
    }
}

labels! {
    /// What became of a login.
    LoginOutcome {
        Granted = "granted",
        UnknownUser = "unknown_user",
        WrongPassword = "wrong_password",
        Forbidden = "forbidden",
        TryLater = "try_later",
    }
}

impl LoginOutcome {
    pub const fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::UnknownUser(_) => Self::UnknownUser,
            Refusal::WrongPassword(_) => Self::WrongPassword,
            Refusal::Forbidden(_) => Self::Forbidden,
            Refusal::TryLater(_) => Self::TryLater,
        }
    }
}

labels! {
    /// What became of a block. Every one is found, then accepted or rejected.
    BlockOutcome {
        Found = "found",
        Accepted = "accepted",
        Rejected = "rejected",
    }
}

labels! {
    /// What the chain did with a block that a node had accepted.
    BlockMove {
        Matured = "matured",
        Orphaned = "orphaned",
        Returned = "returned",
    }
}

labels! {
    /// What became of a reload.
    ReloadLabel {
        Unchanged = "unchanged",
        Applied = "applied",
        Rejected = "rejected",
        RolledBack = "rolled_back",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByProtocol {
    pub(super) protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByMove {
    pub(super) what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByReload {
    pub(super) kind: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByNode {
    pub(super) node: u32,
}

/// Protocol and one more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ByTwo {
    protocol: &'static str,
    name: &'static str,
    value: &'static str,
}

impl ByTwo {
    pub(super) fn reason(protocol: Protocol, value: &'static str) -> Self {
        Self { protocol: protocol.label(), name: "reason", value }
    }

    pub(super) fn cause(protocol: Protocol, value: &'static str) -> Self {
        Self { protocol: protocol.label(), name: "cause", value }
    }

    pub(super) fn kind(protocol: Protocol, value: &'static str) -> Self {
        Self { protocol: protocol.label(), name: "kind", value }
    }

    pub(super) fn code(protocol: Protocol, value: &'static str) -> Self {
        Self { protocol: protocol.label(), name: "code", value }
    }

    pub(super) fn what(protocol: Protocol, value: &'static str) -> Self {
        Self { protocol: protocol.label(), name: "what", value }
    }

    pub(super) fn outcome(protocol: Protocol, value: &'static str) -> Self {
        Self { protocol: protocol.label(), name: "outcome", value }
    }
}

impl EncodeLabelSet for ByTwo {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("protocol", self.protocol), (self.name, self.value)].encode(encoder)
    }
}
