use super::*;

fn settings(text: &str) -> Settings {
    Settings::parse(text).unwrap()
}

fn problems(settings: Settings) -> String {
    settings.finish().unwrap_err()
}

#[test]
fn what_is_taken_is_fine() {
    let mut s = settings(r#"{"fee-bps": 150, "window": 2, "name": "x", "on": true, "list": ["a"]}"#);
    assert_eq!(s.whole("fee-bps", 0..=10_000), Some(150));
    assert_eq!(s.number("window", 0.0..=9.0), Some(2.0));
    assert_eq!(s.text("name", "a name", |t| Some(t.to_owned())), Some("x".to_owned()));
    assert!(s.flag("on"));
    assert_eq!(s.texts("list", "a name", |t| Some(t.len())), [1]);
    assert_eq!(s.number("absent", 0.0..=1.0), None);
    assert_eq!(s.finish(), Ok(()));
}

#[test]
fn unknown_settings_are_named_with_what_there_is() {
    let mut s = settings(r#"{"fee-bsp": 1}"#);
    s.whole("fee-bps", 0..=10_000);
    s.number("window", 0.0..=1.0);
    assert_eq!(problems(s), "fee-bsp: no such setting; there are: fee-bps, window");
}

#[test]
fn a_value_out_of_range_or_of_the_wrong_type_is_shown() {
    let mut s = settings(r#"{"a": 10001, "b": "x", "c": 1.5, "d": [1], "e": -1}"#);
    s.whole("a", 0..=10_000);
    s.number("b", 0.0..=1.0);
    s.whole("c", 0..=9);
    s.flag("d");
    s.whole("e", 0..=9);
    assert_eq!(
        problems(s),
        "a: 10001 is not a whole number from 0 to 10000; b: \"x\" is not a number from 0 to 1; \
         c: 1.5 is not a whole number from 0 to 9; d: a list is not true or false; \
         e: -1 is not a whole number from 0 to 9"
    );
}

#[test]
fn a_float_that_is_whole_is_whole() {
    assert_eq!(settings(r#"{"a": 150.0}"#).whole("a", 0..=1000), Some(150));
}

#[test]
fn tables_report_with_their_path() {
    let mut s = settings(r#"{"accounts": {"al": {"limit": 0, "x": 1}, "bo": 3}}"#);
    let made = s.tables("accounts", |name, inner| (name.len(), inner.number("limit", 1.0..=2.0)));
    assert_eq!(made, [("al".to_owned(), (2, None))]);
    assert_eq!(
        problems(s),
        "accounts.al.limit: 0 is not a number from 1 to 2; accounts.al.x: no such setting; there are: limit; \
         accounts.bo: 3 is not a table"
    );
}

#[test]
fn a_required_setting_is_reported_once() {
    let mut s = settings("{}");
    let value = s.text("network", "main or regtest", |t| Some(t.to_owned()));
    assert_eq!(s.required("network", "main or regtest", value), None);
    assert_eq!(problems(s), "network: missing; main or regtest is expected");

    let mut s = settings(r#"{"network": 1}"#);
    let value = s.text("network", "main or regtest", |t| Some(t.to_owned()));
    s.required("network", "main or regtest", value);
    assert_eq!(problems(s), "network: 1 is not main or regtest");
}

#[test]
fn list_items_are_counted_from_zero() {
    let mut s = settings(r#"{"deny": ["ok", "no", 7]}"#);
    assert_eq!(s.texts("deny", "ok", |t| (t == "ok").then_some(())), [()]);
    assert_eq!(problems(s), "deny[1]: \"no\" is not ok; deny[2]: 7 is not ok");
}

#[test]
fn what_is_no_table_is_refused() {
    assert_eq!(Settings::parse("[]").unwrap_err(), "the settings are a list; a table is expected");
    assert_eq!(Settings::parse("{\"a\" 1}").unwrap_err(), "the settings are not JSON from byte 5 on");
    assert!(Settings::parse("").is_err());
}

#[test]
fn long_values_are_cut() {
    let mut s = settings(&format!(r#"{{"a": "{}"}}"#, "é".repeat(1000)));
    s.flag("a");
    assert!(problems(s).len() < 150);
}

#[test]
fn a_secret_is_never_shown() {
    let mut s = settings(r#"{"password": "hunter2"}"#);
    s.secret("password", "a hash", |_| None::<()>);
    assert_eq!(problems(s), "password: what is given is not a hash");
}

#[test]
fn a_report_is_bounded() {
    let many: Vec<String> = (0..1000).map(|i| format!("\"k{i}\": {{}}")).collect();
    let mut s = settings(&format!("{{\"accounts\": {{{}}}}}", many.join(",")));
    s.tables("accounts", |_, inner| inner.problem("x", "wrong"));
    assert!(problems(s).len() <= 1000);
}

#[test]
fn a_setting_given_twice_is_refused() {
    let mut s = settings(r#"{"a": true, "a": false}"#);
    assert!(s.flag("a"));
    assert_eq!(problems(s), "a: given twice");
}
