//! Work as a miner sees it: a notify, the header that follows from it, and the search for a hash.

use anyhow::{Context, Result};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{Transaction, consensus};
use serde_json::Value;

use crate::ledger::ShareKey;

/// The parameters of one `mining.notify` (V1-49), with the difficulty in force when it came.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
    /// As in the header.
    pub previous: [u8; 32],
    pub coinbase: (Vec<u8>, Vec<u8>),
    pub branch: Vec<[u8; 32]>,
    pub version: u32,
    pub bits: u32,
    pub ntime: u32,
    pub clean: bool,
    pub difficulty: f64,
}

impl Job {
    /// # Errors
    /// The parameters are not those of V1-49.
    pub fn parse(params: &Value, difficulty: f64) -> Result<Self> {
        let text =
            |index: usize| params[index].as_str().with_context(|| format!("parameter {index} of {params}"));
        let word = |index: usize| Ok::<_, anyhow::Error>(u32::from_str_radix(text(index)?, 16)?);
        let branch = params[4].as_array().context("no merkle branch")?.iter();
        Ok(Self {
            id: text(0)?.to_owned(),
            previous: swap_words(&hex::decode(text(1)?)?)?,
            coinbase: (hex::decode(text(2)?)?, hex::decode(text(3)?)?),
            branch: branch.map(node).collect::<Result<_>>()?,
            version: word(5)?,
            bits: word(6)?,
            ntime: word(7)?,
            clean: params[8].as_bool().context("clean_jobs is no boolean")?,
            difficulty,
        })
    }

    /// The coinbase with both parts of the extranonce in it.
    pub fn coinbase(&self, extranonce1: &[u8], extranonce2: &[u8]) -> Vec<u8> {
        [&self.coinbase.0, extranonce1, extranonce2, &self.coinbase.1].concat()
    }

    /// What the block would pay, as a miner can read it in its job.
    ///
    /// # Errors
    /// The halves do not make a transaction.
    pub fn outputs(
        &self,
        extranonce1: &[u8],
        extranonce2_size: usize,
    ) -> Result<Vec<(bitcoin::ScriptBuf, u64)>> {
        let bytes = self.coinbase(extranonce1, &vec![0; extranonce2_size]);
        let coinbase: Transaction = consensus::deserialize(&bytes)?;
        Ok(coinbase.output.into_iter().map(|output| (output.script_pubkey, output.value.to_sat())).collect())
    }

    /// The header without its nonce, of the rolled `bits`.
    pub fn header(&self, (extranonce1, extranonce2): (&[u8], &[u8]), ntime: u32, bits: u32) -> [u8; 76] {
        let root = merkle_root(&self.coinbase(extranonce1, extranonce2), &self.branch);
        header(self.version | bits, &self.previous, &root, ntime, self.bits)
    }
}

/// The root that a coinbase comes to.
pub fn merkle_root(coinbase: &[u8], branch: &[[u8; 32]]) -> [u8; 32] {
    branch.iter().fold(double(coinbase), |root, node| double(&[root, *node].concat()))
}

/// A header without its nonce.
pub fn header(version: u32, previous: &[u8; 32], root: &[u8; 32], ntime: u32, bits: u32) -> [u8; 76] {
    let mut header = [0; 76];
    header[..4].copy_from_slice(&version.to_le_bytes());
    header[4..36].copy_from_slice(previous);
    header[36..68].copy_from_slice(root);
    header[68..72].copy_from_slice(&ntime.to_le_bytes());
    header[72..].copy_from_slice(&bits.to_le_bytes());
    header
}

/// The first nonce from `first` on whose hash `wanted` likes, and that hash; `None` if there is none to the end.
pub fn find_nonce(
    head: &[u8; 76],
    first: u32,
    wanted: impl Fn(&[u8; 32]) -> bool,
) -> Option<(u32, [u8; 32])> {
    let mut header = [0; 80];
    header[..76].copy_from_slice(head);
    (first..=u32::MAX).find_map(|nonce| {
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        let hash = double(&header);
        wanted(&hash).then_some((nonce, hash))
    })
}

/// Eight words with their bytes reversed (V1-50).
fn swap_words(bytes: &[u8]) -> Result<[u8; 32]> {
    let mut out = <[u8; 32]>::try_from(bytes).context("prevhash is not 32 bytes")?;
    out.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    Ok(out)
}

fn node(value: &Value) -> Result<[u8; 32]> {
    let bytes = hex::decode(value.as_str().context("a branch node that is no text")?)?;
    <[u8; 32]>::try_from(bytes.as_slice()).context("a branch node that is not 32 bytes")
}

fn double(bytes: &[u8]) -> [u8; 32] {
    sha256d::Hash::hash(bytes).to_byte_array()
}

/// A solution as it is submitted, and the hash it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub job: String,
    pub extranonce2: Vec<u8>,
    pub ntime: u32,
    pub nonce: u32,
    /// The sixth parameter of a submit; `None` leaves it out.
    pub version_bits: Option<u32>,
    /// In internal order: the last bytes are the zeros.
    pub hash: [u8; 32],
}

impl Share {
    /// What the ledger keeps of it.
    pub fn key(&self) -> ShareKey {
        key_of(&self.hash)
    }

    /// The parameters of `mining.submit` (V1-67).
    pub fn params(&self, user: &str) -> Value {
        let mut params = vec![
            Value::from(user),
            Value::from(self.job.as_str()),
            Value::from(hex::encode(&self.extranonce2)),
            Value::from(format!("{:08x}", self.ntime)),
            Value::from(format!("{:08x}", self.nonce)),
        ];
        params.extend(self.version_bits.map(|bits| Value::from(format!("{bits:08x}"))));
        Value::from(params)
    }
}

/// What to search for, beginning at a nonce.
#[derive(Clone, Debug)]
pub struct Search {
    pub extranonce1: Vec<u8>,
    pub extranonce2: Vec<u8>,
    pub ntime: u32,
    pub version_bits: Option<u32>,
    pub first_nonce: u32,
}

impl Search {
    /// The first nonce whose hash `wanted` likes; `None` if there is none to the end.
    pub fn find(&self, job: &Job, wanted: impl Fn(&[u8; 32]) -> bool) -> Option<Share> {
        let extranonce = (self.extranonce1.as_slice(), self.extranonce2.as_slice());
        let head = job.header(extranonce, self.ntime, self.version_bits.unwrap_or(0));
        let (nonce, hash) = find_nonce(&head, self.first_nonce, wanted)?;
        Some(Share {
            job: job.id.clone(),
            extranonce2: self.extranonce2.clone(),
            ntime: self.ntime,
            nonce,
            version_bits: self.version_bits,
            hash,
        })
    }
}

/// What the ledger keeps of a hash.
pub fn key_of(hash: &[u8; 32]) -> ShareKey {
    let mut key = ShareKey::default();
    key.copy_from_slice(&hash[..16]);
    key
}

/// The difficulty that a hash just meets: `0xffff * 2^208` over its value.
pub fn difficulty_of(hash: &[u8; 32]) -> f64 {
    let value = hash.iter().rev().fold(0.0f64, |sum, byte| sum.mul_add(256.0, f64::from(*byte)));
    65_535.0 * 2f64.powi(208) / value
}

/// The difficulty of a header's `bits`.
pub fn network_difficulty(bits: u32) -> f64 {
    let mantissa = f64::from(bits & 0x00ff_ffff);
    let exponent = i32::try_from(bits >> 24).unwrap_or(0) - 3;
    65_535.0 * 2f64.powi(208) / (mantissa * 2f64.powi(8 * exponent))
}

#[cfg(test)]
mod tests {
    use bitcoin::Target;
    use bitcoin::blockdata::constants::genesis_block;

    use super::*;

    #[test]
    fn the_genesis_block_is_found_where_it_was() {
        // Its header is in every node; the notify is made here by the recipe of V1-50.
        let genesis = genesis_block(bitcoin::Network::Bitcoin);
        let coinbase = consensus::serialize(&genesis.txdata[0]);
        let (left, right) = coinbase.split_at(60);
        let params = serde_json::json!([
            "1f",
            "00".repeat(32),
            hex::encode(&left[..48]),
            hex::encode(right),
            [],
            "00000001",
            "1d00ffff",
            "495fab29",
            true,
        ]);
        let job = Job::parse(&params, 1.0).unwrap();
        let search = Search {
            extranonce1: left[48..52].to_vec(),
            extranonce2: left[52..].to_vec(),
            ntime: job.ntime,
            version_bits: None,
            first_nonce: 2_083_236_893 - 1000,
        };
        let share = search.find(&job, |hash| difficulty_of(hash) >= 1.0).unwrap();
        assert_eq!(share.hash, *bitcoin::BlockHash::as_byte_array(&genesis.block_hash()));
        assert_eq!(share.nonce, 2_083_236_893);
    }

    #[test]
    fn difficulties_are_those_of_the_bitcoin_crate() {
        for bits in [0x1d00_ffff, 0x207f_ffff, 0x1703_4219] {
            let target = Target::from_compact(bitcoin::CompactTarget::from_consensus(bits));
            let expected = target.difficulty_float();
            let found = network_difficulty(bits);
            assert!((found / expected - 1.0).abs() < 1e-9, "{bits:08x}: {found} is not {expected}");
            assert!((difficulty_of(&target.to_le_bytes()) / expected - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn prevhash_words_are_swapped_back() {
        // V1-50, with a hash whose bytes differ.
        let sent: Vec<u8> = (0..32).collect();
        let swapped = swap_words(&sent).unwrap();
        assert_eq!(swapped[..8], [3, 2, 1, 0, 7, 6, 5, 4]);
    }
}
