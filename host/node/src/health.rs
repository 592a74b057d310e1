//! How the nodes are.

use sluice_core::bitcoin::Network;
use sluice_core::units::Timestamp;

/// One node's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not asked yet.
    Starting,
    Healthy,
    /// It answers, but gives no templates yet: loading, downloading blocks, or without peers.
    Syncing {
        reason: String,
    },
    /// It does not answer, or not with sense.
    Unreachable {
        since: Timestamp,
        error: String,
    },
    /// It is on another chain. It is never used.
    WrongNetwork {
        expected: Network,
        found: String,
    },
}

impl Health {
    /// The label in metrics and the API.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Syncing { .. } => "syncing",
            Self::Unreachable { .. } => "unreachable",
            Self::WrongNetwork { .. } => "wrong_network",
        }
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starting | Self::Healthy => f.write_str(self.label()),
            Self::Syncing { reason } => write!(f, "syncing: {reason}"),
            Self::Unreachable { error, .. } => write!(f, "unreachable: {error}"),
            Self::WrongNetwork { expected, found } => {
                write!(f, "wrong network: the node is on `{found}`, the pool on `{}`", expected.to_core_arg())
            }
        }
    }
}

/// A node and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// `HOST:PORT`, or `simulated`.
    pub name: String,
    pub health: Health,
}

/// All nodes, in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHealth {
    pub nodes: Vec<NodeStatus>,
    /// The node whose templates are served; `None` while no node is healthy, and the last template stands.
    pub active: Option<usize>,
    /// Since when no node has served (V1-80); the start, until the first one does.
    pub down_since: Option<Timestamp>,
}

impl ChainHealth {
    pub const fn is_healthy(&self) -> bool {
        self.active.is_some()
    }

    /// The active node's health, else that of the most preferred node.
    pub fn overall(&self) -> &Health {
        let index = self.active.unwrap_or(0);
        self.nodes.get(index).map_or(&Health::Starting, |node| &node.health)
    }
}
