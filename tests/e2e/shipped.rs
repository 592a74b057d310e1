//! The configurations in config/ are more than examples: `check` takes them as they are.

use std::path::Path;
use std::process::Command;

use sluice_tests::binary;

/// The files beside it keep their relative paths; the data directory is made below a copy.
#[test]
fn check_takes_every_shipped_configuration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("config");
    std::fs::create_dir_all(&config).expect("a directory");
    let plugins = home.path().join("plugins");
    std::fs::create_dir_all(&plugins).expect("a directory");
    std::os::unix::fs::symlink(
        root.join("plugins/dist").canonicalize().expect("there"),
        plugins.join("dist"),
    )
    .expect("a link");
    let mut count = 0;
    for entry in std::fs::read_dir(root.join("config")).expect("there") {
        let entry = entry.expect("readable");
        if entry.file_type().expect("readable").is_dir() {
            // Scenarios of backtests, which are read by tests of their own.
            continue;
        }
        let name = entry.file_name();
        std::fs::copy(root.join("config").join(&name), config.join(&name)).expect("copied");
        let output = Command::new(binary::sluice().expect("built"))
            .args(["check", "--config"])
            .arg(config.join(&name))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", name.to_string_lossy());
        count += 1;
    }
    assert!(count >= 2);
}
