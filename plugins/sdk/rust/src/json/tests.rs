use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What an independent reader says.
fn independent(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok().map(|value| convert(&value))
}

fn convert(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Flag(*flag),
        Value::Number(number) => Json::Number(number.as_f64().unwrap()),
        Value::String(text) => Json::Text(text.clone()),
        Value::Array(items) => Json::List(items.iter().map(convert).collect()),
        Value::Object(map) => {
            Json::Table(map.iter().map(|(name, value)| (name.clone(), convert(value))).collect())
        }
    }
}

#[test]
fn values_are_read_as_others_read_them() {
    for text in [
        "{}",
        " { \"a\" : [ ] , \"b\":[1,-2.5,0,-0,1e3,1E-3,1.5e+2,9007199254740991] } ",
        r#"{"esc": "\" \\ \/ \b \f \n \r \t \u00e9 \ud83d\ude00 ü"}"#,
        "[true,false,null,\"\"]",
        "0",
    ] {
        assert_eq!(parse(text).ok(), independent(text), "{text}");
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused_where_it_goes_wrong() {
    for (text, at) in [
        ("", 0),
        ("{", 1),
        ("{\"a\":1,}", 7),
        ("[1 2]", 3),
        ("01", 2),
        ("1.", 2),
        ("-", 1),
        ("1e", 2),
        ("1e999", 5),
        ("+1", 0),
        ("nul", 0),
        ("{} x", 3),
        ("\"a", 2),
        ("\"\n\"", 1),
        (r#""\x""#, 2),
        (r#""\ud800""#, 7),
        (r#""\ud800\u0041""#, 13),
        (r#""\u12g4""#, 2),
        (r#""\u+123""#, 2),
        ("{a:1}", 1),
    ] {
        assert_eq!(parse(text), Err(NotJson { at }), "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&nested(DEPTH_LIMIT)).is_ok());
    assert!(parse(&nested(DEPTH_LIMIT + 1)).is_err());
    assert!(parse(&"[".repeat(1_000_000)).is_err());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_the_host_writes_is_read(value in value()) {
        prop_assert_eq!(parse(&value.to_string()), Ok(convert(&value)));
    }

    #[test]
    fn what_others_refuse_is_refused(text in "[\\[\\]{}\",:0-9eE.+a-fnrtu\\\\ -]{0,12}") {
        if parse(&text).is_ok() {
            prop_assert!(independent(&text).is_some(), "{}", text);
        }
    }
}
