//! Whether an answer is what an author expects. Only what is given is compared.

use serde_json::{Map, Value};

/// Numbers that differ by no more are equal: languages round the last digits of a product differently.
const TOLERANCE: f64 = 1e-9;
/// How much of a value is shown, in characters.
const SHOWN: usize = 160;

/// The first difference, with where it is.
pub(super) fn difference(want: &Value, got: &Value) -> Option<String> {
    compare("", want, got)
}

fn compare(path: &str, want: &Value, got: &Value) -> Option<String> {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => table(path, want, got),
        (Value::Array(want), Value::Array(got)) => list(path, want, got),
        // A case of a variant without what it carries.
        (Value::String(case), Value::Object(got)) if got.len() == 1 => {
            (!got.contains_key(case)).then(|| differ(path, want, &Value::Object(got.clone())))
        }
        // No option of the contract is true or false.
        (Value::Bool(false), Value::Null) => None,
        _ if equal(want, got) => None,
        _ => Some(differ(path, want, got)),
    }
}

fn table(path: &str, want: &Map<String, Value>, got: &Map<String, Value>) -> Option<String> {
    want.iter().find_map(|(key, want)| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match got.get(key) {
            Some(got) => compare(&path, want, got),
            None => Some(missing(&path, got)),
        }
    })
}

fn missing(path: &str, got: &Map<String, Value>) -> String {
    match (got.iter().next(), got.len()) {
        // A variant: the other case says more than its name.
        (Some((_, _)), 1) => format!("{path} is expected; it is {}", shown(&Value::Object(got.clone()))),
        _ => {
            let known: Vec<&str> = got.keys().map(String::as_str).collect();
            format!("the answer has no {path}; there are: {}", known.join(", "))
        }
    }
}

fn list(path: &str, want: &[Value], got: &[Value]) -> Option<String> {
    let at = if path.is_empty() { "the answer" } else { path };
    if want.len() != got.len() {
        let got_shown = shown(&Value::Array(got.to_vec()));
        return Some(format!("{at} has {} elements, {} are expected: {got_shown}", got.len(), want.len()));
    }
    want.iter()
        .zip(got)
        .enumerate()
        .find_map(|(index, (want, got))| compare(&format!("{path}[{index}]"), want, got))
}

fn equal(want: &Value, got: &Value) -> bool {
    if want == got {
        return true;
    }
    match (want.as_u64(), got.as_u64()) {
        // Satoshis and weights are exact.
        (Some(_), Some(_)) => false,
        _ => match (want.as_f64(), got.as_f64()) {
            (Some(want), Some(got)) => (want - got).abs() <= TOLERANCE * want.abs().max(got.abs()),
            _ => false,
        },
    }
}

fn differ(path: &str, want: &Value, got: &Value) -> String {
    let at = if path.is_empty() { "the answer" } else { path };
    format!("{at} is {}, {} is expected", shown(got), shown(want))
}

fn shown(value: &Value) -> String {
    if value.is_null() {
        return "not given".to_owned();
    }
    let text = value.to_string();
    let cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() { format!("{cut}...") } else { cut }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_given_is_compared() {
        let got = json!({ "ok": { "account": "alice", "worker": "rig", "start-difficulty": null } });
        assert_eq!(difference(&json!({ "ok": {} }), &got), None);
        assert_eq!(difference(&json!({ "ok": { "account": "alice" } }), &got), None);
        let said = difference(&json!({ "ok": { "account": "bob" } }), &got).unwrap();
        assert_eq!(said, "ok.account is \"alice\", \"bob\" is expected");
    }

    #[test]
    fn false_stands_for_an_option_that_is_not_given() {
        let got = json!({ "ok": { "start-difficulty": null, "minimum-difficulty": 5.0 } });
        assert_eq!(difference(&json!({ "ok": { "start-difficulty": false } }), &got), None);
        assert!(difference(&json!({ "ok": { "minimum-difficulty": false } }), &got).is_some());
        let said = difference(&json!({ "ok": { "start-difficulty": 5 } }), &got).unwrap();
        assert_eq!(said, "ok.start-difficulty is not given, 5 is expected");
    }

    #[test]
    fn a_variant_is_compared_by_its_case_or_with_what_it_carries() {
        let got = json!({ "err": { "unknown-user": "no such account" } });
        assert_eq!(difference(&json!({ "err": "unknown-user" }), &got), None);
        assert_eq!(difference(&json!({ "err": { "unknown-user": "no such account" } }), &got), None);
        let said = difference(&json!({ "err": "wrong-password" }), &got).unwrap();
        assert!(said.contains("unknown-user") && said.contains("wrong-password"), "{said}");
        let said = difference(&json!({ "ok": { "account": "a" } }), &got).unwrap();
        assert!(said.contains("no such account"), "{said}");
    }

    #[test]
    fn lists_are_compared_element_by_element_and_a_field_that_is_none_is_named() {
        let got = json!([{ "account": "a", "portion": { "weight": 3 }, "reason": "" }]);
        assert_eq!(difference(&json!([{ "portion": { "weight": 3 } }]), &got), None);
        assert!(difference(&json!([]), &got).unwrap().contains("has 1 elements, 0 are expected"));
        let said = difference(&json!([{ "portion": { "fixed": 3 } }]), &got).unwrap();
        assert!(said.starts_with("[0].portion.fixed is expected"), "{said}");
        let said = difference(&json!([{ "acount": "a" }]), &got).unwrap();
        assert_eq!(said, "the answer has no [0].acount; there are: account, portion, reason");
    }

    #[test]
    fn whole_numbers_are_exact_and_fractions_nearly_so() {
        let exact = json!(9_007_199_254_740_991u64);
        assert_eq!(difference(&exact, &exact), None);
        assert!(difference(&json!(9_007_199_254_740_990u64), &exact).is_some());
        assert_eq!(difference(&json!(10), &json!(10.0)), None);
        assert_eq!(difference(&json!(0.3), &json!(0.1 + 0.2)), None);
        assert!(difference(&json!(10), &json!(10.001)).is_some());
    }
}
