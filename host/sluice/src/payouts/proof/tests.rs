use bitcoin::OutPoint;

use super::*;
use crate::payouts::testchain::{address, output, script, spending};

fn line(account: &str, number: u8, sats: u64) -> Line {
    Line { account: account.into(), address: address(number).to_string(), amount: Amount::from_sat(sats) }
}

fn compared(outputs: Vec<TxOut>, lines: &[Line]) -> Result<Vec<TxOut>, String> {
    let transaction = spending(&[OutPoint::null()], outputs);
    check(&transaction, lines, Network::Regtest, &[script(1)]).map_err(|mismatch| mismatch.to_string())
}

#[test]
fn each_line_has_an_output_of_its_own() {
    let lines = [line("a", 10, 5000), line("b", 11, 7000), line("twin", 10, 5000)];
    let (a, b) = (output(&script(10), 5000), output(&script(11), 7000));
    // In any order, with change to the pool or to whatever the operator's wallet takes.
    let change = output(&script(1), 900);
    assert_eq!(compared(vec![b.clone(), change.clone(), a.clone(), a.clone()], &lines), Ok(vec![change]));
    let elsewhere = output(&script(77), 900);
    assert_eq!(
        compared(vec![a.clone(), elsewhere.clone(), a.clone(), b.clone()], &lines),
        Ok(vec![elsewhere])
    );
    // One output does not pay two accounts with the same address.
    let error = compared(vec![a, b], &lines).unwrap_err();
    assert!(error.starts_with("twin is to get 0.00005000 BTC at"), "{error}");
}

#[test]
fn the_first_difference_is_told() {
    let lines = [line("a", 10, 5000), line("b", 11, 7000)];
    let (a, b) = (output(&script(10), 5000), output(&script(11), 7000));
    let error = compared(vec![a.clone(), output(&script(11), 6999)], &lines).unwrap_err();
    assert!(error.starts_with("b is to get") && error.ends_with("pays 0.00006999 BTC there"), "{error}");
    let error = compared(vec![b.clone()], &lines).unwrap_err();
    assert!(error.starts_with("a is to get") && error.contains("no output"), "{error}");
    let error = compared(vec![a.clone(), b, a], &lines).unwrap_err();
    assert!(error.contains("beside what the batch pays"), "{error}");
}

#[test]
fn a_line_that_pays_the_pools_own_address_is_told_from_the_change() {
    let lines = [line("operator", 1, 5000)];
    let change = output(&script(1), 900);
    assert_eq!(compared(vec![output(&script(1), 5000), change.clone()], &lines), Ok(vec![change]));
}

#[test]
fn addresses_of_another_network_are_no_addresses() {
    let lines =
        [Line { address: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".into(), ..line("a", 10, 5000) }];
    assert!(
        compared(vec![output(&script(10), 5000)], &lines)
            .unwrap_err()
            .contains("not an address of the network")
    );
}
