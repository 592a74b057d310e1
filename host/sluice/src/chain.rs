//! Where templates come from: the configuration's chain as the node crate wants it.

use std::io;
use std::time::Duration;

use bitcoin::Network;
use sluice_node::sim::{self, SimConfig, SimDifficulty};
use sluice_node::{Auth, NodeAddress, NodeConfig, NodeHandle, Polling, Secret};

use crate::config::{Node, NodeAuth, Simulation};

/// The list of nodes.
///
/// # Errors
/// An address that cannot be used.
pub fn nodes(network: Network, nodes: &[Node]) -> anyhow::Result<NodeConfig> {
    let address = |node: &Node| {
        let auth = match &node.auth {
            NodeAuth::Cookie(path) => Auth::Cookie(path.clone()),
            NodeAuth::Password { user, password } => {
                Auth::User { user: user.clone(), password: Secret::new(password.reveal()) }
            }
        };
        NodeAddress::parse(&node.url, network, auth)
    };
    let nodes = nodes.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    Ok(NodeConfig { network, nodes, polling: Polling::default() })
}

/// A chain in this process. It ends with its handle.
///
/// # Errors
/// Its thread cannot start.
pub fn simulated(network: Network, simulation: &Simulation) -> io::Result<NodeHandle> {
    let (handle, _) = sim::start(SimConfig {
        network,
        start_height: simulation.start_height,
        difficulty: SimDifficulty::Difficulty(simulation.difficulty),
        transactions: usize::try_from(simulation.transactions).unwrap_or(usize::MAX),
        seed: 1,
        block_interval: simulation.block_interval,
        refresh: Duration::from_secs(30),
    })?;
    Ok(handle)
}
