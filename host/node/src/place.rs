//! Where a block is: in the best chain, beside it, or not to be told yet.

use std::sync::Arc;

use sluice_core::bitcoin::BlockHash;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::health::{ChainHealth, Health};
use crate::rpc::RpcError;

/// Where a node sees a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In its best chain; the tip has one confirmation.
    InChain { confirmations: u32 },
    /// Another block is in its best chain at that height.
    Aside,
    /// Its chain does not reach that height: it says nothing of the block.
    Beyond,
}

/// Why nobody could say.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("no node is healthy")]
    NoNode,
    #[error("{node}: {source}")]
    Rpc { node: String, source: RpcError },
    /// The process is about to end.
    #[error("the question was given up")]
    GivenUp,
}

/// One node that can be asked.
pub(crate) trait Chainsight: Send + Sync {
    /// `HOST:PORT`, or `simulated`.
    fn name(&self) -> String;

    /// Where `hash`, a block of `height`, is. Blocks.
    ///
    /// # Errors
    /// The node gave no answer.
    fn place(&self, hash: BlockHash, height: u32) -> Result<Place, RpcError>;
}

/// The nodes, for questions about blocks. Clones ask the same nodes, with one question at a time for each.
#[derive(Clone)]
pub struct Places {
    pub(crate) nodes: Arc<[Arc<dyn Chainsight>]>,
    pub(crate) health: watch::Receiver<ChainHealth>,
}

impl Places {
    /// Where `hash`, a block of `height`, is. The node that serves templates is asked first, then the other healthy ones in
    /// order, until one can tell.
    ///
    /// # Errors
    /// No node is healthy, or those that are did not answer: ask again later.
    pub async fn place(&self, hash: BlockHash, height: u32) -> Result<Place, PlaceError> {
        let mut result = Err(PlaceError::NoNode);
        for index in self.order() {
            let Some(node) = self.nodes.get(index).map(Arc::clone) else { continue };
            let name = node.name();
            match spawn_blocking(move || node.place(hash, height)).await {
                Ok(Ok(Place::Beyond)) => result = Ok(Place::Beyond),
                Ok(Ok(told)) => return Ok(told),
                // A node that can say no more than this is better than none.
                Ok(Err(_)) if result.is_ok() => {}
                Ok(Err(source)) => result = Err(PlaceError::Rpc { node: name, source }),
                Err(_) => return Err(PlaceError::GivenUp),
            }
        }
        result
    }

    fn order(&self) -> Vec<usize> {
        let health = self.health.borrow();
        let healthy =
            |index: &usize| health.nodes.get(*index).is_some_and(|node| node.health == Health::Healthy);
        let others = (0..self.nodes.len()).filter(|index| Some(*index) != health.active);
        health.active.into_iter().chain(others).filter(healthy).collect()
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.nodes.iter().map(|node| node.name()).collect();
        f.debug_struct("Places").field("nodes", &names).finish_non_exhaustive()
    }
}
