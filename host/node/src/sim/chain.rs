//! The rules of the simulated chain. Pure: time is an argument.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sluice_core::bitcoin::block::{Header, Version};
use sluice_core::bitcoin::hashes::{Hash, HashEngine, sha256d};
use sluice_core::bitcoin::script::Builder;
use sluice_core::bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, Target, Transaction, TxMerkleNode, Weight, Wtxid,
    consensus,
};
use sluice_core::template::{Template, TemplateTransaction, subsidy};
use sluice_core::units::Timestamp;

use super::{SimConfig, TRANSACTIONS_LIMIT, transactions};
use crate::place::Place;

/// Blocks kept; older ones are forgotten.
const BLOCKS_LIMIT: u32 = 4096;
/// The version of templates, and of the others' blocks.
const VERSION: i32 = 0x2000_0000;
/// How far ahead of the clock a header may be, in seconds.
const FUTURE_LIMIT: u32 = 7200;
/// What the witness commitment's output starts with (BIP141).
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Who found a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there from the start, or the others found it.
    Others,
    /// It was submitted.
    Submitted { coinbase: Arc<Transaction>, transactions: usize },
}

/// A block of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimBlock {
    pub hash: BlockHash,
    pub height: u32,
    pub header: Header,
    pub origin: Origin,
}

/// The chain: blocks by hash, side chains included, and the active one by height.
pub struct Chain {
    network: Network,
    bits: CompactTarget,
    seed: u64,
    transactions: usize,
    /// Counts templates, so that each has its own transactions; counts the others' blocks, so that they differ.
    round: u32,
    known: HashMap<BlockHash, SimBlock>,
    active: BTreeMap<u32, BlockHash>,
    tip: SimBlock,
}

impl Chain {
    /// A chain whose tip is at `config.start_height`, found a minute before `now`.
    pub fn new(config: &SimConfig, now: Timestamp) -> Self {
        let bits = config.difficulty.bits();
        let previous = BlockHash::from_raw_hash(sha256d::Hash::hash(&config.seed.to_le_bytes()));
        let header = others_header(previous, bits, now.seconds().saturating_sub(60), 0);
        let tip = SimBlock {
            hash: header.block_hash(),
            height: config.start_height,
            header,
            origin: Origin::Others,
        };
        Self {
            network: config.network,
            bits,
            seed: config.seed,
            transactions: config.transactions.min(TRANSACTIONS_LIMIT),
            round: 0,
            known: HashMap::from([(tip.hash, tip.clone())]),
            active: BTreeMap::from([(tip.height, tip.hash)]),
            tip,
        }
    }

    pub const fn tip(&self) -> &SimBlock {
        &self.tip
    }

    /// The active chain, oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = &SimBlock> {
        self.active.values().filter_map(|hash| self.known.get(hash))
    }

    pub fn block_at(&self, height: u32) -> Option<&SimBlock> {
        self.active.get(&height).and_then(|hash| self.known.get(hash))
    }

    /// The next template on the tip. Each has other transactions.
    pub fn template(&mut self, now: Timestamp) -> Template {
        self.round = self.round.wrapping_add(1);
        let height = self.tip.height + 1;
        let transactions = transactions::transactions(self.seed, height, self.round, self.transactions);
        let fees: Amount =
            transactions.iter().map(|transaction| transactions::fee(transaction.compute_txid())).sum();
        let root = witness_root(transactions.iter().map(Transaction::compute_wtxid));
        let commitment = [&COMMITMENT[..], &commitment_hash(root, &[0; 32])].concat();
        let min_time = self.median_time(self.tip.hash) + 1;
        Template {
            id: crate::template::next_id(),
            network: self.network,
            height,
            previous: self.tip.hash,
            version: VERSION,
            bits: self.bits,
            min_time,
            cur_time: now.seconds().max(min_time),
            coinbase_value: subsidy(self.network, height) + fees,
            subsidy: subsidy(self.network, height),
            witness_commitment: Some(commitment),
            transactions: transactions.iter().map(listed).collect(),
            received: now,
        }
    }

    /// The result of `submitblock`: `None` if the block is the new tip, else a word of Core's.
    pub fn submit(&mut self, bytes: &[u8], now: Timestamp) -> Option<&'static str> {
        let Ok(block) = consensus::deserialize::<Block>(bytes) else { return Some("Block decode failed") };
        let hash = block.block_hash();
        if let Some(known) = self.known.get(&hash) {
            let active = self.active.get(&known.height) == Some(&hash);
            return Some(if active { "duplicate" } else { "duplicate-inconclusive" });
        }
        let height = match self.check(&block, now) {
            Ok(height) => height,
            Err(reason) => return Some(reason),
        };
        let coinbase = Arc::new(block.txdata[0].clone());
        let origin = Origin::Submitted { coinbase, transactions: block.txdata.len() };
        self.connect(SimBlock { hash, height, header: block.header, origin });
        if self.tip.hash == hash { None } else { Some("inconclusive") }
    }

    /// Where a block of `height` is. One that was forgotten is not told apart from one that never was.
    pub fn place(&self, hash: BlockHash, height: u32) -> Place {
        let confirmations = self.tip.height.saturating_sub(height) + 1;
        match self.active.get(&height) {
            Some(active) if *active == hash => Place::InChain { confirmations },
            Some(_) => Place::Aside { confirmations },
            None => Place::Beyond,
        }
    }

    /// Others find a block on the tip.
    pub fn force_block(&mut self, now: Timestamp) -> SimBlock {
        self.extend(self.tip.hash, now)
    }

    /// The last `depth` blocks are replaced by `depth + 1` others; no further back than the first block kept.
    pub fn reorg(&mut self, depth: u32, now: Timestamp) -> SimBlock {
        let first = self.active.keys().next().copied().unwrap_or(self.tip.height);
        let fork = self.tip.height.saturating_sub(depth).max(first);
        let depth = self.tip.height - fork;
        let mut base = self.active.get(&fork).copied().unwrap_or(self.tip.hash);
        for _ in 0..=depth {
            base = self.extend(base, now).hash;
        }
        self.tip.clone()
    }

    fn extend(&mut self, base: BlockHash, now: Timestamp) -> SimBlock {
        self.round = self.round.wrapping_add(1);
        let height = self.known.get(&base).map_or(self.tip.height, |block| block.height) + 1;
        let time = now.seconds().max(self.median_time(base) + 1);
        let header = others_header(base, self.bits, time, self.round);
        let block = SimBlock { hash: header.block_hash(), height, header, origin: Origin::Others };
        self.connect(block.clone());
        block
    }

    /// Keeps the block; it becomes the tip if it has the most work, the first seen if two are equal.
    fn connect(&mut self, block: SimBlock) {
        self.known.insert(block.hash, block.clone());
        if block.height <= self.tip.height {
            return;
        }
        self.tip = block;
        let mut walk = Some(self.tip.clone());
        while let Some(block) = walk {
            if self.active.insert(block.height, block.hash) == Some(block.hash) {
                break;
            }
            walk = self.known.get(&block.header.prev_blockhash).cloned();
        }
        self.forget();
    }

    fn forget(&mut self) {
        let Some(oldest) = self.tip.height.checked_sub(BLOCKS_LIMIT) else { return };
        if self.active.first_key_value().is_some_and(|(height, _)| *height <= oldest) {
            self.active.retain(|height, _| *height > oldest);
            self.known.retain(|_, block| block.height > oldest);
        }
    }

    /// The median of the last eleven times up to `tip`.
    fn median_time(&self, tip: BlockHash) -> u32 {
        let back = |block: &&SimBlock| self.known.get(&block.header.prev_blockhash);
        let mut times: Vec<u32> = std::iter::successors(self.known.get(&tip), back)
            .take(11)
            .map(|block| block.header.time)
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }

    /// The block's height, or Core's word for the first thing that is wrong, in Core's order.
    fn check(&self, block: &Block, now: Timestamp) -> Result<u32, &'static str> {
        check_alone(block)?;
        let Some(parent) = self.known.get(&block.header.prev_blockhash) else {
            return Err("prev-blk-not-found");
        };
        let height = parent.height + 1;
        self.check_header(&block.header, now)?;
        check_placed(block, height)?;
        self.check_money(block, height)?;
        Ok(height)
    }

    /// Core: `ContextualCheckBlockHeader`.
    fn check_header(&self, header: &Header, now: Timestamp) -> Result<(), &'static str> {
        if header.bits != self.bits {
            return Err("bad-diffbits");
        }
        if header.time <= self.median_time(header.prev_blockhash) {
            return Err("time-too-old");
        }
        if header.time > now.seconds().saturating_add(FUTURE_LIMIT) {
            return Err("time-too-new");
        }
        if header.version.to_consensus() < 4 {
            return Err("bad-version");
        }
        Ok(())
    }

    /// Core: `ConnectBlock`. Here it is asked of side chains too.
    fn check_money(&self, block: &Block, height: u32) -> Result<(), &'static str> {
        let others = &block.txdata[1..];
        if !others.iter().all(|transaction| transactions::coins_exist(self.seed, transaction)) {
            return Err("bad-txns-inputs-missingorspent");
        }
        let fees: Amount =
            others.iter().map(|transaction| transactions::fee(transaction.compute_txid())).sum();
        let allowed = subsidy(self.network, height) + fees;
        let paid = block.txdata[0]
            .output
            .iter()
            .try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value))
            .ok_or("bad-txns-txouttotal-toolarge")?;
        if paid > allowed { Err("bad-cb-amount") } else { Ok(()) }
    }
}

/// What needs no other block (Core: `CheckBlock`).
fn check_alone(block: &Block) -> Result<(), &'static str> {
    // Proof of work against the block's own bits; whether these are right comes later.
    let target = Target::from_compact(block.header.bits);
    if target == Target::ZERO || !target.is_met_by(block.block_hash()) {
        return Err("high-hash");
    }
    if block.compute_merkle_root() != Some(block.header.merkle_root) {
        return Err("bad-txnmrklroot");
    }
    let mut seen = HashSet::new();
    if !block.txdata.iter().all(|transaction| seen.insert(transaction.compute_txid())) {
        return Err("bad-txns-duplicate");
    }
    let Some(coinbase) = block.txdata.first().filter(|first| first.is_coinbase()) else {
        return Err("bad-cb-missing");
    };
    if block.txdata[1..].iter().any(Transaction::is_coinbase) {
        return Err("bad-cb-multiple");
    }
    if !(2..=100).contains(&coinbase.input[0].script_sig.len()) {
        return Err("bad-cb-length");
    }
    Ok(())
}

/// What the height and the witnesses decide (Core: `ContextualCheckBlock`).
fn check_placed(block: &Block, height: u32) -> Result<(), &'static str> {
    let expected = Builder::new().push_int(i64::from(height)).into_script();
    if !block.txdata[0].input[0].script_sig.as_bytes().starts_with(expected.as_bytes()) {
        return Err("bad-cb-height");
    }
    check_witness(block)?;
    if block.weight() > Weight::MAX_BLOCK { Err("bad-blk-weight") } else { Ok(()) }
}

/// BIP141: the last output that looks like a commitment counts.
fn check_witness(block: &Block) -> Result<(), &'static str> {
    let coinbase = &block.txdata[0];
    let committed = coinbase.output.iter().rev().find_map(|output| {
        output.script_pubkey.as_bytes().strip_prefix(&COMMITMENT).and_then(|rest| rest.get(..32))
    });
    let Some(committed) = committed else {
        let witness =
            |transaction: &Transaction| transaction.input.iter().any(|input| !input.witness.is_empty());
        return if block.txdata.iter().any(witness) { Err("unexpected-witness") } else { Ok(()) };
    };
    let witness = &coinbase.input[0].witness;
    let Some(nonce) = witness.nth(0).filter(|nonce| witness.len() == 1 && nonce.len() == 32) else {
        return Err("bad-witness-nonce-size");
    };
    let root = witness_root(block.txdata[1..].iter().map(Transaction::compute_wtxid));
    if commitment_hash(root, nonce) == committed { Ok(()) } else { Err("bad-witness-merkle-match") }
}

/// The coinbase counts as zero (BIP141).
fn witness_root(others: impl Iterator<Item = Wtxid>) -> [u8; 32] {
    let mut hashes: Vec<[u8; 32]> =
        std::iter::once([0; 32]).chain(others.map(|id| id.to_byte_array())).collect();
    while hashes.len() > 1 {
        hashes = hashes.chunks(2).map(|pair| double(&pair[0], pair.last().unwrap_or(&pair[0]))).collect();
    }
    hashes[0]
}

fn commitment_hash(root: [u8; 32], nonce: &[u8]) -> [u8; 32] {
    double(&root, nonce)
}

fn double(left: &[u8], right: &[u8]) -> [u8; 32] {
    let mut engine = sha256d::Hash::engine();
    engine.input(left);
    engine.input(right);
    sha256d::Hash::from_engine(engine).to_byte_array()
}

fn listed(transaction: &Transaction) -> TemplateTransaction {
    TemplateTransaction {
        data: consensus::serialize(transaction),
        txid: transaction.compute_txid(),
        wtxid: transaction.compute_wtxid(),
    }
}

/// The others' proof of work is taken on trust: at a real difficulty nobody here could do it.
fn others_header(previous: BlockHash, bits: CompactTarget, time: u32, number: u32) -> Header {
    let root = sha256d::Hash::hash(&[&previous.to_byte_array()[..], &number.to_le_bytes()].concat());
    Header {
        version: Version::from_consensus(VERSION),
        prev_blockhash: previous,
        merkle_root: TxMerkleNode::from_raw_hash(root),
        time,
        bits,
        nonce: number,
    }
}
