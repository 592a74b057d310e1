//! What is refused before it serves, and what the refusal says.

use sluice_core::policy::PolicyKind;
use sluice_policy::{LoadError, Policies, SlotConfig, StartError, inspect};

use crate::guest::{Guest, HOARD, LOOP, RECURSE, TRAP, spoiled};
use crate::house::{House, loader, round, settings, tight};

fn config(kind: PolicyKind) -> SlotConfig {
    SlotConfig { limits: tight(kind), ..SlotConfig::new(kind, "") }
}

/// Loads and tells why not.
fn refusal(kind: PolicyKind, bytes: &[u8]) -> LoadError {
    let root = tempfile::tempdir().unwrap();
    let loader = loader(root.path());
    let config = config(kind);
    match kind {
        PolicyKind::Auth => loader.auth(bytes, &config).map(|_| ()),
        PolicyKind::Vardiff => loader.vardiff(bytes, &config).map(|_| ()),
        PolicyKind::Payout => loader.payout(bytes, &config).map(|_| ()),
    }
    .expect_err("it is refused")
}

fn auth(name: &str) -> Guest {
    Guest::new(PolicyKind::Auth, name)
}

#[test]
fn a_file_cut_short_is_malformed() {
    let whole = auth("whole").build();
    for length in [0, 4, 8, whole.len() / 2, whole.len() - 1] {
        let why = refusal(PolicyKind::Auth, &whole[..length]);
        assert!(matches!(why, LoadError::Malformed(_) | LoadError::World { .. }), "{length} bytes: {why}");
    }
}

#[test]
fn precompiled_code_is_refused() {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(4096, 0);
    assert_eq!(refusal(PolicyKind::Auth, &elf), LoadError::Precompiled);
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    let why = refusal(PolicyKind::Auth, &wat::parse_str("(module)").unwrap());
    assert_eq!(why, LoadError::CoreModule);
    assert!(why.to_string().contains("wasm-tools component new"), "{why}");
}

#[test]
fn the_wrong_world_is_named() {
    let why = refusal(PolicyKind::Vardiff, &auth("a").build()).to_string();
    assert!(why.contains("it is a policy of kind auth"), "{why}");
    assert!(why.contains("sluice:policy/vardiff@0.1.x is missing"), "{why}");
}

#[test]
fn a_future_version_of_the_contract_asks_for_a_newer_host() {
    for version in ["0.2.0", "1.0.0"] {
        let why = refusal(PolicyKind::Auth, &auth("a").version(version).build()).to_string();
        assert!(why.contains(version) && why.contains("a newer Sluice is needed"), "{why}");
    }
}

#[test]
fn a_later_patch_of_the_same_track_is_welcome() {
    let root = tempfile::tempdir().unwrap();
    let bytes = auth("patched").version("0.1.7").build();
    assert!(loader(root.path()).auth(&bytes, &config(PolicyKind::Auth)).is_ok());
}

#[test]
fn a_forbidden_import_is_named_with_the_flag_that_removes_it() {
    let bytes = auth("a").imports("wasi:cli/environment@0.2.0", "get").build();
    let why = refusal(PolicyKind::Auth, &bytes).to_string();
    assert!(why.contains("wasi:cli/environment@0.2.0"), "{why}");
    assert!(why.contains("--stub-wasi") && why.contains("disableFeatures"), "{why}");
    let other = auth("a").imports("acme:cloud/store@1.0.0", "get").build();
    let why = refusal(PolicyKind::Auth, &other).to_string();
    assert!(why.contains("acme:cloud/store@1.0.0") && why.contains("sluice:policy/log is all"), "{why}");
}

#[test]
fn refused_settings_are_quoted() {
    let bytes = auth("a").fails("configure", 0, "fee must be 0 to 100, not 200", "(i32.const 1)").build();
    let why = refusal(PolicyKind::Auth, &bytes);
    assert_eq!(why, LoadError::Settings("fee must be 0 to 100, not 200".to_owned()));
}

#[test]
fn a_failed_self_test_keeps_it_out() {
    let bytes = auth("a").fails("self-test", 2, "2 + 2 was 5", "(i32.const 1)").build();
    let why = refusal(PolicyKind::Auth, &bytes);
    assert!(matches!(why, LoadError::SelfTest(_)), "{why}");
    assert!(why.to_string().contains("2 + 2 was 5"), "{why}");
}

#[test]
fn what_never_ends_hoards_or_recurses_is_stopped_while_it_loads() {
    for (body, says) in [(LOOP, "fuel"), (HOARD, "memory"), (RECURSE, "stack"), (TRAP, "unreachable")] {
        let why = refusal(PolicyKind::Auth, &auth("a").body("self-test", body).build());
        assert!(why.to_string().contains(says), "{why}");
    }
}

#[test]
fn a_guest_that_starts_larger_than_its_limit_is_refused() {
    let why = refusal(PolicyKind::Auth, &auth("a").pages(200).build());
    assert!(matches!(&why, LoadError::Instantiate(text) if text.contains("memory")), "{why}");
}

#[test]
fn the_deadline_stops_what_fuel_does_not() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(PolicyKind::Auth);
    config.limits.fuel = u64::MAX / 16;
    config.limits.deadline = std::time::Duration::from_millis(20);
    let bytes = auth("a").body("self-test", LOOP).build();
    let why = loader(root.path()).auth(&bytes, &config).err().unwrap();
    assert!(why.to_string().contains("deadline"), "{why}");
}

#[test]
fn a_plan_out_of_bounds_is_refused() {
    for (tag, value) in [(1, f64::NAN), (1, 0.0), (1, 1001.0), (1, f64::INFINITY), (2, 0.0)] {
        let why = refusal(PolicyKind::Payout, &Guest::new(PolicyKind::Payout, "p").plans(tag, value).build());
        assert!(matches!(why, LoadError::Plan(_)), "{value}: {why}");
    }
}

#[test]
fn a_component_that_does_not_compile_is_remembered() {
    let bytes = spoiled();
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let why = loader(root.path()).auth(&bytes, &config(PolicyKind::Auth)).err().unwrap();
        assert!(matches!(why, LoadError::Compile(_)), "{why}");
    }
    let code = std::fs::read_dir(root.path().join("cache/code")).unwrap();
    let refused =
        code.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "refused"));
    assert_eq!(refused.count(), 1);
}

#[test]
fn a_cache_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let cache = root.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    let opened =
        sluice_policy::Loader::new(&cache, sluice_policy::Compiler::InProcess, bitcoin::Network::Regtest);
    assert!(matches!(opened.err().unwrap(), StartError::Cache { .. }));
}

#[tokio::test]
async fn every_problem_at_start_is_told_at_once() {
    let house = House::new();
    std::fs::remove_file(house.path(PolicyKind::Auth)).unwrap();
    house.put(PolicyKind::Vardiff, b"nonsense");
    house.put(PolicyKind::Payout, &auth("a").build());
    let error = Policies::start(house.config.clone()).await.err().expect("it does not start").to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[0].contains("auth.wasm") && lines[0].contains("cannot be read"), "{error}");
    assert!(lines[1].contains("vardiff.wasm"), "{error}");
    assert!(lines[2].contains("payout.wasm") && lines[2].contains("kind auth"), "{error}");
}

#[test]
fn an_inspection_says_what_a_file_is() {
    let root = tempfile::tempdir().unwrap();
    let loader = loader(root.path());
    let fine = inspect(&auth("fine").build(), &loader);
    assert_eq!(fine.kinds, [PolicyKind::Auth]);
    assert_eq!(fine.wit_version.as_deref(), Some("0.1.0"));
    assert_eq!(fine.descriptor.unwrap().name, "fine");
    assert!(
        fine.problems.is_empty() && fine.imports.iter().all(|import| import.granted),
        "{:?}",
        fine.problems
    );
    let greedy = inspect(&auth("greedy").imports("wasi:clocks/wall-clock@0.2.0", "now").build(), &loader);
    let import = greedy.imports.iter().find(|import| import.name.starts_with("wasi:")).unwrap();
    assert!(!import.granted && import.advice.is_some());
    assert_eq!(greedy.problems.len(), 1);
    let picky = auth("picky").fails("configure", 0, "a table is needed", "(i32.const 1)").build();
    let picky = inspect(&picky, &loader);
    assert_eq!(picky.descriptor.unwrap().name, "picky");
    assert!(picky.wants_settings.as_deref().is_some_and(|why| why.contains("a table is needed")));
}

#[test]
fn an_audit_gets_the_same_answer_from_the_kept_component() {
    let root = tempfile::tempdir().unwrap();
    let loader = loader(root.path());
    let bytes = Guest::new(PolicyKind::Payout, "p").build();
    let mut config = config(PolicyKind::Payout);
    config.settings = settings(r#"{"b": 1, "a": {"d": [1, 2], "c": null}}"#);
    let first = loader.payout(&bytes, &config).unwrap().settle(&round(&[("alice", 3), ("bob", 1)])).unwrap();
    let kept = std::fs::read_dir(root.path().join("cache/wasm")).unwrap().next().unwrap().unwrap().path();
    let again = std::fs::read(kept).unwrap();
    assert_eq!(again, bytes);
    let second = loader.payout(&again, &config).unwrap().settle(&round(&[("alice", 3), ("bob", 1)])).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.len(), 2);
}
