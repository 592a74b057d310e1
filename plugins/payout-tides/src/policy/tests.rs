//! How it divides is tested with `ByWork`, and through the host in its tests of all schemes.

use sluice_plugin::configure;
use sluice_plugin::payout::Window;

use super::*;

fn tides(settings: &str) -> Tides {
    configure(settings).unwrap()
}

#[test]
fn eight_blocks_of_work_are_paid_and_what_is_owed_is_carried() {
    let plan = |window, pays_balances| Plan {
        window: Window::Work(window),
        per_finder: false,
        accrues: false,
        pays_balances,
    };
    assert_eq!(tides("{}").plan(), plan(8.0, true));
    assert_eq!(tides(r#"{"window": 4, "carry": false}"#).plan(), plan(4.0, false));
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        (r#"{"window": 0}"#, "window: 0 is not a number from 0.01 to 1000"),
        (r#"{"fee-bps": 10001}"#, "fee-bps: 10001 is not a whole number from 0 to 10000"),
        (r#"{"carry": 1}"#, "carry: 1 is not true or false"),
        (r#"{"n": 2}"#, "n: no such setting; there are: window, fee-bps, carry"),
    ] {
        assert_eq!(configure::<Tides>(settings).unwrap_err(), wanted);
    }
}

#[test]
fn the_self_test_passes_with_any_settings() {
    for settings in ["{}", r#"{"fee-bps": 10000, "window": 0.01, "carry": false}"#] {
        assert_eq!(tides(settings).self_test(), Ok(()));
    }
}

#[test]
fn the_schema_is_json_and_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(Tides::DESCRIPTOR.settings_schema).unwrap();
    let mut names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["carry", "fee-bps", "window"]);
}
