use sluice_core::policy::{Descriptor, PolicyKind};

use super::{CheckResult, Import, Inspection, render};
use crate::cli::exit;

fn good() -> Inspection {
    Inspection {
        file: "payout-pplns.wasm".to_owned(),
        bytes: 13_000,
        hash: "ab".repeat(32),
        kind: Some(PolicyKind::Payout),
        wit: Some("0.1.0".to_owned()),
        imports: vec![Import { name: "sluice:policy/log@0.1.0".to_owned(), granted: true, hint: None }],
        exports: vec!["sluice:policy/payout@0.1.0".to_owned()],
        descriptor: Some(Descriptor { name: "pplns".to_owned(), ..Descriptor::default() }),
        checks: vec![CheckResult { name: "self-test".to_owned(), error: None }],
    }
}

fn shown(inspection: &Inspection, json: bool) -> (u8, String) {
    let mut out = Vec::new();
    let code = render(inspection, json, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn accepted_plugin_is_shown_and_exits_with_zero() {
    let (code, text) = shown(&good(), false);
    assert_eq!(code, exit::OK);
    for part in ["kind       payout", "name       pplns", "self-test: ok", "this pool takes it"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn import_that_is_not_granted_is_named_with_the_remedy() {
    let mut inspection = good();
    let (name, hint) = ("wasi:filesystem/types@0.2.0".to_owned(), Some("build with --stub-wasi".to_owned()));
    inspection.imports.push(Import { name, granted: false, hint });
    let (code, text) = shown(&inspection, false);
    assert_eq!(code, exit::FAILED);
    assert!(text.contains("wasi:filesystem/types@0.2.0 (NOT GRANTED: build with --stub-wasi)"), "{text}");
    assert!(text.contains("this pool refuses it"), "{text}");
}

#[test]
fn failed_check_gives_its_reason() {
    let mut inspection = good();
    inspection
        .checks
        .push(CheckResult { name: "configure".to_owned(), error: Some("fee above 100".to_owned()) });
    let (code, text) = shown(&inspection, false);
    assert_eq!(code, exit::FAILED);
    assert!(text.contains("configure: FAILED: fee above 100"), "{text}");
}

#[test]
fn text_of_a_plugin_does_not_drive_the_terminal() {
    let mut inspection = good();
    inspection.descriptor = Some(Descriptor { name: "\u{1b}[2Jgone".to_owned(), ..Descriptor::default() });
    let (_, text) = shown(&inspection, false);
    assert!(!text.contains('\u{1b}') && text.contains("gone"), "{text:?}");
}

#[test]
fn json_is_json() {
    let (code, text) = shown(&good(), true);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, value["kind"].as_str()), (exit::OK, Some("payout")));
}
