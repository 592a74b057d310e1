use std::path::Path;

use sluice_core::units::Timestamp;
use tempfile::TempDir;

use super::identity_problem;
use crate::commands::keygen;
use crate::config;

const NOW: Timestamp = Timestamp(1_750_000_000_000);

/// What `check` says of a configuration with `section` beside `dir`'s files.
fn problem(dir: &TempDir, section: &str) -> Option<String> {
    let text = format!(
        "network = \"regtest\"\ndata_dir = \"d\"\npolicy.dir = \"p\"\nsimulation.enabled = true\n\
         pool.address = \"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080\"\n[stratum_v2]\n{section}"
    );
    let file = dir.path().join("pool.toml").display().to_string();
    let config = config::parse(&text, &file).unwrap_or_else(|errors| panic!("{errors}"));
    identity_problem(&config, NOW)
}

#[test]
fn check_looks_at_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(problem(&dir, "enabled = false\n"), None);
    let section = "enabled = true\nauthority_key = \"keys/authority.key\"\n";
    let missing = problem(&dir, section).unwrap();
    assert!(
        missing.starts_with("stratum_v2: failed to open ") && missing.contains("authority.key"),
        "{missing}"
    );
    keygen::new_authority(&dir.path().join("keys")).unwrap();
    assert_eq!(problem(&dir, section), None);
    let wrong = problem(&dir, "enabled = true\ncertificate = \"keys/authority.key\"\n").unwrap();
    assert!(wrong.contains("is no certificate file"), "{wrong}");
}

#[test]
fn check_looks_at_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    keygen::new_authority(&keys).unwrap();
    let certify = |name: &str, when: u64| {
        let args = crate::cli::Keygen {
            dir: None,
            certify: Some(keys.join(keygen::SECRET_FILE)),
            days: 1,
            out: Some(dir.path().join(name)),
        };
        keygen::run(&args, Timestamp(when), &mut Vec::new()).unwrap();
        problem(&dir, &format!("enabled = true\ncertificate = {:?}\n", Path::new(name)))
    };
    assert_eq!(certify("good", NOW.0), None);
    let old = certify("old", NOW.0 - 2 * 86_400_000).unwrap();
    assert!(old.contains("the certificate held until"), "{old}");
}
