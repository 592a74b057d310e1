use super::*;

#[test]
fn tests_and_prose_are_not_built_from() {
    for yes in ["src/lib.rs", "src/settings.schema.json", "wit/policy.wit", "Cargo.toml"] {
        assert!(is_built_from(Path::new(yes)), "{yes}");
    }
    for no in ["src/policy/tests.rs", "README.md", "src/.policy.rs.swp", "notes"] {
        assert!(!is_built_from(Path::new(no)), "{no}");
    }
}

#[test]
fn the_hash_is_of_the_plugin_and_of_what_it_shares() {
    let root = crate::project_root();
    let names = ["payout-solo".to_owned(), "payout-pplns".to_owned()];
    let first = hashes(&root, &names).unwrap();
    assert_ne!(first[0], first[1]);
    assert_eq!(hashes(&root, &names).unwrap(), first);
}

#[test]
fn dev_dependencies_do_not_count() {
    let root = crate::project_root();
    let metadata = MetadataCommand::new().current_dir(root).exec().unwrap();
    let packages = packages(&metadata, "plugin-payout-solo").unwrap();
    assert!(packages.iter().any(|package| package.starts_with("sluice-plugin ")));
    assert!(!packages.iter().any(|package| package.starts_with("proptest ")));
}
