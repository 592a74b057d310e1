//! The coinbase transaction, split where the miner's extranonce goes, and whom it pays.
//!
//! scriptSig: height (BIP34), a nonce per job (V1-52), the pool's tag, the extranonce. The tag stands before the
//! extranonce so that the first 64 bytes are fixed and hashed once per job.

use bitcoin::absolute::LockTime;
use bitcoin::script::{Builder, PushBytesBuf, ScriptBuf};
use bitcoin::transaction::Version;
use bitcoin::{Address, Amount, Network, OutPoint, Sequence, Transaction, TxIn, TxOut, Witness, consensus};

mod payments;

pub use payments::{Claims, Owed, Payment};

/// The most a scriptSig of a coinbase may hold (consensus).
pub const SCRIPT_SIG_LIMIT: usize = 100;
/// The longest pool tag, in bytes.
pub const TAG_LIMIT: usize = 20;
/// The longest extranonce, both parts together, in bytes.
pub const EXTRANONCE_LIMIT: usize = 32;

/// What the pool writes into every coinbase.
#[derive(Clone, Debug)]
pub struct PoolMark {
    /// At most [`TAG_LIMIT`] bytes.
    pub tag: Vec<u8>,
    /// Both parts together, at most [`EXTRANONCE_LIMIT`] bytes.
    pub extranonce_length: usize,
}

/// A coinbase without witness (BIP141 parts are for the block only, V1-58): `prefix | extranonce | suffix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coinbase {
    pub prefix: Vec<u8>,
    pub suffix: Vec<u8>,
    pub extranonce_length: usize,
    /// Whether the block form carries the witness of BIP141.
    pub has_witness: bool,
}

/// A coinbase that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoinbaseError {
    #[error(
        "the coinbase script would have {length} bytes, at most {SCRIPT_SIG_LIMIT} are allowed; shorten the pool tag"
    )]
    ScriptTooLong { length: usize },
    #[error("the outputs come to {paid}, the block may pay {allowed}")]
    WrongSum { paid: Amount, allowed: Amount },
}

impl Coinbase {
    /// # Errors
    /// The script is too long, or `outputs` do not come to exactly `value`.
    pub fn new(
        height: u32,
        nonce: u64,
        mark: &PoolMark,
        outputs: &[TxOut],
        (value, witness_commitment): (Amount, Option<&[u8]>),
    ) -> Result<Self, CoinbaseError> {
        let paid: Amount = outputs.iter().map(|output| output.value).sum();
        if paid != value {
            return Err(CoinbaseError::WrongSum { paid, allowed: value });
        }
        let script = script_sig(height, nonce, mark);
        if script.len() > SCRIPT_SIG_LIMIT {
            return Err(CoinbaseError::ScriptTooLong { length: script.len() });
        }
        let script_length = script.len();
        let serialized = consensus::serialize(&transaction(script, outputs, witness_commitment));
        // version, input count, outpoint, script length (one byte: at most 100), script up to the extranonce at its end.
        let split = 4 + 1 + 36 + 1 + script_length;
        Ok(Self {
            prefix: serialized[..split - mark.extranonce_length].to_vec(),
            suffix: serialized[split..].to_vec(),
            extranonce_length: mark.extranonce_length,
            has_witness: witness_commitment.is_some(),
        })
    }

    pub fn len(&self) -> usize {
        self.prefix.len() + self.extranonce_length + self.suffix.len()
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// As the block carries it, with the witness of BIP141 where there is a commitment.
    pub fn for_block(&self, extranonce: &[u8]) -> Vec<u8> {
        const VERSION: usize = 4;
        const LOCK_TIME: usize = 4;
        let plain = [self.prefix.as_slice(), extranonce, &self.suffix].concat();
        if !self.has_witness {
            return plain;
        }
        let (body, lock_time) = plain.split_at(plain.len() - LOCK_TIME);
        let (version, inputs_and_outputs) = body.split_at(VERSION);
        let reserved_value = [[1u8, 32].as_slice(), &[0; 32]].concat();
        [version, &[0, 1], inputs_and_outputs, &reserved_value, lock_time].concat()
    }
}

fn script_sig(height: u32, nonce: u64, mark: &PoolMark) -> ScriptBuf {
    let push = |bytes: &[u8]| PushBytesBuf::try_from(bytes.to_vec()).unwrap_or_default();
    let mut script = Builder::new()
        // `CScript() << height`: OP_1 to OP_16, then a minimal push.
        .push_int(i64::from(height))
        .push_slice(nonce.to_be_bytes());
    if !mark.tag.is_empty() {
        script = script.push_slice(push(&mark.tag));
    }
    script.push_slice(push(&vec![0; mark.extranonce_length])).into_script()
}

fn transaction(script_sig: ScriptBuf, outputs: &[TxOut], witness_commitment: Option<&[u8]>) -> Transaction {
    let commitment = witness_commitment
        .map(|script| TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script.to_vec()) });
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: outputs.iter().cloned().chain(commitment).collect(),
    }
}

/// Bytes of a coinbase around its payments: header fields, script, witness commitment, a two-output count.
pub fn overhead(mark: &PoolMark) -> usize {
    4 + 1 + 36 + 1 + (5 + 9 + 1 + mark.tag.len() + 1 + mark.extranonce_length) + 4 + 1 + 47 + 4
}

/// Parses an address of `network`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse_address(text: &str, network: Network) -> Result<Address, String> {
    let parsed: Address<bitcoin::address::NetworkUnchecked> =
        text.parse().map_err(|error| format!("{text:?} is not a Bitcoin address: {error}"))?;
    parsed
        .require_network(network)
        .map_err(|_| format!("{text:?} is not an address of the network {network}"))
}

#[cfg(test)]
mod tests;
