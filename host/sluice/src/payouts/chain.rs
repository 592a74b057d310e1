//! What payouts ask of the chain, so that tests can answer.

use bitcoin::{Block, BlockHash, OutPoint, Txid};
use sluice_node::{BlockPlace, FoundTransaction, Lookup, LookupError, Mempool, Unspent};

/// The questions of [`Lookup`], which says what each means.
pub trait Chain {
    /// # Errors
    /// No node answers; so for every question.
    fn tip(&self) -> Result<BlockPlace, LookupError>;
    /// # Errors
    /// As [`Chain::tip`].
    fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, LookupError>;
    /// # Errors
    /// As [`Chain::tip`].
    fn block_place(&self, hash: BlockHash) -> Result<Option<BlockPlace>, LookupError>;
    /// # Errors
    /// As [`Chain::tip`].
    fn block_txids(&self, hash: BlockHash) -> Result<Option<Vec<Txid>>, LookupError>;
    /// # Errors
    /// As [`Chain::tip`].
    fn block(&self, hash: BlockHash) -> Result<Option<Block>, LookupError>;
    /// # Errors
    /// As [`Chain::tip`].
    fn transaction(
        &self,
        txid: Txid,
        block: Option<BlockHash>,
    ) -> Result<Option<FoundTransaction>, LookupError>;
    /// # Errors
    /// As [`Chain::tip`].
    fn unspent(&self, coin: OutPoint, mempool: Mempool) -> Result<Option<Unspent>, LookupError>;
    /// # Errors
    /// As [`Chain::tip`].
    fn waiting_spender(&self, coin: OutPoint) -> Result<Option<Txid>, LookupError>;
}

impl Chain for Lookup {
    fn tip(&self) -> Result<BlockPlace, LookupError> {
        self.tip()
    }

    fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, LookupError> {
        self.block_hash(height)
    }

    fn block_place(&self, hash: BlockHash) -> Result<Option<BlockPlace>, LookupError> {
        self.block_place(hash)
    }

    fn block_txids(&self, hash: BlockHash) -> Result<Option<Vec<Txid>>, LookupError> {
        self.block_txids(hash)
    }

    fn block(&self, hash: BlockHash) -> Result<Option<Block>, LookupError> {
        self.block(hash)
    }

    fn transaction(
        &self,
        txid: Txid,
        block: Option<BlockHash>,
    ) -> Result<Option<FoundTransaction>, LookupError> {
        self.transaction(txid, block)
    }

    fn unspent(&self, coin: OutPoint, mempool: Mempool) -> Result<Option<Unspent>, LookupError> {
        self.unspent(coin, mempool)
    }

    fn waiting_spender(&self, coin: OutPoint) -> Result<Option<Txid>, LookupError> {
        self.waiting_spender(coin)
    }
}
