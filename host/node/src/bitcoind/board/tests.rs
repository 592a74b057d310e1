use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash, CompactTarget, Network};
use sluice_core::template::subsidy;

use super::*;

fn template(height: u32, previous: u8) -> Arc<Template> {
    Arc::new(Template {
        id: crate::template::next_id(),
        network: Network::Regtest,
        height,
        previous: BlockHash::from_byte_array([previous; 32]),
        version: 0x2000_0000,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        min_time: 1,
        cur_time: 2,
        coinbase_value: Amount::from_sat(1),
        subsidy: subsidy(Network::Regtest, height),
        witness_commitment: None,
        transactions: Arc::new([]),
        received: Timestamp(0),
    })
}

fn board() -> (Board, Templates, HealthWatch) {
    Board::new(&["a".to_owned(), "b".to_owned()], Timestamp(1))
}

fn down() -> Health {
    Health::Unreachable { since: Timestamp(9), error: "gone".into() }
}

#[test]
fn the_first_healthy_node_serves_and_takes_over_again() {
    let (board, templates, health) = board();
    let (a, b) = (template(5, 1), template(5, 2));
    assert_eq!(health.borrow().down_since, Some(Timestamp(1)));
    board.answer(1, Arc::clone(&b), board.generation(1), Timestamp(2));
    assert!(Arc::ptr_eq(templates.borrow().as_ref().unwrap(), &b));
    board.answer(0, Arc::clone(&a), board.generation(0), Timestamp(3));
    assert!(Arc::ptr_eq(templates.borrow().as_ref().unwrap(), &a));
    assert_eq!(health.borrow().active, Some(0));
    board.report(0, down(), Timestamp(4));
    assert!(Arc::ptr_eq(templates.borrow().as_ref().unwrap(), &b));
    assert_eq!(health.borrow().active, Some(1));
    board.answer(0, Arc::clone(&a), board.generation(0), Timestamp(5));
    assert_eq!(health.borrow().active, Some(0));
}

#[test]
fn the_last_template_stands_while_all_are_away() {
    let (board, templates, health) = board();
    let a = template(5, 1);
    board.answer(0, Arc::clone(&a), board.generation(0), Timestamp(2));
    board.report(0, down(), Timestamp(7));
    board.report(0, Health::Unreachable { since: Timestamp(11), error: "still".into() }, Timestamp(11));
    assert!(Arc::ptr_eq(templates.borrow().as_ref().unwrap(), &a));
    // V1-80: the wait counts from the first failure.
    assert_eq!((health.borrow().active, health.borrow().down_since), (None, Some(Timestamp(7))));
    let first = health.borrow().nodes[0].health.clone();
    assert_eq!(first, Health::Unreachable { since: Timestamp(9), error: "still".into() });
}

#[test]
fn an_overtaken_answer_is_dropped() {
    let (board, templates, _health) = board();
    board.answer(0, template(5, 1), board.generation(0), Timestamp(2));
    let asked = board.generation(0);
    let pushed = template(6, 2);
    assert!(board.push(0, Arc::clone(&pushed), Timestamp(3)));
    assert!(!board.answer(0, template(5, 1), asked, Timestamp(4)));
    assert!(Arc::ptr_eq(templates.borrow().as_ref().unwrap(), &pushed));
}

#[test]
fn nothing_is_pushed_for_a_node_that_is_not_healthy() {
    let (board, templates, _health) = board();
    assert!(!board.push(0, template(5, 1), Timestamp(3)));
    board.report(0, Health::WrongNetwork { expected: Network::Bitcoin, found: "test".into() }, Timestamp(3));
    assert!(!board.push(0, template(5, 1), Timestamp(3)));
    assert!(templates.borrow().is_none());
}

#[test]
fn a_reorganisation_to_a_lower_height_is_just_a_template() {
    let (board, templates, _health) = board();
    board.answer(0, template(9, 1), board.generation(0), Timestamp(2));
    assert!(board.push(0, template(7, 3), Timestamp(3)));
    assert_eq!(templates.borrow().as_ref().unwrap().height, 7);
}

#[test]
fn who_serves() {
    for (heights, active, chosen) in [
        (&[None, None][..], Some(0), None),
        (&[Some(5), Some(5)], None, Some(0)),
        (&[None, Some(5)], None, Some(1)),
        // Behind: it does not take over, it may keep serving by one block, not by two.
        (&[Some(5), Some(6)], None, Some(1)),
        (&[Some(5), Some(6)], Some(0), Some(0)),
        (&[Some(5), Some(7)], Some(0), Some(1)),
        (&[Some(7), Some(7)], Some(1), Some(0)),
    ] {
        assert_eq!(choose(heights, active), chosen, "{heights:?} {active:?}");
    }
}
