//! Whom a coinbase pays.

use std::collections::BTreeSet;

use bitcoin::Network;
use bitcoin::hashes::Hash;
use bitcoin::{KnownHrp, PubkeyHash, ScriptHash, WPubkeyHash, WScriptHash, WitnessProgram, WitnessVersion};
use proptest::prelude::*;

use super::*;
use crate::policy::split::Credit;

fn credit(account: &str, sats: u64) -> Credit {
    Credit { account: account.into(), amount: Amount::from_sat(sats), reason: String::new() }
}

fn owed(list: &[(&str, u64)]) -> Owed {
    list.iter().map(|(account, sats)| ((*account).to_owned(), Amount::from_sat(*sats))).collect()
}

fn seen(payments: &[Payment]) -> Vec<(&str, u64)> {
    payments.iter().map(|payment| (payment.account.as_str(), payment.amount.to_sat())).collect()
}

fn payments(
    credits: &[Credit],
    owed: &Owed,
    address_of: &dyn Fn(&str) -> Option<Address>,
    pool: &Address,
    room: (usize, usize),
) -> Vec<Payment> {
    Claims::new(credits, owed).payments(address_of, pool, room)
}

/// Room for so many P2WPKH outputs beside the pool's.
fn room_for(outputs: usize) -> (usize, usize) {
    let overhead = overhead(&mark());
    (overhead + 31 * (outputs + 1), overhead)
}

#[test]
fn dust_and_accounts_without_address_go_to_the_pool() {
    let address_of = |account: &str| (account != "nowhere").then(pool);
    let credits = [credit("a", 10_000), credit("dust", 200), credit("nowhere", 5_000), credit("", 100)];
    let payments = payments(&credits, &Owed::new(), &address_of, &pool(), (750, overhead(&mark())));
    assert_eq!(seen(&payments), [("a", 10_000), ("", 5_300)]);
}

#[test]
fn balances_are_paid_from_what_the_pool_would_keep() {
    let credits = [credit("a", 10_000), credit("dust", 200), credit("", 2_000)];
    let paid = |owed: &Owed| payments(&credits, owed, &|_| Some(pool()), &pool(), room_for(10));
    // Dust becomes an output together with what was owed.
    assert_eq!(seen(&paid(&owed(&[("dust", 300)]))), [("a", 10_000), ("dust", 500), ("", 1_700)]);
    // Somebody who has no part of this block.
    assert_eq!(seen(&paid(&owed(&[("old", 700)]))), [("a", 10_000), ("old", 700), ("", 1_500)]);
    // The largest sum first; what is left is part of the next.
    assert_eq!(seen(&paid(&owed(&[("a", 1_000), ("old", 9_000)]))), [("a", 11_000), ("old", 1_200)]);
}

#[test]
fn a_credit_that_fits_is_paid_before_any_balance() {
    let credits = [credit("small", 1_000), credit("large", 5_000), credit("dust", 10), credit("", 50_000)];
    let owed = owed(&[("dust", 20_000), ("old", 30_000)]);
    let paid = |outputs| payments(&credits, &owed, &|_| Some(pool()), &pool(), room_for(outputs));
    assert_eq!(seen(&paid(2)), [("large", 5_000), ("small", 1_000), ("", 50_010)]);
    assert_eq!(seen(&paid(3))[0], ("old", 30_000), "the larger of the two that come next");
    assert_eq!(seen(&paid(4)), [("old", 30_000), ("dust", 20_010), ("large", 5_000), ("small", 1_000)]);
}

#[test]
fn a_part_of_a_balance_is_not_dust_and_never_less_than_the_credit() {
    let paid = |house, owed: &Owed| {
        let credits = [credit("a", 10_000), credit("dust", 290), credit("", house)];
        let paid = payments(&credits, owed, &|_| Some(pool()), &pool(), room_for(5));
        paid.into_iter().map(|payment| (payment.account, payment.amount.to_sat())).collect::<Vec<_>>()
    };
    let is = |account: &str, sats| (account.to_owned(), sats);
    // 293 satoshis are left, which is dust, then 294, which is not.
    assert_eq!(paid(3, &owed(&[("old", 9_000)])), [is("a", 10_000), is("", 293)]);
    assert_eq!(paid(4, &owed(&[("old", 9_000)])), [is("a", 10_000), is("old", 294)]);
    // What is left after the largest does not come to the other's credit: it stays with the pool.
    assert_eq!(
        paid(400, &owed(&[("old", 600), ("dust", 100)])),
        [is("a", 10_000), is("old", 600), is("", 90)]
    );
}

#[test]
fn outputs_that_need_signature_checks_are_only_so_many() {
    // A template leaves a cost of 400 to the coinbase, and one P2PKH output costs 4.
    let legacy = Address::p2pkh(PubkeyHash::all_zeros(), Network::Regtest);
    let credits: Vec<_> = (0..150).map(|index| credit(&format!("a{index:03}"), 10_000)).collect();
    let room = (60_000, overhead(&mark()));
    let paid = payments(&credits, &Owed::new(), &|_| Some(legacy.clone()), &pool(), room);
    assert_eq!(paid.len(), 100 + 1);
    let segwit = payments(&credits, &Owed::new(), &|_| Some(pool()), &pool(), room);
    assert_eq!(segwit.len(), 150);
}

/// An address of every kind there is, by its number.
fn address(kind: usize) -> Address {
    match kind % 6 {
        0 => Address::p2pkh(PubkeyHash::all_zeros(), Network::Regtest),
        1 => Address::p2sh_from_hash(ScriptHash::all_zeros(), Network::Regtest),
        2 => {
            let program = WitnessProgram::new(WitnessVersion::V0, WPubkeyHash::all_zeros().as_ref()).unwrap();
            Address::from_witness_program(program, KnownHrp::Regtest)
        }
        3 => {
            let program = WitnessProgram::new(WitnessVersion::V0, WScriptHash::all_zeros().as_ref()).unwrap();
            Address::from_witness_program(program, KnownHrp::Regtest)
        }
        4 => Address::from_witness_program(
            WitnessProgram::new(WitnessVersion::V1, &[7; 32]).unwrap(),
            KnownHrp::Regtest,
        ),
        _ => Address::from_witness_program(
            WitnessProgram::new(WitnessVersion::V16, &[7; 40]).unwrap(),
            KnownHrp::Regtest,
        ),
    }
}

/// Accounts a0, a1, ..: what each is credited and owed, and the kind of its address.
fn histories(most: usize) -> impl Strategy<Value = Vec<(u64, u64, usize)>> {
    let amount = || prop_oneof![Just(0), 0u64..1_000, 0u64..10_000_000];
    prop::collection::vec((amount(), amount(), 0usize..7), 0..most)
}

fn of(account: &str) -> usize {
    account.trim_start_matches('a').parse().unwrap()
}

fn check(accounts: &[(u64, u64, usize)], house: u64, pool_kind: usize, room: usize) {
    let name = |index: usize| format!("a{index}");
    let house = credit("", house);
    let accounts_credits =
        accounts.iter().enumerate().map(|(index, (sats, _, _))| credit(&name(index), *sats));
    let credits: Vec<_> = std::iter::once(house).chain(accounts_credits).collect();
    let owed: Owed = accounts
        .iter()
        .enumerate()
        .filter(|(_, (_, sats, _))| *sats > 0)
        .map(|(index, (_, sats, _))| (name(index), Amount::from_sat(*sats)))
        .collect();
    // Every seventh has no address.
    let address_of = |account: &str| Some(accounts[of(account)].2).filter(|kind| *kind < 6).map(address);
    let (own, room_of) = (address(pool_kind), (room, overhead(&mark())));
    let before = payments(&credits, &Owed::new(), &address_of, &own, room_of);
    let after = payments(&credits, &owed, &address_of, &own, room_of);
    let reward: Amount = credits.iter().map(|credit| credit.amount).sum();
    for paid in [&before, &after] {
        let outputs: Vec<TxOut> = paid
            .iter()
            .map(|payment| TxOut { value: payment.amount, script_pubkey: payment.address.script_pubkey() })
            .collect();
        // Fails where the sum is not exactly the reward.
        let coinbase = Coinbase::new(900_000, 1, &mark(), &outputs, (reward, Some(&[0; 38]))).unwrap();
        assert!(coinbase.len() <= room, "{} bytes in {room}", coinbase.len());
        let sigops: usize = outputs.iter().map(|output| output.script_pubkey.count_sigops_legacy()).sum();
        assert!(sigops <= 100, "{sigops}");
    }
    for payment in after.iter().filter(|payment| !payment.account.is_empty()) {
        let (credit, owed, _) = accounts[of(&payment.account)];
        let sats = payment.amount.to_sat();
        assert!((credit..=credit + owed).contains(&sats), "{sats} for {credit} and {owed}");
        assert!(payment.amount >= payment.address.script_pubkey().minimal_non_dust());
    }
    let names = |paid: &[Payment]| -> BTreeSet<String> {
        paid.iter().map(|payment| payment.account.clone()).filter(|account| !account.is_empty()).collect()
    };
    assert!(
        names(&after).is_superset(&names(&before)),
        "who fits by credit alone is paid whatever others are owed"
    );
    assert_eq!(
        names(&after).len(),
        after.iter().filter(|payment| !payment.account.is_empty()).count(),
        "each once"
    );
}

proptest! {
    #[test]
    fn few_accounts_are_paid_by_the_rules(accounts in histories(60), house in 0u64..1_000_000, kind in 0usize..6, room in 300usize..2000) {
        check(&accounts, house, kind, room);
    }

    #[test]
    fn many_accounts_are_paid_by_the_rules(accounts in histories(500), house in 0u64..1_000_000, kind in 0usize..6, room in 300usize..20_000) {
        check(&accounts, house, kind, room);
    }
}
