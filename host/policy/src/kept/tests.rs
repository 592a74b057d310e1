use std::fs;
use std::path::Path;
use std::time::SystemTime;

use sluice_core::policy::PolicyKind;

use super::{CREDITED, KeptError, RECENT, RECENT_LIMIT, Shelf, kept, resolve};
use crate::choice;
use crate::compile::content_hash;

#[test]
fn a_component_is_found_by_its_hash_and_only_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let hash = content_hash(b"component");
    assert!(matches!(kept(dir.path(), &hash), Err(KeptError::Missing(path)) if path.contains(&hash)));
    fs::create_dir(dir.path().join(CREDITED)).unwrap();
    let file = dir.path().join(CREDITED).join(format!("{hash}.wasm"));
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

fn hashes(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn payout_policies_stay_for_ever_and_of_the_others_the_latest_those_in_use_and_those_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(dir.path());
    shelf.dirs().for_each(|dir| fs::create_dir(dir).unwrap());
    let keep = |kind, number: usize| {
        let bytes = number.to_le_bytes();
        shelf.keep(kind, &bytes, &content_hash(&bytes), &dir.path().join("aside")).unwrap()
    };
    let in_use = keep(PolicyKind::Auth, 0);
    let chosen = keep(PolicyKind::Auth, 1);
    let choices = dir.path().join(choice::FILE);
    fs::write(&choices, format!(r#"{{"auth":{{"serving":"{chosen}"}}}}"#)).unwrap();
    let old = [&in_use, &chosen].map(|hash| dir.path().join(RECENT).join(format!("{hash}.wasm")));
    for file in &old {
        fs::File::options().append(true).open(file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    drop(chosen);
    for number in 2..2 + 2 * RECENT_LIMIT {
        keep(PolicyKind::Vardiff, number);
        keep(PolicyKind::Payout, number);
    }
    // Another program on the same directory has nothing loaded: it puts away, and removes nothing.
    let recent = dir.path().join(RECENT);
    assert_eq!(hashes(&recent), 2 * RECENT_LIMIT + 2);
    shelf.tidy();
    assert_eq!(hashes(&dir.path().join(CREDITED)), 2 * RECENT_LIMIT);
    assert_eq!(hashes(&recent), RECENT_LIMIT + 2);
    assert!(old.iter().all(|file| file.exists()));
    assert_eq!(kept(dir.path(), &in_use).unwrap(), 0usize.to_le_bytes());
    // In both directories it is still one component.
    keep(PolicyKind::Payout, 0);
    assert_eq!(resolve(dir.path(), &in_use[..8]).unwrap(), *in_use);
    drop(in_use);
    fs::remove_file(choices).unwrap();
    shelf.tidy();
    assert_eq!(hashes(&recent), RECENT_LIMIT);
}
