//! The suite of `sluice plugin test`: policies that keep the contract pass it, and each way to break it is named.

use std::path::Path;

use sluice_core::policy::PolicyKind;
use sluice_policy::config::Settings;
use sluice_policy::conformance::{Check, Scenarios, conformance};
use tempfile::TempDir;

use crate::guest::{Accrual, Grant, Guest, HOARD, RECURSE, TRAP};
use crate::house::{loader, settings};
use crate::lookup::{asks, asks_with};

fn checked(kind: PolicyKind, wasm: &[u8], settings: &Settings) -> Vec<Check> {
    let root = TempDir::new().unwrap();
    conformance(wasm, kind, settings, &loader(root.path()))
}

/// The failed checks of a guest, with what they say.
fn failures(kind: PolicyKind, guest: Guest) -> Vec<(String, String)> {
    let failed = |check: Check| Some((check.name, check.error?));
    checked(kind, &guest.build(), &Settings::new()).into_iter().filter_map(failed).collect()
}

/// Takes no settings, as a conforming policy must not.
fn careful(guest: Guest) -> Guest {
    let longer_than_empty = "(i32.gt_u (local.get 1) (i32.const 2))";
    guest.fails("configure", 0, "no-such-setting-anywhere: no such setting", longer_than_empty)
}

fn new(kind: PolicyKind) -> Guest {
    careful(Guest::new(kind, "guest"))
}

/// Some check whose name contains `name` fails, and says `why`.
fn assert_found(kind: PolicyKind, guest: Guest, name: &str, why: &str) {
    let failures = failures(kind, guest);
    let found = failures.iter().any(|(check, said)| check.contains(name) && said.contains(why));
    assert!(found, "{name:?} fails with {why:?}; these do: {failures:#?}");
}

#[test]
fn policies_that_keep_the_contract_pass() {
    assert_eq!(failures(PolicyKind::Auth, new(PolicyKind::Auth)), []);
    assert_eq!(failures(PolicyKind::Vardiff, new(PolicyKind::Vardiff)), []);
    let all_to_the_house = new(PolicyKind::Payout).settles("", 0, 1, "the house's");
    assert_eq!(failures(PolicyKind::Payout, all_to_the_house), []);
}

#[test]
fn the_shipped_policies_keep_the_contract() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    let account = r#"{"accounts":{"alice":{"minimum-difficulty":1000}}}"#;
    for (name, kind, with) in [
        ("auth-address", PolicyKind::Auth, r#"{"network":"regtest"}"#),
        ("auth-directory", PolicyKind::Auth, r#"{"url":"https://a.example/{account}"}"#),
        ("auth-table", PolicyKind::Auth, account),
        ("vardiff-steady", PolicyKind::Vardiff, "{}"),
        ("payout-pplns", PolicyKind::Payout, "{}"),
        ("payout-solo", PolicyKind::Payout, r#"{"fee-bps":100}"#),
        ("payout-tides", PolicyKind::Payout, "{}"),
        ("payout-fpps", PolicyKind::Payout, r#"{"fee-bps":200}"#),
    ] {
        let wasm = std::fs::read(dist.join(format!("{name}.wasm"))).unwrap();
        let checks = checked(kind, &wasm, &settings(with));
        let failed: Vec<_> = checks.iter().filter(|check| check.error.is_some()).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
        assert!(checks.len() > 9, "{name}: {checks:#?}");
    }
}

#[test]
fn a_setting_that_is_not_known_must_be_refused_by_name() {
    let careless = Guest::new(PolicyKind::Auth, "careless");
    assert_found(PolicyKind::Auth, careless, "a setting that it does not know", "default in disguise");
    let vague = Guest::new(PolicyKind::Auth, "vague").fails(
        "configure",
        0,
        "bad settings",
        "(i32.gt_u (local.get 1) (i32.const 2))",
    );
    assert_found(PolicyKind::Auth, vague, "a setting that it does not know", "without naming it");
}

#[test]
fn a_policy_that_does_not_load_fails_at_that() {
    let broken = new(PolicyKind::Payout).fails("self-test", 2, "the sums differ", "(i32.const 1)");
    assert_found(PolicyKind::Payout, broken, "loads", "the sums differ");
    let checks = checked(PolicyKind::Auth, b"\0asm\x01\0\0\0", &Settings::new());
    assert_eq!(checks.len(), 1, "{checks:#?}");
}

#[test]
fn traps_are_found_whatever_the_question() {
    let auth = || new(PolicyKind::Auth);
    assert_found(PolicyKind::Auth, auth().body("authorize", TRAP), "plain logins", "stopped");
    assert_found(PolicyKind::Auth, auth().body("authorize", RECURSE), "plain logins", "stack");
    assert_found(PolicyKind::Auth, auth().body("authorize", HOARD), "plain logins", "memory");
    // Only on usernames of 1,024 bytes.
    let long = "(if (i32.eq (local.get 1) (i32.const 1024)) (then unreachable))";
    let picky = auth().refuses("no").body_before("authorize", long);
    assert_found(PolicyKind::Auth, picky, "usernames of every length", "stopped");
    let vardiff = new(PolicyKind::Vardiff).body("review-all", TRAP);
    assert_found(PolicyKind::Vardiff, vardiff, "plain reviews", "stopped");
    let payout = new(PolicyKind::Payout).body("accrue", TRAP);
    assert_found(PolicyKind::Payout, payout, "no tallies", "stopped");
}

#[test]
fn answers_that_the_pool_would_refuse_are_found() {
    let nobody = Grant { account: String::new(), ..Grant::default() };
    assert_found(PolicyKind::Auth, new(PolicyKind::Auth).grants(&nobody), "plain logins", "account");
    for difficulty in [f64::INFINITY, f64::NAN, 0.0, -1.0] {
        let guest = new(PolicyKind::Vardiff).decides(difficulty);
        assert_found(PolicyKind::Vardiff, guest, "plain opening", "difficulty");
    }
    let silent = new(PolicyKind::Vardiff).body("review-all", "(i32.const 16)");
    assert_found(PolicyKind::Vardiff, silent, "ten thousand reviews", "one for each");
    let payout = || new(PolicyKind::Payout);
    assert_found(
        PolicyKind::Payout,
        payout().settles("", 1, 1 << 52, "all"),
        "plain round",
        "more than the reward",
    );
    assert_found(PolicyKind::Payout, payout().settles("mallory", 0, 1, "me"), "plain round", "not known");
    // By work alone: nobody takes the rest where there is none.
    assert_found(PolicyKind::Payout, payout(), "accounts without work", "no portion has a weight");
    let generous = [Accrual { account: "alice", sats: 1_000_000_000, microsats: 0 }];
    assert_found(PolicyKind::Payout, payout().accrues(&generous), "accrues plain work", "no more is allowed");
}

#[test]
fn answers_that_depend_on_more_than_the_question_are_found() {
    let count = "(global.set $calls (i32.add (global.get $calls) (i32.const 1))) \
                 (i32.and (global.get $calls) (i32.const 1))";
    let moody = new(PolicyKind::Vardiff).fails("review-all", 1, "not now", count);
    assert_found(PolicyKind::Vardiff, moody, "the same question the same way", "asked twice");
    let found_only = new(PolicyKind::Payout).settles("", 0, 1, "the house's").fails(
        "settle",
        1,
        "no previews",
        "(i32.eqz (local.get 0))",
    );
    assert_found(PolicyKind::Payout, found_only, "a preview", "then");
}

fn scenarios(json: &str) -> Scenarios {
    serde_json::from_str(json).unwrap()
}

/// Name and error of each check.
fn run(guest: Guest, kind: PolicyKind, json: &str) -> Vec<(String, Option<String>)> {
    let root = TempDir::new().unwrap();
    let checks = scenarios(json).run(&guest.build(), kind, &loader(root.path()));
    checks.into_iter().map(|check| (check.name, check.error)).collect()
}

#[test]
fn scenarios_compare_what_is_given_and_name_what_differs() {
    let guest = new(PolicyKind::Auth).grants(&Grant {
        account: "alice".to_owned(),
        start: Some(64.0),
        ..Grant::default()
    });
    let calls = r#"{ "call": [
        { "name": "as granted", "function": "authorize", "input": { "username": "alice" },
          "expect": { "ok": { "account": "alice", "worker": "rig", "start-difficulty": 64, "payout-address": false } } },
        { "name": "another account", "function": "authorize", "expect": { "ok": { "account": "bob" } } },
        { "name": "refused", "function": "authorize", "expect": { "err": "unknown-user" } },
        { "name": "misspelt", "function": "authorize", "input": { "user": "x" }, "expect": {} },
        { "name": "of another kind", "function": "settle", "expect": {} }
    ] }"#;
    let checks = run(guest, PolicyKind::Auth, calls);
    assert_eq!(checks[0], ("as granted".to_owned(), None));
    let said = |index: usize| checks[index].1.clone().unwrap();
    assert!(said(1).contains("\"bob\" is expected"), "{}", said(1));
    assert!(said(2).contains("err is expected"), "{}", said(2));
    assert!(said(3).contains("unknown field `user`"), "{}", said(3));
    assert!(said(4).contains("payout policies"), "{}", said(4));
}

#[test]
fn scenarios_of_payouts_name_portions_plans_and_errors() {
    let guest = new(PolicyKind::Payout).settles("", 0, 7, "all");
    let calls = r#"{ "call": [
        { "name": "plan", "function": "describe-plan", "expect": { "window": { "work": 2 }, "accrues": false } },
        { "name": "settle", "function": "settle", "input": { "subsidy": 10 },
          "expect": { "ok": [ { "account": "", "portion": { "weight": 7 }, "reason": "all" } ] } },
        { "name": "accrue", "function": "accrue", "input": [ {} ], "expect": { "ok": [] } },
        { "name": "one too many", "function": "settle", "expect": { "ok": [ {}, {} ] } }
    ] }"#;
    let checks = run(guest, PolicyKind::Payout, calls);
    assert!(checks.iter().take(3).all(|(_, error)| error.is_none()), "{checks:#?}");
    assert!(checks[3].1.as_deref().unwrap().contains("has 1 elements, 2 are expected"), "{checks:#?}");
}

#[test]
fn an_instance_that_trapped_is_replaced_for_the_next_call() {
    let trap = "(if (i32.eq (local.get 1) (i32.const 1)) (then unreachable))";
    let guest = new(PolicyKind::Auth).refuses("no").body_before("authorize", trap);
    let calls = r#"{ "call": [
        { "name": "trap", "function": "authorize", "input": { "username": "x" }, "expect": {} },
        { "name": "next", "function": "authorize", "input": { "username": "xy" }, "expect": { "err": { "unknown-user": "no" } } }
    ] }"#;
    let checks = run(guest, PolicyKind::Auth, calls);
    assert!(checks[0].1.as_deref().unwrap().contains("stopped"), "{checks:#?}");
    assert_eq!(checks[1].1, None, "{checks:#?}");
}

#[test]
fn settings_that_must_be_refused_are_a_scenario_too() {
    let refused = r#"{ "settings": { "a": 1 }, "refused": "no-such-setting" }"#;
    assert_eq!(run(new(PolicyKind::Auth), PolicyKind::Auth, refused)[0].1, None);
    let taken = run(Guest::new(PolicyKind::Auth, "careless"), PolicyKind::Auth, refused);
    assert_eq!(taken[0].1.as_deref(), Some("it takes them"));
}

const USERS: &str = "http://accounts.example/users/";

#[test]
fn a_policy_that_looks_things_up_is_asked_whatever_a_service_says() {
    // The account is the username, whatever the body of an answer is.
    let by_name = "(i32.store (i32.const 1208) (local.get 0)) (i32.store (i32.const 1212) (local.get 1))";
    let robust = || asks_with("directory", &[USERS], "", by_name);
    let checks = checked(PolicyKind::Auth, &careful(robust()).build(), &Settings::new());
    let failed: Vec<_> = checks.iter().filter(|check| check.error.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for name in ["whatever is said", "in the same order"] {
        assert!(checks.iter().any(|check| check.name.contains(name)), "{checks:#?}");
    }
    let trusting = careful(asks("trusting", &[USERS]));
    assert_found(PolicyKind::Auth, trusting, "whatever is said", "account name is empty");
    // Traps where the service is down.
    let fragile = "(if (i32.load8_u (i32.const 1024)) (then unreachable))";
    let fragile = careful(asks_with("fragile", &[USERS], fragile, by_name));
    assert_found(PolicyKind::Auth, fragile, "whatever is said", "no answer");
}

#[test]
fn scenarios_say_what_services_say() {
    let calls = r#"{ "call": [
        { "name": "told", "function": "authorize", "input": { "username": "alice" },
          "lookups": [ { "url": "http://accounts.example/users/alice", "body": "alice-ltd", "stale": true },
                       { "url": "http://accounts.example/users/bob", "status": 404 } ],
          "expect": { "ok": { "account": "alice-ltd", "worker": "stale" } } },
        { "name": "in hex", "function": "authorize", "input": { "username": "alice" },
          "lookups": [ { "url": "http://accounts.example/users/alice", "body-hex": "626f62" } ],
          "expect": { "ok": { "account": "bob", "worker": "fresh" } } },
        { "name": "no", "function": "authorize", "input": { "username": "bob" },
          "lookups": [ { "url": "http://accounts.example/users/bob", "status": 404 } ],
          "expect": { "err": "unknown-user" } },
        { "name": "down", "function": "authorize", "input": { "username": "bob" },
          "lookups": [ { "url": "http://accounts.example/users/bob", "unavailable": true } ],
          "expect": { "err": { "try-later": "the scenario says so" } } },
        { "name": "unanswered", "function": "authorize", "input": { "username": "carol" },
          "lookups": [ { "url": "http://accounts.example/users/bob" } ], "expect": { "ok": {} } },
        { "name": "of a POST", "function": "authorize", "input": { "username": "bob" },
          "lookups": [ { "url": "http://accounts.example/users/bob", "request-body": "{}" } ],
          "expect": { "err": "try-later" } },
        { "name": "no URL", "function": "authorize", "lookups": [ { "url": "accounts.example" } ], "expect": {} },
        { "name": "no status", "function": "authorize",
          "lookups": [ { "url": "http://accounts.example/", "status": 500 } ], "expect": {} },
        { "name": "both", "function": "authorize",
          "lookups": [ { "url": "http://accounts.example/", "status": 200, "unavailable": true } ], "expect": {} }
    ] }"#;
    let checks = run(careful(asks("directory", &[USERS])), PolicyKind::Auth, calls);
    for index in [0, 1, 2, 3, 5] {
        assert_eq!(checks[index].1, None, "{checks:#?}");
    }
    let said = |index: usize| checks[index].1.clone().unwrap();
    assert!(
        said(4).ends_with("its `lookups` do not answer GET http://accounts.example/users/carol"),
        "{}",
        said(4)
    );
    assert!(said(6).contains("begins with http"), "{}", said(6));
    assert!(said(7).contains("200 to 499 are allowed"), "{}", said(7));
    assert!(said(8).contains("no status and no body"), "{}", said(8));
}
