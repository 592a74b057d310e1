//! Blocks from templates, right or wrong in one chosen way.

use sluice_core::bitcoin::absolute::LockTime;
use sluice_core::bitcoin::block::{Header, Version};
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::script::Builder;
use sluice_core::bitcoin::{
    Block, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn, TxMerkleNode, TxOut, Witness, consensus,
    transaction,
};
use sluice_core::share::FoundBlock;
use sluice_core::template::Template;

/// The whole block without proof of work; it pays everything to anyone.
pub(crate) fn assemble(template: &Template) -> Block {
    let height = Builder::new().push_int(i64::from(template.height)).push_slice([0u8; 8]).into_script();
    let nonce = template.witness_commitment.as_ref().map(|_| Witness::from_slice(&[[0u8; 32]]));
    let input = TxIn {
        previous_output: OutPoint::null(),
        script_sig: height,
        sequence: Sequence::MAX,
        witness: nonce.unwrap_or_default(),
    };
    let anyone = ScriptBuf::from_bytes(vec![0x51]);
    let mut output = vec![TxOut { value: template.coinbase_value, script_pubkey: anyone }];
    output.extend(template.witness_commitment.iter().map(|script| TxOut {
        value: sluice_core::bitcoin::Amount::ZERO,
        script_pubkey: ScriptBuf::from_bytes(script.clone()),
    }));
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output,
    };
    let others = template
        .transactions
        .iter()
        .map(|listed| consensus::deserialize(&listed.data).expect("a transaction"));
    let header = Header {
        version: Version::from_consensus(template.version),
        prev_blockhash: template.previous,
        merkle_root: TxMerkleNode::all_zeros(),
        time: template.cur_time,
        bits: template.bits,
        nonce: 0,
    };
    let mut block = Block { header, txdata: std::iter::once(coinbase).chain(others).collect() };
    block.header.merkle_root = block.compute_merkle_root().expect("it has a coinbase");
    block
}

/// Finds the nonce; for regtest's difficulty.
pub(crate) fn solve(block: &mut Block) {
    let target = Target::from_compact(block.header.bits);
    while !target.is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
}

/// Finds a nonce that does not do.
pub(crate) fn spoil(block: &mut Block) {
    let target = Target::from_compact(block.header.bits);
    while target.is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
}

/// Assembled, changed, its merkle root computed again, solved.
pub(crate) fn changed(template: &Template, change: impl FnOnce(&mut Block)) -> Block {
    let mut block = assemble(template);
    change(&mut block);
    block.header.merkle_root = block.compute_merkle_root().unwrap_or(TxMerkleNode::all_zeros());
    solve(&mut block);
    block
}

/// A good block, as it comes from judging a share.
pub(crate) fn found(template: &Template) -> FoundBlock {
    let block = changed(template, |_| ());
    FoundBlock {
        hash: block.block_hash(),
        height: template.height,
        block: consensus::serialize(&block),
        template: template.id,
    }
}
