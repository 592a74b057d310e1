use tempfile::TempDir;

use super::*;

/// A project with one released version and a component of it, frozen.
fn project() -> TempDir {
    let root = TempDir::new().unwrap();
    for (file, text) in
        [("wit/0.1.0/policy.wit", "package a;"), ("tests/vectors/components/0.1.0/a.wasm", "a")]
    {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let added = write(root.path()).unwrap();
    assert_eq!(added, ["tests/vectors/components/0.1.0/a.wasm", "wit/0.1.0/policy.wit"]);
    root
}

fn problems(root: &TempDir) -> Vec<String> {
    check(root.path()).unwrap().iter().map(Problem::to_string).collect()
}

#[test]
fn what_is_frozen_may_not_change_or_go() {
    let root = project();
    assert_eq!(problems(&root), [""; 0]);
    fs::write(root.path().join("wit/0.1.0/policy.wit"), "package b;").unwrap();
    fs::remove_file(root.path().join("tests/vectors/components/0.1.0/a.wasm")).unwrap();
    let said = problems(&root);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("a.wasm: it is frozen and gone"), "{said:?}");
    assert!(said[1].contains("wit/0.1.0/policy.wit: it is frozen and has changed"), "{said:?}");
}

#[test]
fn what_lies_beside_it_has_to_be_frozen_too() {
    let root = project();
    fs::write(root.path().join("tests/vectors/components/0.1.0/b.wasm"), "b").unwrap();
    let said = check(root.path()).unwrap();
    assert_eq!(said.len(), 1);
    assert!(is_unlisted(&said[0]), "{}", said[0]);
    assert_eq!(write(root.path()).unwrap(), ["tests/vectors/components/0.1.0/b.wasm"]);
    assert_eq!(problems(&root), [""; 0]);
}

#[test]
fn a_released_version_needs_components_to_be_tested_with() {
    let root = project();
    fs::create_dir_all(root.path().join("wit/0.1.1")).unwrap();
    assert_eq!(problems(&root), ["tests/vectors/components: it has no components of the released 0.1.1"]);
}
