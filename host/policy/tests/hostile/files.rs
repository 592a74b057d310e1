//! What can lie in place of a policy's file, and changes that no event tells of.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluice_core::policy::PolicyKind;
use sluice_policy::PolicyEvent;

use crate::guest::Guest;
use crate::house::{House, applied, event, login, rejected, status};
use crate::scene::Question;

const AUTH: PolicyKind = PolicyKind::Auth;

fn house() -> House {
    let mut house = House::new();
    house.config.debounce = Duration::from_millis(20);
    house
}

fn bytes(name: &str) -> Vec<u8> {
    Guest::new(AUTH, name).build()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn sparse(path: &Path) {
    File::create(path).unwrap().set_len(1 << 40).unwrap();
}

/// What lies there instead, and what is said of it.
type Impostor = (&'static str, fn(&Path), &'static str);

const IMPOSTORS: [Impostor; 7] = [
    ("a directory", |path| fs::create_dir(path).unwrap(), "it is a directory"),
    ("a pipe that nobody writes", pipe, "it is no regular file"),
    ("a link to a device without end", |path| symlink("/dev/zero", path).unwrap(), "it is no regular file"),
    ("an empty file", |path| fs::write(path, b"").unwrap(), "not a WebAssembly component"),
    ("a terabyte of nothing", sparse, "at most 67108864 are allowed"),
    ("64 MiB and a byte", |path| fs::write(path, vec![0; (64 << 20) + 1]).unwrap(), "at most 67108864"),
    (
        "garbage",
        |path| fs::write(path, b"\0asm\xff\xff\xff\xff garbage").unwrap(),
        "not a WebAssembly component",
    ),
];

fn clear(path: &Path) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn what_is_no_policy_file_is_refused_with_a_reason_and_holds_nobody_up() {
    let house = house();
    let policies = house.start().await;
    let mut events = policies.events();
    for (what, put, says) in IMPOSTORS {
        let aside = house.root.path().join("impostor");
        put(&aside);
        if house.path(AUTH).exists() {
            clear(&house.path(AUTH));
        }
        fs::rename(&aside, house.path(AUTH)).unwrap();
        let why = rejected(&mut events).await;
        assert!(why.contains(says), "{what}: {why}");
        assert_eq!(status(&policies, AUTH).last_reload.error.as_ref(), Some(&why));
        for question in Question::ALL {
            question.ask(&policies).await.unwrap();
        }
    }
    clear(&house.path(AUTH));
    house.put(AUTH, &bytes("good"));
    assert_eq!(applied(&mut events).await, "good");
}

#[tokio::test]
async fn links_that_lead_nowhere_or_in_circles_are_a_file_that_is_gone() {
    let house = house();
    let policies = house.start().await;
    let mut events = policies.events();
    for target in ["nowhere", "auth.wasm"] {
        fs::remove_file(house.path(AUTH)).unwrap();
        symlink(target, house.path(AUTH)).unwrap();
        event(&mut events, |event| matches!(event, PolicyEvent::FileGone { .. }).then_some(())).await;
        assert_eq!(policies.authorize(login("alice")).await.unwrap().account.as_str(), "first");
        house.put(AUTH, &bytes("first"));
        event(&mut events, |event| matches!(event, PolicyEvent::Unchanged { .. }).then_some(())).await;
    }
}

/// The directory is a link: after it is turned round events still come from where it led before.
#[tokio::test]
async fn a_change_that_no_event_tells_of_is_found_by_looking() {
    let mut house = house();
    let (old, new) = (house.root.path().join("plugins"), house.root.path().join("next"));
    fs::create_dir(&new).unwrap();
    for kind in PolicyKind::ALL {
        fs::copy(house.path(kind), new.join(format!("{kind}.wasm"))).unwrap();
    }
    let link = house.root.path().join("current");
    symlink(&old, &link).unwrap();
    house.config.dir = link.clone();
    let policies = house.start().await;
    let mut events = policies.events();
    let turned = house.root.path().join("turned");
    symlink(&new, &turned).unwrap();
    fs::rename(&turned, &link).unwrap();
    for name in ["second", "third"] {
        fs::write(new.join("aside"), bytes(name)).unwrap();
        fs::rename(new.join("aside"), new.join("auth.wasm")).unwrap();
        assert_eq!(applied(&mut events).await, name);
    }
}

#[tokio::test]
async fn a_directory_that_is_renamed_away_and_back_is_followed() {
    let house = house();
    let policies = house.start().await;
    let mut events = policies.events();
    let away = house.root.path().join("away");
    fs::rename(&house.config.dir, &away).unwrap();
    for _ in PolicyKind::ALL {
        event(&mut events, |event| matches!(event, PolicyEvent::FileGone { .. }).then_some(())).await;
    }
    for question in Question::ALL {
        question.ask(&policies).await.unwrap();
    }
    // Another in its place for a while.
    fs::create_dir(&house.config.dir).unwrap();
    house.put(AUTH, &bytes("second"));
    assert_eq!(applied(&mut events).await, "second");
    fs::remove_dir_all(&house.config.dir).unwrap();
    fs::rename(&away, &house.config.dir).unwrap();
    assert_eq!(applied(&mut events).await, "first");
    house.put(AUTH, &bytes("third"));
    assert_eq!(applied(&mut events).await, "third");
}

#[tokio::test]
async fn a_file_of_the_same_size_and_time_is_another_file() {
    let house = house();
    let policies = house.start().await;
    let mut events = policies.events();
    let path = house.path(AUTH);
    let before = fs::metadata(&path).unwrap();
    for (name, in_place) in [("after", false), ("again", true)] {
        let other = bytes(name);
        assert_eq!(other.len() as u64, before.len());
        if in_place {
            fs::write(&path, &other).unwrap();
        } else {
            house.put(AUTH, &other);
        }
        File::options().append(true).open(&path).unwrap().set_modified(before.modified().unwrap()).unwrap();
        assert_eq!(applied(&mut events).await, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events_hides_no_change_and_delays_no_call() {
    let house = house();
    let policies = house.start().await;
    let mut events = policies.events();
    let (stop, dir) = (Arc::new(AtomicBool::new(false)), house.config.dir.clone());
    let flooding = stop.clone();
    let flood = std::thread::spawn(move || {
        let mut written = 0u64;
        while !flooding.load(Ordering::Relaxed) {
            let noise = dir.join(format!("noise-{}", written % 100));
            fs::write(&noise, b"noise").unwrap();
            fs::rename(&noise, dir.join("other.wasm")).unwrap();
            written += 1;
        }
        written
    });
    for turn in 0..20 {
        let name = format!("turn-{turn}");
        house.put(AUTH, &bytes(&name));
        assert_eq!(applied(&mut events).await, name);
        for question in Question::ALL {
            question.ask(&policies).await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(flood.join().unwrap() > 100);
    assert_eq!(status(&policies, AUTH).generation, 21);
}

/// Written again and again without ever lying still, then left alone: what was in between is not loaded.
#[tokio::test]
async fn a_file_that_keeps_changing_is_read_once_it_lies_still() {
    let mut house = house();
    house.config.debounce = Duration::from_millis(300);
    let policies = house.start().await;
    let mut events = policies.events();
    let half = bytes("half");
    for length in (0..half.len()).step_by(half.len().div_ceil(100)) {
        fs::write(house.path(AUTH), &half[..length]).unwrap();
    }
    fs::write(house.path(AUTH), bytes("whole")).unwrap();
    assert_eq!(applied(&mut events).await, "whole");
    assert_eq!(status(&policies, AUTH).slot.rejected_reloads, 0);
}
