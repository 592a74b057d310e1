use sluice_plugin::{Client, Protocol, configure};

use super::*;

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

fn login(username: &str) -> Login {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: "sv1".to_owned(),
        address: "127.0.0.1".to_owned(),
        agent: "cgminer/4".to_owned(),
        hardware: String::new(),
    };
    Login { username: username.to_owned(), password: Some("x".to_owned()), client }
}

fn ask(settings: &str, username: &str) -> Result<Grant, Refusal> {
    configure::<AddressAuth>(settings).unwrap().authorize(&login(username))
}

fn regtest(username: &str) -> Result<Grant, Refusal> {
    ask(r#"{"network": "regtest"}"#, username)
}

fn grant(worker: &str) -> Grant {
    Grant {
        account: ADDRESS.to_owned(),
        worker: worker.to_owned(),
        payout_address: Some(ADDRESS.to_owned()),
        ..Grant::default()
    }
}

#[test]
fn the_address_is_the_account_and_is_paid() {
    // V1-17, V1-18
    assert_eq!(regtest(ADDRESS), Ok(grant("")));
    assert_eq!(regtest(&format!("{ADDRESS}.rig.1")), Ok(grant("rig.1")));
}

#[test]
fn two_spellings_are_one_account() {
    assert_eq!(regtest(&format!("{}.rig", ADDRESS.to_uppercase())), Ok(grant("rig")));
}

#[test]
fn a_miner_hears_what_is_wrong_with_its_address() {
    let unknown = |text: &str| Err(Refusal::UnknownUser(text.to_owned()));
    assert_eq!(regtest("alice.rig"), unknown("the username must be ADDRESS or ADDRESS.WORKER"));
    assert_eq!(regtest(""), unknown("the username must be ADDRESS or ADDRESS.WORKER"));
    assert_eq!(
        regtest(&ADDRESS.replace("080", "081")),
        unknown("the address is mistyped: its checksum is wrong")
    );
    assert_eq!(
        regtest("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
        unknown("the address is of another network; this pool pays on regtest")
    );
    assert_eq!(
        ask(r#"{"network": "main"}"#, "bc1pfeessrawgf"),
        unknown("anyone could spend from this kind of address")
    );
}

#[test]
fn a_denied_address_is_denied_in_any_spelling() {
    let settings = format!(r#"{{"network": "regtest", "deny": ["{}"]}}"#, ADDRESS.to_uppercase());
    for username in [ADDRESS, &ADDRESS.to_uppercase(), &format!("{ADDRESS}.x")] {
        assert!(matches!(ask(&settings, username), Err(Refusal::Forbidden(_))), "{username}");
    }
}

#[test]
fn the_limits_go_with_every_grant() {
    let settings = r#"{"network": "regtest", "start-difficulty": 64, "minimum-difficulty": 1, "maximum-difficulty": 1e6}"#;
    let wanted = Grant {
        start_difficulty: Some(64.0),
        minimum_difficulty: Some(1.0),
        maximum_difficulty: Some(1e6),
        ..grant("")
    };
    assert_eq!(ask(settings, ADDRESS), Ok(wanted));
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        ("{}", "network: missing; main, testnet4, signet or regtest is expected"),
        (r#"{"network": "mainnet"}"#, "network: \"mainnet\" is not main, testnet4, signet or regtest"),
        (
            r#"{"network": "main", "deny": ["x", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"]}"#,
            "deny[0]: \"x\" is not an address of the network main; \
             deny[1]: \"mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn\" is not an address of the network main",
        ),
        (
            r#"{"network": "main", "allow": []}"#,
            "allow: no such setting; there are: network, deny, start-difficulty, minimum-difficulty, maximum-difficulty",
        ),
    ] {
        assert_eq!(configure::<AddressAuth>(settings).unwrap_err(), wanted);
    }
}

#[test]
fn the_self_test_passes_on_every_network() {
    for network in ["main", "testnet4", "signet", "regtest"] {
        let policy: AddressAuth = configure(&format!(r#"{{"network": "{network}"}}"#)).unwrap();
        assert_eq!(policy.self_test(), Ok(()));
    }
}

#[test]
fn the_schema_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(AddressAuth::DESCRIPTOR.settings_schema).unwrap();
    let mut named: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, ["deny", "maximum-difficulty", "minimum-difficulty", "network", "start-difficulty"]);
}
