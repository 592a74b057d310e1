//! Components that were built against released versions of the contract: they load, keep today's rules, and answer as they
//! always did. Each has its known answers beside it, in the form of an author's scenarios.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_policy::conformance::{Check, Scenarios, conformance, kinds};
use sluice_policy::{Compiler, Loader};
use tempfile::TempDir;

/// As `sluice plugin test` has it: known answers name addresses of the main network.
fn loader(root: &TempDir) -> Loader {
    Loader::new(&root.path().join("cache"), Compiler::InProcess, bitcoin::Network::Bitcoin).unwrap()
}

fn versions() -> Vec<PathBuf> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/components");
    let entries = fs::read_dir(vectors).unwrap().map(|entry| entry.unwrap().path());
    let mut versions: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    versions.sort();
    versions
}

fn components(version: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(version).unwrap().map(|entry| entry.unwrap().path());
    let mut components: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).collect();
    components.sort();
    components
}

/// What every policy is asked, then what this one is known by.
fn checks(component: &Path) -> Vec<Check> {
    let (wasm, answers) = (fs::read(component).unwrap(), component.with_extension("toml"));
    let answers = fs::read_to_string(&answers)
        .unwrap_or_else(|error| panic!("{}: known answers are needed: {error}", answers.display()));
    let known: Scenarios = toml::from_str(&answers).unwrap();
    let kind = kinds(&wasm).unwrap()[0];
    let root = TempDir::new().unwrap();
    let loader = loader(&root);
    let mut checks = conformance(&wasm, kind, &known.settings, &loader);
    checks.extend(known.run(&wasm, kind, &loader));
    checks
}

#[test]
fn components_of_every_released_version_load_and_answer_as_they_did() {
    let versions = versions();
    assert!(!versions.is_empty(), "0.1.0 is released");
    for version in versions {
        let components = components(&version);
        assert!(components.len() >= 3, "{}: one of each kind at least", version.display());
        for component in components {
            let checks = checks(&component);
            let failed: Vec<&Check> = checks.iter().filter(|check| check.error.is_some()).collect();
            assert!(failed.is_empty(), "{}: {failed:#?}", component.display());
        }
    }
}

/// They are what they are called: built against that version, which inspection shows an operator.
#[test]
fn components_of_a_version_say_that_they_were_built_against_it() {
    for version in versions() {
        for component in components(&version) {
            let root = TempDir::new().unwrap();
            let found = sluice_policy::inspect(&fs::read(&component).unwrap(), &loader(&root));
            let named = version.file_name().map(|name| name.to_string_lossy().into_owned());
            assert_eq!(found.wit_version, named, "{}", component.display());
        }
    }
}
