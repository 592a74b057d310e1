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
    /// Another block is in its best chain at that height, with so many confirmations.
    Aside { confirmations: u32 },
    /// Its chain does not reach that height: it says nothing of the block.
    Beyond,
    /// Healthy nodes are on chains of the same length of which one has the block and one has not, or one that may be gave
    /// no answer: the next blocks decide.
    Disputed,
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

    /// Where `hash`, a block of `height`, is; never [`Place::Disputed`]. Blocks.
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
    /// order, until one has it in its chain. One that has another block in its place is not believed before all healthy
    /// ones have spoken: the longer chain counts, and of two that are as long neither.
    ///
    /// # Errors
    /// No node is healthy, or those that are did not answer: ask again later.
    pub async fn place(&self, hash: BlockHash, height: u32) -> Result<Place, PlaceError> {
        let mut words = Words::default();
        for index in self.order() {
            let Some(node) = self.nodes.get(index).map(Arc::clone) else { continue };
            let name = node.name();
            match spawn_blocking(move || node.place(hash, height)).await {
                Ok(Ok(place)) => words.add(place),
                Ok(Err(source)) => words.failed = Some(PlaceError::Rpc { node: name, source }),
                Err(_) => return Err(PlaceError::GivenUp),
            }
            if words.suffice() {
                break;
            }
        }
        words.weigh()
    }

    fn order(&self) -> Vec<usize> {
        let health = self.health.borrow();
        let healthy =
            |index: &usize| health.nodes.get(*index).is_some_and(|node| node.health == Health::Healthy);
        let others = (0..self.nodes.len()).filter(|index| Some(*index) != health.active);
        health.active.into_iter().chain(others).filter(healthy).collect()
    }
}

/// What nodes have said of one block.
#[derive(Debug, Default)]
struct Words {
    /// Confirmations of the block, in the longest of the chains that have it.
    inside: Option<u32>,
    /// Those of another in its place, in the longest of the chains that have that.
    aside: Option<u32>,
    beyond: bool,
    failed: Option<PlaceError>,
}

impl Words {
    fn add(&mut self, place: Place) {
        match place {
            Place::InChain { confirmations } => self.inside = self.inside.max(Some(confirmations)),
            Place::Aside { confirmations } => self.aside = self.aside.max(Some(confirmations)),
            Place::Beyond | Place::Disputed => self.beyond = true,
        }
    }

    /// Nobody has contradicted the node that has the block.
    const fn suffice(&self) -> bool {
        self.inside.is_some() && self.aside.is_none()
    }

    /// At one height, more confirmations are a longer chain. A node that did not answer may have the block in a chain in
    /// which it is the last.
    fn weigh(self) -> Result<Place, PlaceError> {
        match (self.inside, self.aside) {
            (Some(inside), Some(aside)) if inside == aside => Ok(Place::Disputed),
            (Some(inside), aside) if Some(inside) > aside => Ok(Place::InChain { confirmations: inside }),
            (None, Some(1)) if self.failed.is_some() => Ok(Place::Disputed),
            (_, Some(aside)) => Ok(Place::Aside { confirmations: aside }),
            (_, None) if self.beyond => Ok(Place::Beyond),
            (_, None) => Err(self.failed.unwrap_or(PlaceError::NoNode)),
        }
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.nodes.iter().map(|node| node.name()).collect();
        f.debug_struct("Places").field("nodes", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
