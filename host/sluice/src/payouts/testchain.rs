//! A chain for tests: blocks and a mempool in a vector, with the answers that a node would give.

use std::cell::Cell;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{
    Address, Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction,
    TxIn, TxMerkleNode, TxOut, Txid, Witness, transaction,
};
use sluice_core::coinbase::parse_address;
use sluice_node::{BlockPlace, FoundTransaction, LookupError, Mempool, Unspent};

use super::chain::Chain;

/// When chains begin, in seconds.
pub(crate) const START: u32 = 1_700_000_000;
/// Between two blocks.
pub(crate) const SPACING: u32 = 600;

pub(crate) struct TestChain {
    /// The time of the first block, in seconds.
    start: u32,
    blocks: Vec<Block>,
    pub(crate) mempool: Vec<Transaction>,
    /// Whether transactions in blocks are found by their id alone.
    pub(crate) index: bool,
    /// Whole blocks that were asked for.
    pub(crate) read: Cell<u32>,
}

pub(crate) fn output(script: &ScriptBuf, sats: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sats), script_pubkey: script.clone() }
}

/// An address of regtest that says which it is.
pub(crate) fn address(number: u8) -> Address {
    let program = bitcoin::WitnessProgram::new(bitcoin::WitnessVersion::V0, &[number; 20]).unwrap();
    parse_address(&Address::from_witness_program(program, Network::Regtest).to_string(), Network::Regtest)
        .unwrap()
}

pub(crate) fn script(number: u8) -> ScriptBuf {
    address(number).script_pubkey()
}

pub(crate) fn spending(coins: &[OutPoint], outputs: Vec<TxOut>) -> Transaction {
    let input = |coin: &OutPoint| TxIn {
        previous_output: *coin,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(input).collect(),
        output: outputs,
    }
}

impl TestChain {
    /// One block that pays nobody here.
    pub(crate) fn new() -> Self {
        Self::starting(START)
    }

    /// The same, at another time.
    pub(crate) fn starting(start: u32) -> Self {
        let mut chain =
            Self { start, blocks: Vec::new(), mempool: Vec::new(), index: false, read: Cell::new(0) };
        chain.mine(vec![output(&ScriptBuf::new(), 1)], vec![]);
        chain
    }

    /// The last blocks leave the chain.
    pub(crate) fn lose(&mut self, blocks: usize) {
        self.blocks.truncate(self.blocks.len() - blocks);
    }

    /// A block whose coinbase pays `outputs`; its coinbase's id.
    pub(crate) fn mine(&mut self, outputs: Vec<TxOut>, transactions: Vec<Transaction>) -> Txid {
        let height = u32::try_from(self.blocks.len()).unwrap();
        let mut coinbase = spending(&[OutPoint::null()], outputs);
        coinbase.input[0].script_sig = ScriptBuf::from_bytes(height.to_le_bytes().to_vec());
        let txid = coinbase.compute_txid();
        let header = Header {
            version: Version::TWO,
            prev_blockhash: self.blocks.last().map_or(BlockHash::all_zeros(), Block::block_hash),
            merkle_root: TxMerkleNode::from_raw_hash(txid.to_raw_hash()),
            time: self.start + height * SPACING,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let txdata = std::iter::once(coinbase).chain(transactions).collect();
        self.blocks.push(Block { header, txdata });
        txid
    }

    pub(crate) fn mine_empty(&mut self, count: u32) {
        for _ in 0..count {
            self.mine(vec![output(&ScriptBuf::new(), 1)], vec![]);
        }
    }

    pub(crate) fn tip_hash(&self) -> BlockHash {
        self.blocks.last().unwrap().block_hash()
    }

    pub(crate) fn height(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap() - 1
    }

    /// The last block never was.
    pub(crate) fn lose_tip(&mut self) {
        self.blocks.pop();
    }

    fn position(&self, hash: BlockHash) -> Option<usize> {
        self.blocks.iter().position(|block| block.block_hash() == hash)
    }
}

type Answer<T> = Result<T, LookupError>;

impl Chain for TestChain {
    fn tip(&self) -> Answer<BlockPlace> {
        Ok(self.block_place(self.tip_hash())?.unwrap())
    }

    fn block_hash(&self, height: u32) -> Answer<Option<BlockHash>> {
        Ok(self.blocks.get(height as usize).map(Block::block_hash))
    }

    fn block_place(&self, hash: BlockHash) -> Answer<Option<BlockPlace>> {
        let Some(position) = self.position(hash) else { return Ok(None) };
        Ok(Some(BlockPlace {
            hash,
            height: u32::try_from(position).unwrap(),
            confirmations: Some(u32::try_from(self.blocks.len() - position).unwrap()),
        }))
    }

    fn block_txids(&self, hash: BlockHash) -> Answer<Option<Vec<Txid>>> {
        let txids = |block: &Block| block.txdata.iter().map(Transaction::compute_txid).collect();
        Ok(self.position(hash).map(|position| txids(&self.blocks[position])))
    }

    fn block(&self, hash: BlockHash) -> Answer<Option<Block>> {
        self.read.set(self.read.get() + 1);
        Ok(self.position(hash).map(|position| self.blocks[position].clone()))
    }

    fn transaction(&self, txid: Txid, block: Option<BlockHash>) -> Answer<Option<FoundTransaction>> {
        let found =
            |transaction: &Transaction, block| FoundTransaction { transaction: transaction.clone(), block };
        let mut waiting = self.mempool.iter().filter(|_| block.is_none());
        if let Some(transaction) = waiting.find(|transaction| transaction.compute_txid() == txid) {
            return Ok(Some(found(transaction, None)));
        }
        for candidate in &self.blocks {
            let hash = candidate.block_hash();
            if block.map_or(self.index, |block| block == hash)
                && let Some(transaction) = candidate.txdata.iter().find(|it| it.compute_txid() == txid)
            {
                return Ok(Some(found(transaction, Some(hash))));
            }
        }
        Ok(None)
    }

    fn unspent(&self, coin: OutPoint, mempool: Mempool) -> Answer<Option<Unspent>> {
        let spends =
            |transaction: &Transaction| transaction.input.iter().any(|it| it.previous_output == coin);
        let in_blocks = self.blocks.iter().flat_map(|block| &block.txdata).any(spends);
        let waiting = mempool == Mempool::Counts && self.mempool.iter().any(spends);
        if in_blocks || waiting {
            return Ok(None);
        }
        for (height, block) in self.blocks.iter().enumerate() {
            for (position, transaction) in block.txdata.iter().enumerate() {
                if transaction.compute_txid() == coin.txid {
                    let output = &transaction.output[coin.vout as usize];
                    return Ok(Some(Unspent {
                        amount: output.value,
                        script: output.script_pubkey.clone(),
                        confirmations: u32::try_from(self.blocks.len() - height).unwrap(),
                        coinbase: position == 0,
                        tip: self.tip_hash(),
                    }));
                }
            }
        }
        Ok(None)
    }

    fn waiting_spender(&self, coin: OutPoint) -> Answer<Option<Txid>> {
        let spends = |it: &&Transaction| it.input.iter().any(|input| input.previous_output == coin);
        Ok(self.mempool.iter().find(spends).map(Transaction::compute_txid))
    }
}
