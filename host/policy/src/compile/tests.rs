use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::{prune, watch_child};
use crate::error::LoadError;

fn sleeper() -> std::process::Child {
    Command::new("sleep").arg("1000").stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_compile_that_does_not_end_is_ended() {
    let child = sleeper();
    let process = format!("/proc/{}", child.id());
    let why = watch_child(child, Duration::from_millis(50), &|| false);
    assert_eq!(why, Err(LoadError::CompileTimeout { seconds: 0 }));
    assert!(!fs::exists(process).unwrap(), "it is gone, and reaped");
}

#[test]
fn a_compile_gives_way_to_a_newer_file() {
    let why = watch_child(sleeper(), Duration::from_secs(60), &|| true);
    assert_eq!(why, Err(LoadError::Superseded));
}

#[test]
fn the_newest_files_stay_and_those_that_are_spared() {
    let dir = tempfile::tempdir().unwrap();
    for age in 0..10u64 {
        let file = fs::File::create(dir.path().join(age.to_string())).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    prune(dir.path(), 3, &|path| path.ends_with("7"));
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["0", "1", "2", "7"]);
}
