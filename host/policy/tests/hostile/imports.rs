//! What a policy may not ask for. Without a clock, randomness and threads its answers repeat.

use sluice_core::policy::PolicyKind;
use sluice_policy::LoadError;

use crate::guest::Guest;
use crate::house::{House, loader, rejected, round, status};
use crate::scene::Question;

const FORBIDDEN: [(&str, &str); 12] = [
    ("wasi:clocks/wall-clock@0.2.0", "now"),
    ("wasi:clocks/monotonic-clock@0.2.0", "now"),
    ("wasi:random/random@0.2.0", "get-random-u64"),
    ("wasi:random/insecure-seed@0.2.0", "insecure-seed"),
    ("wasi:filesystem/preopens@0.2.0", "get-directories"),
    ("wasi:sockets/tcp-create-socket@0.2.0", "create-tcp-socket"),
    ("wasi:http/outgoing-handler@0.2.0", "handle"),
    ("wasi:cli/environment@0.2.0", "get-environment"),
    ("wasi:cli/exit@0.2.0", "exit"),
    ("wasi:io/streams@0.2.0", "read"),
    ("acme:cloud/store@1.0.0", "get"),
    ("sluice:polic/log@0.1.0", "write"),
];

#[tokio::test]
async fn imports_that_are_not_granted_are_refused_by_name_for_every_kind() {
    let mut house = House::new();
    house.config.debounce = std::time::Duration::from_millis(5);
    let policies = house.start().await;
    let mut events = policies.events();
    for (kind, question) in [
        (PolicyKind::Auth, Question::Authorize),
        (PolicyKind::Vardiff, Question::Open),
        (PolicyKind::Payout, Question::Settle),
    ] {
        for (interface, function) in FORBIDDEN {
            house.put(kind, &Guest::new(kind, "greedy").imports(interface, function).build());
            let why = rejected(&mut events).await;
            assert!(why.contains(&format!("imports {interface:?}")), "{why}");
            assert_eq!(status(&policies, kind).last_reload.error.as_ref(), Some(&why));
            question.ask(&policies).await.unwrap();
        }
    }
}

/// A component in text.
fn refusal(text: &str) -> LoadError {
    let root = tempfile::tempdir().unwrap();
    let bytes = wat::parse_str(text).unwrap();
    let config = sluice_policy::SlotConfig::new(PolicyKind::Auth, "");
    loader(root.path()).auth(&bytes, &config).err().expect("it is refused")
}

#[test]
fn a_name_is_shown_printable_and_short() {
    for name in [format!("wasi:{}", "x".repeat(90_000)), "evil\u{1b}[31m\u{202e}\n".repeat(10)] {
        let import = refusal(&format!("(component (import {name:?} (instance)))"));
        let export = refusal(&format!("(component (instance $i) (export {name:?} (instance $i)))"));
        for why in [import.to_string(), export.to_string()] {
            assert!(why.len() < 1000, "{} bytes", why.len());
            assert!(why.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{why}");
        }
    }
}

#[test]
fn more_names_than_anybody_reads_are_refused() {
    let imports: String = (0..2000).map(|number| format!("(import \"i{number}\" (instance))")).collect();
    let why = refusal(&format!("(component {imports})"));
    assert!(matches!(&why, LoadError::Malformed(text) if text.contains("1000")), "{why}");
}

/// The right names with other types behind them.
#[test]
fn interfaces_that_are_not_what_their_names_say_are_refused() {
    let empty = r#"(instance $i) (export "sluice:policy/lifecycle@0.1.0" (instance $i))
        (export "sluice:policy/auth@0.1.0" (instance $i))"#;
    let log = r#"(import "sluice:policy/log@0.1.0" (instance (export "write" (func (param "x" u64)))))"#;
    let more = r#"(import "sluice:policy/log@0.1.0" (instance (export "erase" (func))))"#;
    for text in [empty.to_owned(), format!("{log} {empty}"), format!("{more} {empty}")] {
        let why = refusal(&format!("(component {text})"));
        assert!(matches!(why, LoadError::World { .. }), "{why}");
    }
}

#[test]
fn threads_and_shared_memory_are_refused() {
    let guest = Guest::new(PolicyKind::Auth, "threads").with("(memory $shared 1 1 shared)");
    let root = tempfile::tempdir().unwrap();
    let config = sluice_policy::SlotConfig::new(PolicyKind::Auth, "");
    let why = loader(root.path()).auth(&guest.build(), &config).err().expect("it is refused");
    assert!(matches!(why, LoadError::Compile(_)), "{why}");
}

/// The bits of a NaN differ between processors; a weight made of them does not.
#[tokio::test]
async fn what_a_guest_makes_of_nan_repeats() {
    let bits = "(i64.and (i64.const 0xfffffffffffff)
        (i64.reinterpret_f64 (f64.add (f64.div (f64.const 0) (f64.const 0)) (f64.const nan:0x123))))";
    let mut guest = Guest::new(PolicyKind::Payout, "nan").settles("alice", 0, 0, "");
    // An entitlement of a weight, in a list of one.
    let record = guest.put(&[0; 32]);
    let body = format!(
        "(local $ret i32) (i64.store offset=16 (i32.const {record}) {bits})
         (local.set $ret (call $alloc (i32.const 16)))
         (i32.store (local.get $ret) (i32.const 0))
         (i32.store offset=4 (local.get $ret) (i32.const {record}))
         (i32.store offset=8 (local.get $ret) (i32.const 1))
         (local.get $ret)"
    );
    let house = House::new();
    house.put(PolicyKind::Payout, &guest.body("settle", &body).build());
    let policies = house.start().await;
    for _ in 0..3 {
        let settled = policies.settle(round(&[("alice", 1)])).await.unwrap();
        let canonical = 0x8_0000_0000_0000;
        assert_eq!(
            settled.entitlements[0].portion,
            sluice_core::policy::payout::Portion::Weight(canonical),
            "the canonical NaN"
        );
    }
}
