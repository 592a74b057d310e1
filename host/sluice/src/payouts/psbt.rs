//! A draft as a partially signed transaction: version 0 (BIP 174) or 2 (BIP 370), without a signature.
//!
//! Each input names its coin (`witness_utxo`) where its signature covers the amount, and holds the whole transaction
//! that made it where that was to be had: hardware wallets want it, so that nobody can lie to them about a fee.

use bitcoin::consensus::serialize;
use bitcoin::{Psbt, Sequence, Transaction, TxOut, VarInt, psbt};

use super::draft::{Draft, Input};

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// BIP 174: every wallet reads it.
    V0,
    /// BIP 370.
    V2,
}

/// The file's bytes.
pub fn encode(draft: &Draft, format: Format) -> Vec<u8> {
    match format {
        Format::V0 => version_0(draft),
        Format::V2 => version_2(&Fields::of(draft)),
    }
}

fn version_0(draft: &Draft) -> Vec<u8> {
    let input = |input: &Input| psbt::Input {
        witness_utxo: witness_utxo(input),
        non_witness_utxo: input.previous.clone(),
        ..psbt::Input::default()
    };
    Psbt {
        unsigned_tx: draft.transaction(),
        version: 0,
        xpub: Default::default(),
        proprietary: Default::default(),
        unknown: Default::default(),
        inputs: draft.inputs.iter().map(input).collect(),
        outputs: draft.outputs.iter().map(|_| psbt::Output::default()).collect(),
    }
    .serialize()
}

/// For coins of segwit, and those that may be.
fn witness_utxo(input: &Input) -> Option<TxOut> {
    let segwit = input.script.is_witness_program() || input.script.is_p2sh();
    segwit.then(|| input.output())
}

/// What a PSBT of version 2 says of a transaction.
struct Fields<'a> {
    transaction: Transaction,
    inputs: Vec<(Option<&'a Transaction>, Option<TxOut>)>,
}

impl<'a> Fields<'a> {
    fn of(draft: &'a Draft) -> Self {
        let inputs =
            draft.inputs.iter().map(|input| (input.previous.as_ref(), witness_utxo(input))).collect();
        Self { transaction: draft.transaction(), inputs }
    }
}

const MAGIC: &[u8] = b"psbt\xff";
/// Ends a map.
const SEPARATOR: u8 = 0;

const GLOBAL_TX_VERSION: u8 = 0x02;
const GLOBAL_FALLBACK_LOCKTIME: u8 = 0x03;
const GLOBAL_INPUT_COUNT: u8 = 0x04;
const GLOBAL_OUTPUT_COUNT: u8 = 0x05;
const GLOBAL_VERSION: u8 = 0xfb;
const IN_NON_WITNESS_UTXO: u8 = 0x00;
const IN_WITNESS_UTXO: u8 = 0x01;
const IN_PREVIOUS_TXID: u8 = 0x0e;
const IN_OUTPUT_INDEX: u8 = 0x0f;
const IN_SEQUENCE: u8 = 0x10;
const OUT_AMOUNT: u8 = 0x03;
const OUT_SCRIPT: u8 = 0x04;

fn version_2(fields: &Fields<'_>) -> Vec<u8> {
    let transaction = &fields.transaction;
    let mut file = MAGIC.to_vec();
    entry(&mut file, GLOBAL_TX_VERSION, &transaction.version.0.to_le_bytes());
    // Left out, a signer takes lock time 0 and the final sequence.
    entry(&mut file, GLOBAL_FALLBACK_LOCKTIME, &transaction.lock_time.to_consensus_u32().to_le_bytes());
    entry(&mut file, GLOBAL_INPUT_COUNT, &serialize(&VarInt::from(transaction.input.len())));
    entry(&mut file, GLOBAL_OUTPUT_COUNT, &serialize(&VarInt::from(transaction.output.len())));
    entry(&mut file, GLOBAL_VERSION, &2u32.to_le_bytes());
    file.push(SEPARATOR);
    for (input, (previous, utxo)) in transaction.input.iter().zip(&fields.inputs) {
        if let Some(previous) = previous {
            entry(&mut file, IN_NON_WITNESS_UTXO, &serialize(*previous));
        }
        if let Some(utxo) = utxo {
            entry(&mut file, IN_WITNESS_UTXO, &serialize(utxo));
        }
        entry(&mut file, IN_PREVIOUS_TXID, &serialize(&input.previous_output.txid));
        entry(&mut file, IN_OUTPUT_INDEX, &input.previous_output.vout.to_le_bytes());
        if input.sequence != Sequence::MAX {
            entry(&mut file, IN_SEQUENCE, &input.sequence.to_consensus_u32().to_le_bytes());
        }
        file.push(SEPARATOR);
    }
    for output in &transaction.output {
        entry(&mut file, OUT_AMOUNT, &output.value.to_sat().to_le_bytes());
        entry(&mut file, OUT_SCRIPT, output.script_pubkey.as_bytes());
        file.push(SEPARATOR);
    }
    file
}

/// A key of one byte and its value, each with its length.
fn entry(file: &mut Vec<u8>, key: u8, value: &[u8]) {
    file.extend([1, key]);
    file.extend(serialize(&VarInt::from(value.len())));
    file.extend(value);
}

#[cfg(test)]
mod tests;
