//! The simulated chain refuses what Core refuses, in Core's words.

use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{
    Amount, Block, BlockHash, CompactTarget, ScriptBuf, Sequence, TxMerkleNode, TxOut, Txid, Witness,
    consensus,
};
use sluice_core::units::{Difficulty, Timestamp};
use sluice_node::sim::{Chain, Origin, SimConfig, SimDifficulty};

use crate::support::mine::{assemble, changed, solve, spoil};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn chain() -> Chain {
    Chain::new(&SimConfig { transactions: 7, ..SimConfig::default() }, NOW)
}

fn submit(chain: &mut Chain, block: &Block) -> Option<&'static str> {
    chain.submit(&consensus::serialize(block), NOW)
}

/// Submits the next block, changed before it is solved.
fn check(refusal: Option<&'static str>, change: impl FnOnce(&mut Block)) {
    let mut chain = chain();
    let template = chain.template(NOW);
    let before = chain.tip().hash;
    let block = changed(&template, change);
    assert_eq!(submit(&mut chain, &block), refusal);
    assert_eq!(chain.tip().hash != before, refusal.is_none());
}

#[test]
fn a_good_block_becomes_the_tip() {
    let mut chain = chain();
    let template = chain.template(NOW);
    let block = changed(&template, |_| ());
    assert_eq!(submit(&mut chain, &block), None);
    let tip = chain.tip();
    assert_eq!((tip.hash, tip.height), (block.block_hash(), 201));
    let Origin::Submitted { coinbase, transactions } = &tip.origin else { panic!("not submitted") };
    assert_eq!((&**coinbase, *transactions), (&block.txdata[0], 8));
    let next = chain.template(NOW);
    assert_eq!((next.height, next.previous), (202, block.block_hash()));
    assert_eq!(submit(&mut chain, &block), Some("duplicate"));
}

#[test]
fn proof_of_work_and_bits() {
    let mut chain = chain();
    let template = chain.template(NOW);
    let mut block = assemble(&template);
    spoil(&mut block);
    assert_eq!(submit(&mut chain, &block), Some("high-hash"));
    block.header.bits = CompactTarget::from_consensus(0x2100_ffff);
    solve(&mut block);
    assert_eq!(submit(&mut chain, &block), Some("bad-diffbits"));
    assert_eq!(chain.submit(&[1, 2, 3], NOW), Some("Block decode failed"));
    assert_eq!(chain.submit(&[], NOW), Some("Block decode failed"));
}

#[test]
fn a_wrong_merkle_root() {
    let mut chain = chain();
    let mut block = assemble(&chain.template(NOW));
    block.header.merkle_root = TxMerkleNode::from_byte_array([7; 32]);
    solve(&mut block);
    assert_eq!(submit(&mut chain, &block), Some("bad-txnmrklroot"));
}

#[test]
fn coinbases() {
    check(Some("bad-cb-missing"), |block| drop(block.txdata.remove(0)));
    check(Some("bad-cb-missing"), |block| block.txdata.swap(0, 1));
    check(Some("bad-cb-multiple"), |block| {
        let mut second = block.txdata[0].clone();
        second.input[0].sequence = Sequence::ZERO;
        block.txdata.push(second);
    });
    check(Some("bad-cb-length"), |block| {
        block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]);
    });
    check(Some("bad-cb-length"), |block| {
        block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0; 101]);
    });
    // 201 is 0x00c9 as a script number.
    check(None, |block| block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![2, 0xc9, 0]));
    check(Some("bad-cb-height"), |block| {
        block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![1, 0xc9, 0]);
    });
    check(None, |block| block.txdata[0].output[0].value -= Amount::ONE_SAT);
    check(Some("bad-cb-amount"), |block| block.txdata[0].output[0].value += Amount::ONE_SAT);
    check(Some("bad-txns-txouttotal-toolarge"), |block| {
        block.txdata[0].output.push(TxOut { value: Amount::MAX, script_pubkey: ScriptBuf::new() });
    });
}

#[test]
fn witnesses() {
    check(Some("bad-witness-merkle-match"), |block| {
        let script = block.txdata[0].output[1].script_pubkey.as_mut_bytes();
        script[10] ^= 1;
    });
    check(Some("bad-witness-nonce-size"), |block| block.txdata[0].input[0].witness = Witness::new());
    check(Some("bad-witness-nonce-size"), |block| {
        block.txdata[0].input[0].witness = Witness::from_slice(&[[0u8; 31]]);
    });
    check(Some("unexpected-witness"), |block| drop(block.txdata[0].output.pop()));
    // The nonce is part of the commitment.
    check(Some("bad-witness-merkle-match"), |block| {
        block.txdata[0].input[0].witness = Witness::from_slice(&[[1u8; 32]]);
    });
}

#[test]
fn other_transactions() {
    check(Some("bad-txns-duplicate"), |block| block.txdata.push(block.txdata[3].clone()));
    check(Some("bad-txns-inputs-missingorspent"), |block| {
        // A legacy transaction, so that the witness commitment stays right.
        let legacy = block.txdata.iter().skip(1).position(|t| t.input[0].witness.is_empty()).unwrap() + 1;
        block.txdata[legacy].input[0].previous_output.txid = Txid::from_byte_array([9; 32]);
        recommit(block);
    });
}

/// Makes the commitment right again after a transaction was changed.
fn recommit(block: &mut Block) {
    let root = block.witness_root().expect("it has transactions");
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let script = block.txdata[0].output[1].script_pubkey.as_mut_bytes();
    script[6..38].copy_from_slice(commitment.as_byte_array());
}

#[test]
fn times_and_version() {
    let tip_time = 1_800_000_000 - 60;
    check(Some("time-too-old"), |block| block.header.time = tip_time);
    check(None, |block| block.header.time = tip_time + 1);
    check(None, |block| block.header.time = 1_800_000_000 + 7200);
    check(Some("time-too-new"), |block| block.header.time = 1_800_000_000 + 7201);
    check(Some("bad-version"), |block| {
        block.header.version = sluice_core::bitcoin::block::Version::from_consensus(3);
    });
}

#[test]
fn races_and_unknown_parents() {
    let mut chain = chain();
    let template = chain.template(NOW);
    let late = changed(&template, |_| ());
    chain.force_block(NOW);
    let tip = chain.tip().hash;
    assert_eq!(submit(&mut chain, &late), Some("inconclusive"));
    assert_eq!(submit(&mut chain, &late), Some("duplicate-inconclusive"));
    assert_eq!(chain.tip().hash, tip);
    let orphan =
        changed(&template, |block| block.header.prev_blockhash = BlockHash::from_byte_array([3; 32]));
    assert_eq!(submit(&mut chain, &orphan), Some("prev-blk-not-found"));
}

#[test]
fn a_side_chain_wins_when_it_is_longer() {
    let mut chain = chain();
    let template = chain.template(NOW);
    let late = changed(&template, |_| ());
    chain.force_block(NOW);
    submit(&mut chain, &late);
    // On top of the block that lost the race so far.
    let mut next = template;
    next.height += 1;
    next.previous = late.block_hash();
    let next = changed(&next, |block| block.header.time += 1);
    assert_eq!(submit(&mut chain, &next), None);
    assert_eq!(chain.block_at(201).map(|block| block.hash), Some(late.block_hash()));
    assert_eq!(chain.tip().hash, next.block_hash());
}

#[test]
fn heights_as_core_wants_them() {
    for (height, script) in [
        (1u32, &[0x51][..]),
        (16, &[0x60]),
        (17, &[1, 17]),
        (127, &[1, 127]),
        (128, &[2, 128, 0]),
        (32767, &[2, 0xff, 0x7f]),
        (32768, &[3, 0, 0x80, 0]),
    ] {
        let config = SimConfig { start_height: height - 1, transactions: 0, ..SimConfig::default() };
        let mut chain = Chain::new(&config, NOW);
        let template = chain.template(NOW);
        let with = |script: &[u8]| {
            changed(&template, |block| {
                block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes([script, &[0; 4]].concat());
            })
        };
        let pushed = [&[4][..], &height.to_le_bytes()].concat();
        assert_eq!(submit(&mut chain, &with(&pushed)), Some("bad-cb-height"), "{height}");
        assert_eq!(submit(&mut chain, &with(script)), None, "{height}");
    }
}

#[test]
fn reorganisations() {
    let mut chain = chain();
    for _ in 0..5 {
        chain.force_block(NOW);
    }
    let old = chain.block_at(204).unwrap().hash;
    let kept = chain.block_at(203).unwrap().hash;
    let tip = chain.reorg(2, NOW);
    assert_eq!(tip.height, 206);
    assert_ne!(chain.block_at(204).unwrap().hash, old);
    assert_eq!(chain.block_at(203).unwrap().hash, kept);
    let heights: Vec<u32> = chain.blocks().map(|block| block.height).collect();
    assert_eq!(heights, (200..=206).collect::<Vec<_>>());
    for pair in chain.blocks().collect::<Vec<_>>().windows(2) {
        assert_eq!(pair[1].header.prev_blockhash, pair[0].hash);
    }
    // Deeper than the chain: everything but the first block.
    assert_eq!(chain.reorg(1000, NOW).height, 207);
}

#[test]
fn templates_are_real_and_repeat_with_the_seed() {
    let template = chain().template(NOW);
    let again = chain().template(NOW);
    assert_eq!(template.transactions, again.transactions);
    assert_eq!(template.transactions.len(), 7);
    assert!(template.fees() > Amount::ZERO);
    let segwit =
        template.transactions.iter().filter(|t| t.txid.to_byte_array() != t.wtxid.to_byte_array()).count();
    assert!((1..7).contains(&segwit));
    for listed in template.transactions.iter() {
        let transaction: sluice_core::bitcoin::Transaction = consensus::deserialize(&listed.data).unwrap();
        assert_eq!((transaction.compute_txid(), transaction.compute_wtxid()), (listed.txid, listed.wtxid));
    }
    assert!(assemble(&template).check_witness_commitment());
    let mut other = Chain::new(&SimConfig { transactions: 7, seed: 2, ..SimConfig::default() }, NOW);
    assert_ne!(other.template(NOW).transactions, template.transactions);
    let mut chain = chain();
    assert_ne!(chain.template(NOW).transactions, chain.template(NOW).transactions);
}

#[test]
fn memory_is_bounded() {
    let mut chain = Chain::new(&SimConfig { transactions: 0, ..SimConfig::default() }, NOW);
    for _ in 0..5000 {
        chain.force_block(NOW);
    }
    assert_eq!(chain.blocks().count(), 4096);
    assert_eq!(chain.tip().height, 5200);
}

#[test]
fn a_difficulty_can_be_asked_for() {
    let difficulty = SimDifficulty::Difficulty(Difficulty::new(1e6).unwrap());
    let mut chain = Chain::new(&SimConfig { difficulty, ..SimConfig::default() }, NOW);
    let asked = chain.template(NOW).network_difficulty().get();
    assert!((asked / 1e6 - 1.0).abs() < 1e-4, "{asked}");
    let block = assemble(&chain.template(NOW));
    assert_eq!(submit(&mut chain, &block), Some("high-hash"));
}
