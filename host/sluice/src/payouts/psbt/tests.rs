use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::hex::DisplayHex;
use bitcoin::{OutPoint, ScriptBuf};
use sluice_ledger::payouts::Coin;

use super::*;
use crate::payouts::draft::Order;
use crate::payouts::testchain::{output, script, spending};

// BIP 370, test vectors of valid PSBTs: "1 input, 2 output PSBTv2, required fields only".
const REQUIRED_ONLY: &str = "70736274ff01020402000000010401010105010201fb040200000000010e200b0ad921419c1c8719735d72dc739f9ea9e0638d1fe4c1eef0f9944084815fc8010f0400000000000103080008af2f000000000104160014c430f64c4756da310dbd1a085572ef299926272c000103088bbdeb0b0000000001041600144dd193ac964a56ac1b9e1cca8454fe2f474f851300";
// The same, "updated PSBTv2, with PSBT_IN_SEQUENCE".
const UPDATED: &str = "70736274ff01020402000000010401010105010201fb0402000000000100520200000001c1aa256e214b96a1822f93de42bff3b5f3ff8d0519306e3515d7515a5e805b120000000000ffffffff0118c69a3b00000000160014b0a3af144208412693ca7d166852b52db0aef06e0000000001011f18c69a3b00000000160014b0a3af144208412693ca7d166852b52db0aef06e010e200b0ad921419c1c8719735d72dc739f9ea9e0638d1fe4c1eef0f9944084815fc8010f0400000000011004feffffff00220202d601f84846a6755f776be00e3d9de8fb10acc935fb83c45fb0162d4cad5ab79218f69d873e540000800100008000000080000000002a0000000103080008af2f000000000104160014c430f64c4756da310dbd1a085572ef299926272c00220202e36fbff53dd534070cf8fd396614680f357a9b85db7340bf1cfa745d2ad7b34018f69d873e54000080010000800000008001000000640000000103088bbdeb0b0000000001041600144dd193ac964a56ac1b9e1cca8454fe2f474f851300";
// What that one has beside: where the outputs' keys are derived, which is for wallets to say.
const DERIVATIONS: [&str; 2] = [
    "220202d601f84846a6755f776be00e3d9de8fb10acc935fb83c45fb0162d4cad5ab79218f69d873e540000800100008000000080000000002a000000",
    "220202e36fbff53dd534070cf8fd396614680f357a9b85db7340bf1cfa745d2ad7b34018f69d873e5400008001000080000000800100000064000000",
];
const PREVIOUS: &str = "0200000001c1aa256e214b96a1822f93de42bff3b5f3ff8d0519306e3515d7515a5e805b120000000000ffffffff0118c69a3b00000000160014b0a3af144208412693ca7d166852b52db0aef06e00000000";

/// The transaction of the vectors.
fn of_the_bip(sequence: Sequence) -> Transaction {
    let previous: Transaction = deserialize_hex(PREVIOUS).unwrap();
    let to = |hex: &str| ScriptBuf::from_hex(hex).unwrap();
    let outputs = vec![
        output(&to("0014c430f64c4756da310dbd1a085572ef299926272c"), 800_000_000),
        output(&to("00144dd193ac964a56ac1b9e1cca8454fe2f474f8513"), 199_998_859),
    ];
    let mut transaction = spending(&[OutPoint::new(previous.compute_txid(), 0)], outputs);
    transaction.input[0].sequence = sequence;
    transaction
}

#[test]
fn version_2_is_byte_for_byte_the_vectors_of_bip_370() {
    let fields = Fields { transaction: of_the_bip(Sequence::MAX), inputs: vec![(None, None)] };
    // The vectors leave out a lock time of zero, which ours always has.
    let told =
        |fields: &Fields<'_>| version_2(fields).to_lower_hex_string().replacen("01030400000000", "", 1);
    assert_eq!(told(&fields), REQUIRED_ONLY);

    let previous: Transaction = deserialize_hex(PREVIOUS).unwrap();
    let fields = Fields {
        transaction: of_the_bip(Sequence::from_consensus(0xffff_fffe)),
        inputs: vec![(Some(&previous), Some(previous.output[0].clone()))],
    };
    let without = DERIVATIONS.iter().fold(UPDATED.to_owned(), |text, part| text.replace(part, ""));
    assert_eq!(told(&fields), without);
}

fn draft() -> (Draft, Transaction) {
    let legacy = ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::from_byte_array([7; 20]));
    let previous = spending(&[OutPoint::null()], vec![output(&legacy, 60_000), output(&script(3), 70_000)]);
    let txid = previous.compute_txid();
    let input = |vout: u32, known: bool| {
        let made = &previous.output[vout as usize];
        let coin = Coin { outpoint: OutPoint::new(txid, vout), amount: made.value };
        Input { coin, script: made.script_pubkey.clone(), previous: known.then(|| previous.clone()) }
    };
    let order = Order {
        lines: vec![output(&script(8), 100_000)],
        change: script(1),
        rate: "3".parse().unwrap(),
        version: 2,
        input_vsize: None,
        forced: false,
    };
    (Draft::new(&order, vec![input(0, true), input(1, false)]).unwrap(), previous)
}

#[test]
fn version_0_names_the_coins_and_holds_no_signature() {
    let (draft, previous) = draft();
    let psbt = Psbt::deserialize(&encode(&draft, Format::V0)).unwrap();
    assert_eq!(psbt.unsigned_tx, draft.transaction());
    assert_eq!(psbt.fee().unwrap(), draft.fee);
    let [legacy, segwit] = &psbt.inputs[..] else { panic!("two inputs") };
    // A signature of before segwit does not cover the amount: the whole transaction, and no witness_utxo (BIP 174).
    assert_eq!((&legacy.non_witness_utxo, &legacy.witness_utxo), (&Some(previous.clone()), &None));
    assert_eq!((&segwit.non_witness_utxo, &segwit.witness_utxo), (&None, &Some(previous.output[1].clone())));
    assert!(psbt.inputs.iter().all(|input| input.partial_sigs.is_empty() && input.sighash_type.is_none()));
}

#[test]
fn version_2_says_what_version_0_does() {
    let (draft, previous) = draft();
    let file = encode(&draft, Format::V2);
    let holds = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
    assert!(
        file.starts_with(
            b"psbt\xff\x01\x02\x04\x02\0\0\0\x01\x03\x04\0\0\0\0\x01\x04\x01\x02\x01\x05\x01\x02"
        )
    );
    assert!(holds(&serialize(&previous)));
    for output in &draft.outputs {
        assert!(holds(&output.value.to_sat().to_le_bytes()) && holds(output.script_pubkey.as_bytes()));
    }
    // It may be replaced (BIP 125).
    assert!(holds(&[1, 0x10, 4, 0xfd, 0xff, 0xff, 0xff]));
}
