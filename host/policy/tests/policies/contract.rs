//! What docs/plugins/contract.md promises of imports and versions.

use sluice_core::policy::PolicyKind;
use sluice_policy::{Inspection, inspect};
use tempfile::TempDir;

use crate::guest::Guest;
use crate::house::loader;

/// What is said of a component that imports `name`, and exports what a policy of `kind` has to.
fn inspected(kind: PolicyKind, name: &str) -> Inspection {
    let exports = ["lifecycle", kind.label()].map(|interface| {
        format!(
            "(instance ${interface}) (export \"sluice:policy/{interface}@0.1.0\" (instance ${interface}))"
        )
    });
    let wat = format!("(component (import \"{name}\" (instance)) {})", exports.join(" "));
    let root = TempDir::new().unwrap();
    inspect(&wat::parse_str(wat).unwrap(), &loader(root.path()))
}

/// Why it does not load.
fn refusal(kind: PolicyKind, name: &str) -> String {
    let found = inspected(kind, name);
    assert!(found.imports.iter().all(|import| !import.granted), "{name} is refused: {found:?}");
    found.problems.join("; ")
}

#[test]
fn log_and_types_are_everybodys_in_every_version_of_the_track() {
    for kind in PolicyKind::ALL {
        for name in ["log@0.1.0", "log@0.1.1", "log@0.1.9", "types@0.1.0"] {
            let found = inspected(kind, &format!("sluice:policy/{name}"));
            assert!(
                found.imports[0].granted && found.imports[0].advice.is_none(),
                "{kind} {name}: {found:?}"
            );
        }
    }
}

#[test]
fn lookup_is_for_auth_policies_and_needs_a_grant() {
    let found = inspected(PolicyKind::Auth, "sluice:policy/lookup@0.1.1");
    assert!(found.imports[0].granted);
    assert!(
        found.imports[0].advice.is_some_and(|advice| advice.contains("[[policy.auth.lookup]]")),
        "{found:?}"
    );
    for kind in [PolicyKind::Vardiff, PolicyKind::Payout] {
        let said = refusal(kind, "sluice:policy/lookup@0.1.1");
        assert!(said.contains("only an auth policy may look things up"), "{kind}: {said}");
    }
}

#[test]
fn everything_else_is_refused_by_name_with_what_removes_it() {
    for (name, remedy) in [
        ("wasi:cli/environment@0.2.3", "componentize-py --stub-wasi"),
        ("wasi:clocks/monotonic-clock@0.2.3", "componentize-qjs --stub-wasi --sync"),
        ("wasi:random/random@0.2.3", "disableFeatures"),
        ("acme:tools/files@1.0.0", "sluice:policy/log is all that a policy may import"),
        ("sluice:policy/clock@0.1.0", "sluice:policy/log is all that a policy may import"),
    ] {
        let said = refusal(PolicyKind::Payout, name);
        assert!(said.contains(&format!("it imports {name:?}, which no policy is granted")), "{said}");
        assert!(said.contains(remedy), "{name}: {said}");
    }
}

#[test]
fn an_import_of_another_track_names_both_versions() {
    for name in ["sluice:policy/log@0.2.0", "sluice:policy/log@1.1.0"] {
        let said = refusal(PolicyKind::Vardiff, name);
        assert!(
            said.contains("(interface log) and this host speaks 0.1.x; a newer Sluice is needed"),
            "{said}"
        );
    }
    let said = refusal(PolicyKind::Vardiff, "sluice:policy/log@0.0.9");
    assert!(said.contains("version 0.0.9") && said.contains("build it again"), "{said}");
}

#[test]
fn what_is_exported_beside_the_world_is_no_reason_to_refuse() {
    let mut wasm = Guest::new(PolicyKind::Payout, "generous").build();
    let name = b"acme-more";
    // A section of one more export: type 0 by a name.
    let length = u8::try_from(name.len()).unwrap();
    wasm.extend([11, length + 6, 1, 0, length].iter().chain(name).chain(&[3, 0, 0]));
    let root = TempDir::new().unwrap();
    let found = inspect(&wasm, &loader(root.path()));
    assert!(found.exports.contains(&"acme-more".to_owned()), "{found:?}");
    assert_eq!(found.problems, [""; 0]);
}
