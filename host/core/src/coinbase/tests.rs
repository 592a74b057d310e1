mod payments;

use bitcoin::Network;

use super::*;

fn pool() -> Address {
    parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap()
}

fn mark() -> PoolMark {
    PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 }
}

fn output(sats: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sats), script_pubkey: pool().script_pubkey() }
}

fn coinbase(height: u32, commitment: Option<&[u8]>) -> Coinbase {
    Coinbase::new(height, 7, &mark(), &[output(50)], (Amount::from_sat(50), commitment)).unwrap()
}

#[test]
fn heights_are_pushed_as_core_wants_them() {
    // BIP34 as Bitcoin Core checks it: CScript() << height.
    for (height, expected) in [
        (1u32, vec![0x51]),
        (16, vec![0x60]),
        (17, vec![1, 17]),
        (127, vec![1, 127]),
        (128, vec![2, 128, 0]),
        (32767, vec![2, 0xff, 0x7f]),
        (32768, vec![3, 0, 0x80, 0]),
    ] {
        let coinbase = coinbase(height, None);
        assert_eq!(&coinbase.prefix[42..42 + expected.len()], expected, "{height}");
    }
}

#[test]
fn the_first_block_of_the_hash_is_fixed() {
    // One compression less per share: the extranonce begins after the first 64 bytes.
    assert!(coinbase(800_000, None).prefix.len() >= 64);
}

#[test]
fn the_block_form_carries_the_witness_and_the_same_txid() {
    let commitment = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed].iter().copied().chain([3; 32]).collect::<Vec<u8>>();
    let coinbase = coinbase(200, Some(&commitment));
    let extranonce = [9; 12];
    let plain = [coinbase.prefix.as_slice(), &extranonce, &coinbase.suffix].concat();
    let stripped: Transaction = consensus::deserialize(&plain).unwrap();
    let full: Transaction = consensus::deserialize(&coinbase.for_block(&extranonce)).unwrap();
    assert_eq!(stripped.compute_txid(), full.compute_txid());
    assert_eq!(full.input[0].witness.nth(0), Some([0; 32].as_slice()));
    assert_eq!(full.output.last().unwrap().script_pubkey.as_bytes(), commitment);
    assert!(full.is_coinbase());
}

#[test]
fn refuses_a_wrong_sum_and_a_long_script() {
    let wrong = Coinbase::new(1, 0, &mark(), &[output(49)], (Amount::from_sat(50), None));
    assert!(matches!(wrong, Err(CoinbaseError::WrongSum { .. })));
    let long = PoolMark { tag: vec![b'x'; 75], extranonce_length: 32 };
    let long = Coinbase::new(1, 0, &long, &[output(50)], (Amount::from_sat(50), None));
    assert!(matches!(long, Err(CoinbaseError::ScriptTooLong { .. })));
}

/// The scriptSig that a coinbase has on the wire.
fn script_length(coinbase: &Coinbase) -> usize {
    let plain = [&coinbase.prefix[..], &vec![0; coinbase.extranonce_length], &coinbase.suffix].concat();
    let transaction: Transaction = consensus::deserialize(&plain).unwrap();
    transaction.input[0].script_sig.len()
}

#[test]
fn the_longest_tag_and_extranonce_leave_room_in_the_script() {
    // M-16: whatever the configuration allows fits, at any height; the consensus limit is 100 bytes.
    let longest = PoolMark { tag: vec![b'x'; TAG_LIMIT], extranonce_length: EXTRANONCE_LIMIT };
    for height in [1, 800_000, u32::try_from(i32::MAX).unwrap(), u32::MAX] {
        let coinbase = Coinbase::new(height, u64::MAX, &longest, &[output(50)], (Amount::from_sat(50), None));
        assert!(script_length(&coinbase.unwrap()) <= 100, "{height}");
    }
    // Up to the limit itself and no further: four bytes of height, nine of nonce, two lengths.
    let with_tag = |tag: usize| {
        let mark = PoolMark { tag: vec![b'x'; tag], extranonce_length: EXTRANONCE_LIMIT };
        Coinbase::new(800_000, 7, &mark, &[output(50)], (Amount::from_sat(50), None))
    };
    assert_eq!(script_length(&with_tag(53).unwrap()), 100);
    assert_eq!(with_tag(54), Err(CoinbaseError::ScriptTooLong { length: 101 }));
}
