//! Work made of a template: what every miner of one coinbase is sent, and what a share is hashed against.

use std::sync::Arc;

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Target, TxMerkleNode, TxOut, Txid, VarInt, consensus};

use crate::coinbase::{Coinbase, CoinbaseError, Payment, PoolMark};
use crate::ids::{AccountName, JobId};
use crate::merkle::{self, Node};
use crate::sha::{self, Block, State};
use crate::share::FoundBlock;
use crate::template::Template;
use crate::units::{Difficulty, Moment, Now, VersionMask};

/// Number of a tip within the process; grows with every new previous block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TipNumber(pub u64);

/// A template with what all its jobs share.
#[derive(Debug)]
pub struct Work {
    pub template: Arc<Template>,
    pub tip: TipNumber,
    /// When this tip's first template arrived.
    pub tip_since: Moment,
    pub branch: Arc<[Node]>,
    pub target: Target,
    /// The template's: the most a share is credited with.
    pub network_difficulty: Difficulty,
    /// The block version with the bits that miners may roll cleared (V1-75).
    pub version: u32,
    pub rollable: VersionMask,
}

impl Work {
    pub fn new(
        template: Arc<Template>,
        (tip, tip_since): (TipNumber, Moment),
        rollable: VersionMask,
    ) -> Self {
        let others: Vec<Txid> = template.transactions.iter().map(|transaction| transaction.txid).collect();
        let version = u32::from_ne_bytes(template.version.to_ne_bytes()) & !rollable.0;
        Self {
            tip,
            tip_since,
            branch: merkle::branch(&others).into(),
            target: template.target(),
            network_difficulty: template.network_difficulty(),
            version,
            rollable,
            template,
        }
    }
}

/// One notify's worth of work. The nonce in its coinbase makes it unlike every other job (V1-52).
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub work: Arc<Work>,
    pub coinbase: Coinbase,
    /// What the coinbase pays, for the ledger.
    pub payments: Arc<[Payment]>,
    /// Header time as sent, in seconds.
    pub ntime: u32,
    pub made: Moment,
    /// The one account that this coinbase is for, where the split depends on the finder.
    pub owner: Option<AccountName>,
    hasher: CoinbaseHasher,
}

/// A share's header fields, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Solution<'a> {
    /// Both parts, exactly as long as the job's coinbase says.
    pub extranonce: &'a [u8],
    pub version: u32,
    pub ntime: u32,
    pub nonce: u32,
}

impl Job {
    /// # Errors
    /// The payments do not come to the template's coinbase value, or the script is too long.
    pub fn new(
        (id, nonce): (JobId, u64),
        work: Arc<Work>,
        payments: Arc<[Payment]>,
        mark: &PoolMark,
        now: Now,
    ) -> Result<Self, CoinbaseError> {
        let template = &work.template;
        let outputs: Vec<TxOut> = payments
            .iter()
            .map(|payment| TxOut { value: payment.amount, script_pubkey: payment.address.script_pubkey() })
            .collect();
        let money = (template.coinbase_value, template.witness_commitment.as_deref());
        let coinbase = Coinbase::new(template.height, nonce, mark, &outputs, money)?;
        let hasher = CoinbaseHasher::new(&coinbase);
        let ntime = now.wall.seconds().max(template.min_time);
        Ok(Self { id, coinbase, payments, ntime, made: now.moment, owner: None, hasher, work })
    }

    /// A job of a coinbase that is one account's own.
    #[must_use]
    pub fn owned_by(self, owner: Option<AccountName>) -> Self {
        Self { owner, ..self }
    }

    /// The header of a solution.
    pub fn header(&self, solution: Solution<'_>) -> [u8; 80] {
        self.header_of(&self.root(solution.extranonce), solution)
    }

    /// The merkle root of an extranonce, in internal order.
    pub fn root(&self, extranonce: &[u8]) -> Node {
        merkle::root(self.hasher.hash(extranonce), &self.work.branch)
    }

    /// The header of a solution whose merkle root is known.
    pub fn header_of(&self, root: &Node, solution: Solution<'_>) -> [u8; 80] {
        let mut header = [0; 80];
        header[..4].copy_from_slice(&solution.version.to_le_bytes());
        header[4..36].copy_from_slice(self.work.template.previous.as_byte_array());
        header[36..68].copy_from_slice(root);
        header[68..72].copy_from_slice(&solution.ntime.to_le_bytes());
        header[72..76].copy_from_slice(&self.work.template.bits.to_consensus().to_le_bytes());
        header[76..].copy_from_slice(&solution.nonce.to_le_bytes());
        header
    }

    /// The block a solution makes, serialised with all transactions.
    pub fn block(&self, header: &[u8; 80], extranonce: &[u8]) -> FoundBlock {
        let transactions = &self.work.template.transactions;
        let mut block = header.to_vec();
        let count = VarInt(u64::try_from(transactions.len()).unwrap_or(u64::MAX).saturating_add(1));
        block.extend(consensus::serialize(&count));
        block.extend(self.coinbase.for_block(extranonce));
        for transaction in transactions.iter() {
            block.extend_from_slice(&transaction.data);
        }
        FoundBlock {
            hash: BlockHash::from_byte_array(sha::double_header(header)),
            height: self.work.template.height,
            block,
            template: self.work.template.id,
        }
    }
}

/// Reads a header back, for logs and tests.
pub fn read_header(bytes: &[u8; 80]) -> Header {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let node = |at: usize| {
        let mut node = [0; 32];
        node.copy_from_slice(&bytes[at..at + 32]);
        node
    };
    Header {
        version: Version::from_consensus(i32::from_ne_bytes(word(0).to_ne_bytes())),
        prev_blockhash: BlockHash::from_byte_array(node(4)),
        merkle_root: TxMerkleNode::from_byte_array(node(36)),
        time: word(68),
        bits: CompactTarget::from_consensus(word(72)),
        nonce: word(76),
    }
}

/// The coinbase with everything hashed and padded that does not depend on the extranonce.
#[derive(Debug)]
struct CoinbaseHasher {
    before: State,
    /// The rest, padded; the extranonce's place is zero.
    blocks: Vec<Block>,
    /// Where the extranonce begins in `blocks`.
    offset: usize,
    length: usize,
}

/// Blocks that an extranonce may touch: 63 bytes in, at most [`crate::coinbase::EXTRANONCE_LIMIT`] long.
const TOUCHED: usize = 2;

impl CoinbaseHasher {
    fn new(coinbase: &Coinbase) -> Self {
        let whole = coinbase.prefix.len() / 64;
        let (head, tail) = coinbase.prefix.split_at(whole * 64);
        let head = sha::padded(head, head.len());
        let length = coinbase.extranonce_length;
        let rest = [tail, &vec![0; length], &coinbase.suffix].concat();
        Self {
            before: sha::midstate(&head[..whole]),
            blocks: sha::padded(&rest, coinbase.len()),
            offset: tail.len(),
            length,
        }
    }

    /// The txid in internal order. An extranonce of another length is cut or zero-padded: callers check before.
    fn hash(&self, extranonce: &[u8]) -> Node {
        let mut touched = [[0; 64]; TOUCHED];
        let count = self.blocks.len().min(TOUCHED);
        touched[..count].copy_from_slice(&self.blocks[..count]);
        let place = &mut touched.as_flattened_mut()[self.offset..self.offset + self.length];
        for (to, from) in place.iter_mut().zip(extranonce) {
            *to = *from;
        }
        let mut state = self.before;
        sha::absorb(&mut state, &touched[..count]);
        sha::finish_double(state, &self.blocks[count..])
    }
}

#[cfg(test)]
mod tests;
