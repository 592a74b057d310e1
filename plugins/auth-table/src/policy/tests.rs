use sluice_plugin::{Client, Protocol, configure};

use super::*;

/// The password is "pä$$".
const TABLE: &str = r#"{"accounts": {
    "alice": {
        "payout-address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
        "password": "pbkdf2-sha256$2$3132333435363738$b1f8f7eb2a3ac89c31f3a3d73fbcb9804f35df6b1619505b6458fe5d195adca9",
        "start-difficulty": 64, "minimum-difficulty": 1, "maximum-difficulty": 1e6
    },
    "bob": {},
    "carol": {
        "disabled": true,
        "password": "pbkdf2-sha256$2$3132333435363738$b1f8f7eb2a3ac89c31f3a3d73fbcb9804f35df6b1619505b6458fe5d195adca9"
    }
}}"#;

fn ask(username: &str, password: Option<&str>) -> Result<Grant, Refusal> {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: "sv1".to_owned(),
        address: "127.0.0.1".to_owned(),
        agent: "cgminer/4".to_owned(),
        hardware: String::new(),
    };
    let login = Login { username: username.to_owned(), password: password.map(str::to_owned), client };
    configure::<TableAuth>(TABLE).unwrap().authorize(&login)
}

#[test]
fn an_account_with_its_password_is_granted_what_the_table_says() {
    // V1-17, V1-18
    let grant = Grant {
        account: "alice".to_owned(),
        worker: "rig.1".to_owned(),
        payout_address: Some("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned()),
        start_difficulty: Some(64.0),
        minimum_difficulty: Some(1.0),
        maximum_difficulty: Some(1e6),
    };
    assert_eq!(ask("alice.rig.1", Some("pä$$")), Ok(grant));
}

#[test]
fn without_a_hash_any_password_will_do() {
    let grant = Grant { account: "bob".to_owned(), worker: "r".to_owned(), ..Grant::default() };
    for password in [None, Some(""), Some("x"), Some("d=500")] {
        assert_eq!(ask("bob.r", password), Ok(grant.clone()));
    }
}

#[test]
fn each_refusal_is_the_fitting_one() {
    for password in [None, Some(""), Some("x")] {
        assert_eq!(ask("alice", password), Err(Refusal::WrongPassword("wrong password".to_owned())));
    }
    for username in ["dave", "", ".alice", "ALICE", "alice rig"] {
        assert!(matches!(ask(username, Some("pä$$")), Err(Refusal::UnknownUser(_))), "{username}");
    }
    // Only who knows the password learns that the account is disabled.
    assert_eq!(ask("carol", Some("pä$$")), Err(Refusal::Forbidden("this account is disabled".to_owned())));
    assert!(matches!(ask("carol", Some("x")), Err(Refusal::WrongPassword(_))));
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        ("{}", "accounts: missing; a table for each account is expected"),
        (r#"{"accounts": {}}"#, "accounts: missing; a table for each account is expected"),
        (r#"{"accounts": []}"#, "accounts: a list is not a table"),
        (r#"{"accounts": {"al": 1}}"#, "accounts.al: 1 is not a table"),
        (
            r#"{"accounts": {"al": {"payout-address": "not one", "disabled": "no"}}}"#,
            "accounts.al.payout-address: \"not one\" is not a Bitcoin address; \
             accounts.al.disabled: \"no\" is not true or false",
        ),
        (
            r#"{"accounts": {"a.b": {}}}"#,
            "accounts.a.b: an account's name is 1 to 128 printable characters without . \" ' \\ < > &",
        ),
    ] {
        assert_eq!(configure::<TableAuth>(settings).unwrap_err(), wanted);
    }
}

#[test]
fn a_password_in_the_clear_is_refused_and_not_repeated() {
    let error = configure::<TableAuth>(r#"{"accounts": {"al": {"password": "hunter2"}}}"#).unwrap_err();
    assert!(
        error.starts_with("accounts.al.password: what is given is not pbkdf2-sha256$ITERATIONS$"),
        "{error}"
    );
    assert!(!error.contains("hunter2"));
}

#[test]
fn the_self_test_passes() {
    assert_eq!(configure::<TableAuth>(TABLE).unwrap().self_test(), Ok(()));
}

#[test]
fn the_schema_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(TableAuth::DESCRIPTOR.settings_schema).unwrap();
    let account = &schema["properties"]["accounts"]["additionalProperties"]["properties"];
    let mut named: Vec<&str> = account.as_object().unwrap().keys().map(String::as_str).collect();
    named.sort_unstable();
    let message = configure::<TableAuth>(r#"{"accounts": {"al": {"x": 1}}}"#).unwrap_err();
    let mut known: Vec<&str> = message.rsplit_once(": ").unwrap().1.split(", ").collect();
    known.sort_unstable();
    assert_eq!(named, known);
}
