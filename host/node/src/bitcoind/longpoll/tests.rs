use sluice_core::bitcoin::hashes::Hash;

use super::*;

fn tip(byte: u8) -> BlockHash {
    BlockHash::from_byte_array([byte; 32])
}

#[test]
fn an_order_is_taken_once_and_renewed() {
    let slot = Slot::default();
    assert!(!slot.offer("x".into(), tip(1)));
    assert_eq!(slot.take(), Some(Order { id: "x".into(), previous: tip(1) }));
    slot.renew(Order { id: "y".into(), previous: tip(2) });
    assert_eq!(slot.take().map(|order| order.id), Some("y".to_owned()));
}

#[test]
fn a_call_in_flight_is_cut_only_for_another_tip() {
    let slot = Slot::default();
    slot.offer("x".into(), tip(1));
    slot.take();
    assert!(!slot.offer("y".into(), tip(1)));
    assert!(slot.offer("z".into(), tip(2)));
    // The call ends with an error that the poller knows of; the new order stands.
    assert!(!slot.fail());
    assert_eq!(slot.take().map(|order| order.id), Some("z".to_owned()));
}

#[test]
fn a_failed_call_leaves_nothing_to_do() {
    let slot = Slot::default();
    slot.offer("x".into(), tip(1));
    slot.take();
    assert!(slot.fail());
    slot.stop();
    assert_eq!(slot.take(), None);
    assert!(!slot.offer("y".into(), tip(1)));
    slot.pause(Duration::from_secs(3600));
}
