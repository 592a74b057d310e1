use std::fs;

use super::{DIR, KeptError, kept};
use crate::compile::content_hash;

#[test]
fn a_component_is_found_by_its_hash_and_only_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let hash = content_hash(b"component");
    assert!(matches!(kept(dir.path(), &hash), Err(KeptError::Missing(path)) if path.contains(&hash)));
    fs::create_dir(dir.path().join(DIR)).unwrap();
    let file = dir.path().join(DIR).join(format!("{hash}.wasm"));
    fs::write(&file, b"component").unwrap();
    assert_eq!(kept(dir.path(), &hash).unwrap(), b"component");
    fs::write(&file, b"another").unwrap();
    let found = content_hash(b"another");
    assert!(
        matches!(kept(dir.path(), &hash), Err(KeptError::Changed { found: other, .. }) if other == found)
    );
}

#[test]
fn what_is_no_hash_is_never_made_a_path() {
    let dir = tempfile::tempdir().unwrap();
    for hash in ["native", "", "../../etc/passwd", &"A".repeat(64), &"../".repeat(22)[..64]] {
        assert_eq!(kept(dir.path(), hash), Err(KeptError::NoHash(hash.to_owned())));
    }
}
