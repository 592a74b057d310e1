//! Synthetic transactions: they serialise, hash and weigh like real ones, and spend coins that exist only by a rule.
//!
//! Whoever knows the seed can check that a coin exists and what a transaction pays: no coin set is kept.

use sluice_core::bitcoin::absolute::LockTime;
use sluice_core::bitcoin::hashes::{Hash, sha256, sha256d};
use sluice_core::bitcoin::script::{Builder, PushBytesBuf};
use sluice_core::bitcoin::transaction::Version;
use sluice_core::bitcoin::{
    Amount, OutPoint, PubkeyHash, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness,
};

/// The transactions of a template: `count` of them, decided by everything else.
pub(super) fn transactions(seed: u64, height: u32, round: u32, count: usize) -> Vec<Transaction> {
    let first = sha256(&[&seed.to_le_bytes(), b"first", &height.to_le_bytes(), &round.to_le_bytes()]);
    let first = u32::from_le_bytes([first[0], first[1], first[2], first[3]]);
    (0u32..).take(count).map(|index| transaction(seed, first.wrapping_add(index))).collect()
}

/// The coin with number `number` is output `number` of the transaction that its number names.
fn coin(seed: u64, number: u32) -> OutPoint {
    let digest = sha256d::Hash::hash(&[&seed.to_le_bytes()[..], b"coin", &number.to_le_bytes()].concat());
    OutPoint { txid: Txid::from_raw_hash(digest), vout: number }
}

/// Whether every input spends a coin of this chain.
pub(super) fn coins_exist(seed: u64, transaction: &Transaction) -> bool {
    transaction.input.iter().all(|input| input.previous_output == coin(seed, input.previous_output.vout))
}

/// What a transaction pays to the miner, decided by its id.
pub(super) fn fee(txid: Txid) -> Amount {
    let bytes = txid.to_byte_array();
    Amount::from_sat(150 + u64::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

fn transaction(seed: u64, number: u32) -> Transaction {
    let stuff = |what: &str| sha256(&[&seed.to_le_bytes(), what.as_bytes(), &number.to_le_bytes()]);
    // Two of three are segwit, as on the real chain.
    let segwit = !number.is_multiple_of(3);
    let (script_sig, witness) = unlock(segwit, stuff);
    let pay = stuff("pay");
    let key = |from: usize| -> [u8; 20] { std::array::from_fn(|index| pay[from + index]) };
    let output =
        |value: u64, script_pubkey: ScriptBuf| TxOut { value: Amount::from_sat(value), script_pubkey };
    let mut output = vec![
        output(
            10_000 + u64::from(pay[0]) * 1000,
            ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(key(0))),
        ),
        output(
            20_000 + u64::from(pay[1]) * 1000,
            ScriptBuf::new_p2pkh(&PubkeyHash::from_byte_array(key(12))),
        ),
    ];
    output.truncate(1 + usize::from(pay[2] % 2));
    let input =
        vec![TxIn { previous_output: coin(seed, number), script_sig, sequence: Sequence::MAX, witness }];
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}

/// Something of the form of a signature and a key.
fn unlock(segwit: bool, stuff: impl Fn(&str) -> [u8; 32]) -> (ScriptBuf, Witness) {
    let mut signature = [&[0x30, 0x44][..], &stuff("r"), &stuff("s"), &[0; 4]].concat();
    signature.push(1);
    let key = [&[2][..], &stuff("key")].concat();
    if segwit {
        return (ScriptBuf::new(), Witness::from_slice(&[signature, key]));
    }
    let push = |bytes: Vec<u8>| PushBytesBuf::try_from(bytes).unwrap_or_default();
    (Builder::new().push_slice(push(signature)).push_slice(push(key)).into_script(), Witness::new())
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    sha256::Hash::hash(&parts.concat()).to_byte_array()
}
