use bitcoin::hashes::Hash;
use sluice_core::ids::TemplateId;

use super::*;

/// Of an empty block that pays nothing.
pub(in crate::jobs) fn template(previous: u8, bits: u32) -> Template {
    Template {
        id: TemplateId(1),
        network: bitcoin::Network::Testnet4,
        height: 7,
        previous: BlockHash::from_byte_array([previous; 32]),
        version: 0x2000_0000,
        bits: CompactTarget::from_consensus(bits),
        min_time: 1,
        cur_time: 2,
        coinbase_value: bitcoin::Amount::ZERO,
        subsidy: bitcoin::Amount::ZERO,
        witness_commitment: None,
        transactions: Vec::new().into(),
        received: sluice_core::units::Timestamp(0),
    }
}

#[test]
fn another_difficulty_on_the_same_block_is_another_tip() {
    // M-41: on testnet4 a block after twenty minutes may have difficulty 1.
    let mut tip = None;
    let first = next_tip(&mut tip, &template(1, 0x1b00_ffff), Moment(5));
    assert_eq!(next_tip(&mut tip, &template(1, 0x1b00_ffff), Moment(6)), first);
    let easier = next_tip(&mut tip, &template(1, 0x1d00_ffff), Moment(7));
    assert!(easier.0 > first.0);
    let next = next_tip(&mut tip, &template(2, 0x1d00_ffff), Moment(8));
    assert_eq!(next, (TipNumber(easier.0.0 + 1), Moment(8)));
}
