//! Work as an SV2 miner sees it: a job of a channel, the header that follows from it, the search for a hash.

use anyhow::{Context, Result};
use bitcoin::{ScriptBuf, Transaction, consensus};

use crate::ledger::ShareKey;
use crate::share::{self, difficulty_of, find_nonce, key_of, network_difficulty};

/// What the merkle root follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// NewMiningJob says it (M-31).
    Root([u8; 32]),
    /// NewExtendedMiningJob: without the BIP141 parts (M-32, M-38).
    Coinbase { prefix: Vec<u8>, suffix: Vec<u8>, path: Vec<[u8; 32]> },
}

/// A job that is active on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub channel: u32,
    pub id: u32,
    pub version: u32,
    /// As in the header.
    pub previous: [u8; 32],
    pub bits: u32,
    pub ntime: u32,
    /// Little-endian. The one that held when the job became active (M-51).
    pub target: [u8; 32],
    pub content: Content,
    /// The pool's part of the extranonce; of a standard channel all of it (M-18).
    pub extranonce_prefix: Vec<u8>,
}

impl Job {
    /// Whether a hash meets the target (M-77).
    pub fn is_share(&self, hash: &[u8; 32]) -> bool {
        hash.iter().rev().le(self.target.iter().rev())
    }

    pub fn is_block(&self, hash: &[u8; 32]) -> bool {
        difficulty_of(hash) >= network_difficulty(self.bits)
    }

    /// A share that is no block.
    pub fn is_only_share(&self, hash: &[u8; 32]) -> bool {
        self.is_share(hash) && !self.is_block(hash)
    }

    /// The coinbase with the miner's part of the extranonce; `None` where only its root is known.
    pub fn coinbase(&self, extranonce: &[u8]) -> Option<Vec<u8>> {
        let Content::Coinbase { prefix, suffix, .. } = &self.content else { return None };
        Some([prefix, self.extranonce_prefix.as_slice(), extranonce, suffix].concat())
    }

    /// What the block would pay.
    ///
    /// # Errors
    /// Not an extended job, or not a transaction.
    pub fn outputs(&self, extranonce_size: usize) -> Result<Vec<(ScriptBuf, u64)>> {
        let bytes = self.coinbase(&vec![0; extranonce_size]).context("only the root is known")?;
        let coinbase: Transaction = consensus::deserialize(&bytes)?;
        Ok(coinbase.output.into_iter().map(|output| (output.script_pubkey, output.value.to_sat())).collect())
    }

    fn root(&self, extranonce: &[u8]) -> [u8; 32] {
        match (&self.content, self.coinbase(extranonce)) {
            (Content::Coinbase { path, .. }, Some(coinbase)) => share::merkle_root(&coinbase, path),
            (Content::Coinbase { .. }, None) => [0; 32],
            (Content::Root(root), _) => *root,
        }
    }
}

/// What to search for, beginning at a nonce.
#[derive(Clone, Debug)]
pub struct Search {
    /// The miner's part; empty on a standard channel.
    pub extranonce: Vec<u8>,
    pub ntime: u32,
    /// The whole version field (M-76).
    pub version: u32,
    pub first_nonce: u32,
}

impl Search {
    /// The first nonce whose hash `wanted` likes; `None` if there is none to the end.
    pub fn find(&self, job: &Job, wanted: impl Fn(&[u8; 32]) -> bool) -> Option<Share> {
        let root = job.root(&self.extranonce);
        let head = share::header(self.version, &job.previous, &root, self.ntime, job.bits);
        let (nonce, hash) = find_nonce(&head, self.first_nonce, wanted)?;
        Some(Share {
            channel: job.channel,
            job: job.id,
            extranonce: self.extranonce.clone(),
            ntime: self.ntime,
            nonce,
            version: self.version,
            hash,
        })
    }
}

/// A solution as it is submitted, and the hash it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub channel: u32,
    pub job: u32,
    pub extranonce: Vec<u8>,
    pub ntime: u32,
    pub nonce: u32,
    pub version: u32,
    /// In internal order: the last bytes are the zeros.
    pub hash: [u8; 32],
}

impl Share {
    /// What the ledger keeps of it.
    pub fn key(&self) -> ShareKey {
        key_of(&self.hash)
    }
}
