use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use proptest::prelude::*;

use super::*;
use crate::payouts::testchain::{output, script, spending};

fn input(number: u8, sats: u64) -> Input {
    let outpoint = OutPoint::new(Txid::from_byte_array([number; 32]), 0);
    Input { coin: Coin { outpoint, amount: Amount::from_sat(sats) }, script: script(number), previous: None }
}

fn order(amounts: &[u64], rate: &str) -> Order {
    Order {
        lines: (100..).zip(amounts).map(|(number, sats)| output(&script(number), *sats)).collect(),
        change: script(1),
        rate: rate.parse().unwrap(),
        version: 2,
        input_vsize: None,
        forced: false,
    }
}

#[test]
fn pays_the_lines_in_order_and_then_the_change() {
    let order = order(&[50_000, 70_000], "2");
    let draft = Draft::new(&order, vec![input(9, 100_000), input(3, 90_000)]).unwrap();
    let transaction = draft.transaction();
    assert_eq!(transaction.output[..2], order.lines[..]);
    let change = transaction.output[2].clone();
    assert_eq!(change.script_pubkey, script(1));
    assert_eq!(draft.change, Some(change.value));
    assert_eq!(draft.fee.to_sat(), 190_000 - 120_000 - change.value.to_sat());
    assert_eq!(draft.fee, order.rate.fee(draft.vsize));
    // Two P2WPKH inputs, three such outputs: 10.5 + 2 * 68 + 3 * 31 vB.
    assert_eq!(draft.vsize, 240);
    assert!(transaction.is_explicitly_rbf());
    assert!(draft.keeps_its_id());
}

#[test]
fn the_same_coins_and_rate_give_the_same_transaction_in_any_order() {
    let order = order(&[50_000, 70_000], "2");
    let coins = [input(9, 100_000), input(3, 90_000), input(5, 80_000)];
    let mut turned = coins.to_vec();
    turned.reverse();
    let first = Draft::new(&order, coins.to_vec()).unwrap();
    assert_eq!(first, Draft::new(&order, turned).unwrap());
    // Another rate: other change, the same coins, so that only one of the two can confirm.
    let bumped = Draft::new(&Order { rate: "5".parse().unwrap(), ..order }, coins.to_vec()).unwrap();
    assert_ne!(first.transaction().compute_txid(), bumped.transaction().compute_txid());
    let spent = |draft: &Draft| draft.inputs.iter().map(|input| input.coin).collect::<Vec<_>>();
    assert_eq!(spent(&first), spent(&bumped));
    assert_eq!(bumped.transaction().output[..2], first.transaction().output[..2]);
}

#[test]
fn change_that_nodes_would_not_relay_goes_to_the_miners() {
    let order = order(&[100_000], "1");
    let dust = script(1).minimal_non_dust().to_sat();
    // Without change 110 vB (10.5 + 68 + 31), with it 141.
    let none = Draft::new(&order, vec![input(2, 100_000 + 141 + dust - 1)]).unwrap();
    assert_eq!((none.change, none.fee.to_sat(), none.outputs.len()), (None, 141 + dust - 1, 1));
    let some = Draft::new(&order, vec![input(2, 100_000 + 141 + dust)]).unwrap();
    assert_eq!((some.change, some.fee.to_sat()), (Some(Amount::from_sat(dust)), 141));
    let exact = Draft::new(&order, vec![input(2, 100_110)]).unwrap();
    assert_eq!((exact.change, exact.fee.to_sat()), (None, 110));
    let error = Draft::new(&order, vec![input(2, 100_109)]).unwrap_err();
    assert_eq!(
        error,
        DraftError::NotEnough { needed: Amount::from_sat(100_110), there: Amount::from_sat(100_109) }
    );
}

#[test]
fn fees_above_a_tenth_are_forced_or_not_paid() {
    let coins = vec![input(2, 1_000_000)];
    let small = order(&[1_400], "1");
    let error = Draft::new(&small, coins.clone()).unwrap_err();
    assert!(matches!(error, DraftError::FeeTooHigh { .. }), "{error}");
    assert!(error.to_string().contains("--force"));
    let draft = Draft::new(&Order { forced: true, ..small }, coins.clone()).unwrap();
    assert_eq!(draft.fee.to_sat(), 141);
    assert_eq!(Draft::new(&order(&[1_410], "1"), coins).unwrap().fee.to_sat(), 141);
}

#[test]
fn coins_without_amount_under_the_signature_need_their_transaction() {
    let previous = spending(&[OutPoint::null()], vec![output(&script(2), 100_000)]);
    let legacy = ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::from_byte_array([7; 20]));
    let coin = Input { script: legacy, ..input(2, 100_000) };
    let order = order(&[50_000], "1");
    let error = Draft::new(&order, vec![coin.clone()]).unwrap_err();
    assert!(matches!(error, DraftError::NoPrevious(_)), "{error}");
    let draft = Draft::new(&order, vec![Input { previous: Some(previous), ..coin }]).unwrap();
    assert!(!draft.keeps_its_id());
}

#[test]
fn what_nodes_do_not_relay_is_refused() {
    let order = order(&[2_000_000; 100], "1");
    let many = Order { lines: order.lines.iter().cycle().take(3300).cloned().collect(), ..order };
    let error = Draft::new(&many, vec![input(2, 10_000_000_000)]).unwrap_err();
    assert!(matches!(error, DraftError::TooLarge { .. }), "{error}");
}

proptest! {
    #[test]
    fn nothing_is_lost(
        coins in prop::collection::vec(600u64..100_000_000, 1..20),
        lines in prop::collection::vec(600u64..10_000_000, 1..40),
        rate in 1u64..50_000,
    ) {
        let rate = format!("{}.{:03}", rate / 1000, rate % 1000);
        let order = Order { forced: true, ..order(&lines, &rate) };
        let inputs: Vec<Input> = (1..).zip(&coins).map(|(number, sats)| input(number, *sats)).collect();
        let there: u64 = coins.iter().sum();
        match Draft::new(&order, inputs) {
            Ok(draft) => {
                let paid: u64 = draft.transaction().output.iter().map(|output| output.value.to_sat()).sum();
                prop_assert_eq!(there, paid + draft.fee.to_sat());
                prop_assert!(draft.fee >= order.rate.fee(draft.vsize));
                prop_assert!(draft.transaction().output.iter().all(|it| it.value >= it.script_pubkey.minimal_non_dust()));
            }
            Err(DraftError::NotEnough { needed, .. }) => prop_assert!(needed.to_sat() > there),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
