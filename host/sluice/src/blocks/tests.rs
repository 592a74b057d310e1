use bitcoin::hashes::Hash;

use super::*;

fn hash(number: usize) -> BlockHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    BlockHash::from_byte_array(bytes)
}

#[test]
fn balances_wait_until_every_block_is_booked() {
    let unbooked = Unbooked::default();
    assert!(!unbooked.is_none(), "the journal may know more");
    unbooked.caught_up();
    assert!(unbooked.is_none());
    unbooked.add(hash(1));
    unbooked.add(hash(1));
    assert!(!unbooked.is_none());
    unbooked.remove(&hash(1));
    assert!(unbooked.is_none());
}

#[test]
fn with_too_many_blocks_nobody_knows_that_all_are_booked() {
    let unbooked = Unbooked::default();
    unbooked.caught_up();
    for number in 0..=UNBOOKED_LIMIT {
        unbooked.add(hash(number));
    }
    assert_eq!(unbooked.all().len(), UNBOOKED_LIMIT);
    for number in 0..=UNBOOKED_LIMIT {
        unbooked.remove(&hash(number));
    }
    assert!(!unbooked.is_none(), "one was not kept");
}
