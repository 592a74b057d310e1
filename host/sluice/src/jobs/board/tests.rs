use bitcoin::hashes::Hash;
use bitcoin::{Address, Amount, Network, ScriptBuf, WPubkeyHash};
use sluice_core::ids::Protocol;
use sluice_core::policy::payout::Window;
use sluice_core::units::Moment;

use super::*;
use crate::config::{CoinbaseClass, Pool};
use crate::jobs::keeper::tests::template;

/// The address number `number`.
pub(in crate::jobs) fn address(number: u32) -> Address {
    let mut hash = [7; 20];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(hash));
    Address::from_script(&script, Network::Regtest).unwrap()
}

/// 750 bytes, "rented" with 500 and "roomy" with 6500.
pub(crate) fn classes() -> Classes {
    let class = |name: &str, agent: &str, bytes| CoinbaseClass {
        name: name.to_owned(),
        agents: vec![agent.to_owned()],
        bytes,
    };
    Classes::new(&Pool {
        tag: "/test/".to_owned(),
        address: address(0),
        coinbase_bytes: 750,
        coinbase_classes: vec![class("rented", "nicehash", 500), class("roomy", "^bitaxe", 6500)],
    })
}

/// A miner that says this of itself.
pub(crate) fn client(agent: &str, hardware: &str) -> Client {
    Client {
        protocol: Protocol::StratumV2,
        listener: "test".into(),
        address: "127.0.0.1".into(),
        agent: agent.into(),
        hardware: hardware.into(),
    }
}

fn plan(per_finder: bool) -> Plan {
    Plan { window: Window::Round, per_finder, accrues: false, pays_balances: false }
}

fn board(per_finder: bool) -> Arc<Board> {
    let config = BoardConfig {
        mark: PoolMark { tag: b"/test/".to_vec(), extranonce_length: 12 },
        rollable: VersionMask::BIP320,
        refresh: Duration::from_secs(60),
        classes: classes(),
    };
    let board = Board::new(config, Clock::start(), plan(per_finder), 1, Arc::new(Metrics::new()));
    let work = Work::new(Arc::new(template(1, 0x207f_ffff)), (TipNumber(1), Moment(0)), VersionMask::BIP320);
    board.set_work(&Arc::new(work));
    board
}

fn account(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

fn publish(board: &Board, finder: &Finder, class: Class) {
    let house = Payment { account: String::new(), address: address(0), amount: Amount::ZERO };
    board.publish(finder, class, [house].into());
}

fn rented() -> Class {
    classes().of(&client("NiceHash/1.0", ""))
}

fn roomy() -> Class {
    classes().of(&client("bitaxe/BM1370", ""))
}

fn id(posting: &Posting) -> Option<JobId> {
    posting.borrow().as_ref().map(|published| published.job.id)
}

#[test]
fn a_miner_is_known_by_its_agent_or_its_hardware() {
    let classes = classes();
    assert_eq!(classes.bytes(rented()), 500);
    assert_eq!(classes.bytes(roomy()), 6500);
    assert_eq!(classes.of(&client("acme 1.2", "Bitaxe Gamma")), roomy());
    // The first of the list, and none for who is not known.
    assert_eq!(classes.of(&client("bitaxe for NiceHash", "")), rented());
    for (agent, hardware) in [("", ""), ("cgminer/4.12", "S9"), ("my bitaxe", "")] {
        assert_eq!(classes.of(&client(agent, hardware)), Class::DEFAULT, "{agent}");
    }
    assert_eq!(classes.bytes(Class::DEFAULT), 750);
}

#[test]
fn classes_have_lines_of_their_own() {
    let board = board(false);
    let alice = account("alice");
    let (plain, coinbase) = board.subscribe(&alice, Class::DEFAULT);
    let (narrow, _) = board.subscribe(&alice, rented());
    assert_eq!(coinbase, Coinbase::Everybodys);
    publish(&board, &None, Class::DEFAULT);
    assert!(id(&plain).is_some() && id(&narrow).is_none());
    publish(&board, &None, rented());
    let (first, second) = (id(&plain).unwrap(), id(&narrow).unwrap());
    assert_ne!(first, second);
    // A job to carry a difficulty is made for the class that needs one.
    let fresh = board.fresh(&alice, rented(), Some(second)).unwrap().job.id;
    assert_eq!(
        board.fresh(&account("bob"), rented(), Some(second)).unwrap().job.id,
        fresh,
        "for all of the class"
    );
    assert_eq!(board.fresh(&alice, Class::DEFAULT, None).unwrap().job.id, first);
    assert!(board.fresh(&alice, roomy(), None).is_none(), "nobody is in it");
}

#[test]
fn a_class_costs_nothing_while_nobody_is_in_it() {
    let board = board(false);
    let alice = account("alice");
    assert_eq!(board.wanted(), [(None, vec![Class::DEFAULT])]);
    let (posting, _) = board.subscribe(&alice, roomy());
    assert_eq!(board.wanted(), [(None, vec![Class::DEFAULT, roomy()])]);
    for class in [Class::DEFAULT, roomy()] {
        publish(&board, &None, class);
    }
    let (before, newest) = (id(&posting), board.newest());
    board.refresh();
    assert_ne!(id(&posting), before);
    drop(posting);
    let published = id(&newest);
    board.refresh();
    assert_ne!(id(&newest), published, "the line of no class is refreshed for who comes next");
    assert_eq!(board.wanted(), [(None, vec![Class::DEFAULT])]);
    assert!(board.fresh(&alice, roomy(), None).is_none());
}

#[tokio::test]
async fn a_newcomer_of_a_new_class_is_served_at_once() {
    let board = board(false);
    let (_plain, _) = board.subscribe(&account("alice"), Class::DEFAULT);
    let (_roomy, _) = board.subscribe(&account("alice"), roomy());
    let (_again, _) = board.subscribe(&account("bob"), roomy());
    assert_eq!(board.request().await, (None, roomy()), "once; and everybody's of no class is always kept");
    assert!(board.lock().requested.is_empty());
}

#[tokio::test]
async fn every_finder_has_the_classes_of_its_miners() {
    let board = board(true);
    let (alice, bob) = (account("alice"), account("bob"));
    let (own, coinbase) = board.subscribe(&alice, Class::DEFAULT);
    let (narrow, _) = board.subscribe(&alice, rented());
    let (_other, _) = board.subscribe(&bob, rented());
    assert_eq!(coinbase, Coinbase::Own);
    for expected in [(&alice, Class::DEFAULT), (&alice, rented()), (&bob, rented())] {
        assert_eq!(board.request().await, (Some(expected.0.clone()), expected.1));
    }
    let mut wanted = board.wanted();
    wanted.sort_by_key(|(finder, _)| finder.clone().map(|finder| finder.as_str().to_owned()));
    assert_eq!(wanted, [(Some(alice.clone()), vec![Class::DEFAULT, rented()]), (Some(bob), vec![rented()])]);
    publish(&board, &Some(alice.clone()), rented());
    assert!(id(&own).is_none() && id(&narrow).is_some());
    assert_eq!(narrow.borrow().as_ref().unwrap().job.owner, Some(alice.clone()));
    // Another plan closes them all.
    board.set_plan(plan(false));
    assert!(own.has_changed().is_err() && narrow.has_changed().is_err());
    let (posting, coinbase) = board.subscribe(&alice, rented());
    assert_eq!(coinbase, Coinbase::Everybodys);
    assert_eq!(board.request().await, (None, rented()));
    drop(posting);
}

#[test]
fn job_ids_wrap() {
    assert!(is_newer(JobId(6), JobId(5)));
    assert!(!is_newer(JobId(5), JobId(5)));
    assert!(is_newer(JobId(0), JobId(u32::MAX)));
    assert!(!is_newer(JobId(4), JobId(5)));
}
