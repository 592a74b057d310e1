//! What a node hands in: everything a block needs but the coinbase and the proof of work.

mod weight;

use std::sync::Arc;

use bitcoin::{Amount, BlockHash, CompactTarget, Network, Target, Txid, Wtxid};

use crate::ids::TemplateId;
use crate::units::{Difficulty, Timestamp};

/// A transaction of a template, as `getblocktemplate` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateTransaction {
    /// Consensus-serialised, with witness.
    pub data: Vec<u8>,
    pub txid: Txid,
    pub wtxid: Wtxid,
}

/// A block without coinbase and proof of work (BIP22, BIP23, BIP145).
#[derive(Clone, Debug)]
pub struct Template {
    pub id: TemplateId,
    pub network: Network,
    pub height: u32,
    pub previous: BlockHash,
    pub version: i32,
    pub bits: CompactTarget,
    /// The earliest allowed header time (median time past + 1), in seconds.
    pub min_time: u32,
    /// The node's time when it made the template, in seconds.
    pub cur_time: u32,
    /// Subsidy and fees: the most the coinbase may pay.
    pub coinbase_value: Amount,
    pub subsidy: Amount,
    /// The witness commitment script the node proposes; `None` where segwit is off.
    pub witness_commitment: Option<Vec<u8>>,
    pub transactions: Arc<[TemplateTransaction]>,
    pub received: Timestamp,
}

impl Template {
    /// Bytes that a coinbase without its witness may have: what the block's weight leaves beside the transactions (BIP141).
    /// A node leaves at least `blockreservedweight` to header and coinbase, 8000 unless it is told otherwise, so that a
    /// full template leaves about 1900 bytes.
    pub fn coinbase_room(&self) -> usize {
        let transactions = self.transactions.iter().map(|transaction| weight::weight(&transaction.data));
        weight::coinbase_room(transactions.sum())
    }

    pub fn fees(&self) -> Amount {
        self.coinbase_value.checked_sub(self.subsidy).unwrap_or(Amount::ZERO)
    }

    pub fn target(&self) -> Target {
        Target::from_compact(self.bits)
    }

    pub fn network_difficulty(&self) -> Difficulty {
        Difficulty::from_target(self.target())
    }
}

/// The block subsidy at `height`: 50 coins, halved every 210,000 blocks (150 on regtest).
pub fn subsidy(network: Network, height: u32) -> Amount {
    let interval = if network == Network::Regtest { 150 } else { 210_000 };
    Amount::from_sat(5_000_000_000u64.checked_shr(height / interval).unwrap_or(0))
}
