//! Replacing policies while they are asked.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_core::policy::PolicyKind;
use sluice_core::policy::vardiff::Memo;
use sluice_policy::status::Outcome;
use sluice_policy::{Policies, PolicyEvent, ReloadOutcome};

use crate::answers::TRAP_CONDITION;
use crate::guest::{Guest, TRAP};
use crate::house::{House, applied, event, login, opening, rejected, review, round, settings, status};

fn auth(name: &str) -> Guest {
    Guest::new(PolicyKind::Auth, name)
}

async fn answering(policies: &Policies) -> String {
    policies.authorize(login("alice")).await.expect("it answers").account.to_string()
}

#[tokio::test]
async fn a_new_file_takes_over() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    let before = status(&policies, PolicyKind::Auth);
    assert_eq!(answering(&policies).await, "first");
    house.put(PolicyKind::Auth, &auth("second").build());
    assert_eq!(applied(&mut events).await, "second");
    assert_eq!(answering(&policies).await, "second");
    let after = status(&policies, PolicyKind::Auth);
    assert_eq!((before.generation, after.generation), (1, 2));
    assert_ne!(before.hash, after.hash);
    assert_eq!(after.last_reload.outcome, Outcome::Applied);
    assert_eq!(status(&policies, PolicyKind::Vardiff).generation, 1);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_why() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    let broken = [
        (auth("x").build()[..400].to_vec(), "component"),
        (Guest::new(PolicyKind::Vardiff, "x").build(), "kind vardiff"),
        (auth("x").version("0.2.0").build(), "newer Sluice"),
        (auth("x").imports("wasi:io/poll@0.2.0", "poll").build(), "wasi:io/poll@0.2.0"),
        (auth("x").fails("configure", 0, "no such key", "(i32.const 1)").build(), "no such key"),
        (auth("x").fails("self-test", 2, "wrong sum", "(i32.const 1)").build(), "wrong sum"),
        (auth("x").body("self-test", TRAP).build(), "self-test"),
        (auth("X y").build(), "lower case"),
    ];
    for (index, (bytes, says)) in broken.iter().enumerate() {
        house.put(PolicyKind::Auth, bytes);
        let why = rejected(&mut events).await;
        assert!(why.contains(says), "{why}");
        assert_eq!(answering(&policies).await, "first");
        let status = status(&policies, PolicyKind::Auth);
        assert_eq!(status.generation, 1);
        assert_eq!(status.last_reload.outcome, Outcome::Rejected);
        assert_eq!(status.last_reload.error.as_ref(), Some(&why));
        assert_eq!(status.slot.rejected_reloads, u64::try_from(index).unwrap() + 1);
    }
}

#[tokio::test]
async fn a_candidate_is_tried_on_what_was_asked_lately() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    answering(&policies).await;
    house.put(PolicyKind::Auth, &auth("trap").body("authorize", TRAP).build());
    assert!(rejected(&mut events).await.contains("recent input"));
    policies.settle(round(&[("alice", 1)])).await.unwrap();
    // More than the reward.
    house.put(
        PolicyKind::Payout,
        &Guest::new(PolicyKind::Payout, "greedy").settles("alice", 1, 1 << 52, "").build(),
    );
    let why = rejected(&mut events).await;
    assert!(why.contains("more than the reward"), "{why}");
    // What a candidate does is not held against the slot.
    let status = status(&policies, PolicyKind::Auth);
    assert_eq!((status.figures.traps, status.generation), (0, 1));
}

#[tokio::test]
async fn a_poisonous_login_does_not_keep_a_new_version_out() {
    let house = House::new();
    let fragile = |name| auth(name).fails("authorize", 0, "", TRAP_CONDITION).build();
    house.put(PolicyKind::Auth, &fragile("old"));
    let policies = house.start().await;
    let mut events = policies.events();
    assert!(policies.authorize(login("!boom")).await.is_err());
    assert_eq!(answering(&policies).await, "old");
    house.put(PolicyKind::Auth, &fragile("new"));
    assert_eq!(applied(&mut events).await, "new");
}

#[tokio::test]
async fn the_same_content_is_unchanged() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    house.put(PolicyKind::Auth, &auth("first").build());
    event(&mut events, |event| matches!(event, PolicyEvent::Unchanged { .. }).then_some(())).await;
    let status = status(&policies, PolicyKind::Auth);
    assert_eq!((status.generation, status.last_reload.outcome), (1, Outcome::Unchanged));
}

#[tokio::test]
async fn a_deleted_file_keeps_serving_and_may_come_back() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    std::fs::remove_file(house.path(PolicyKind::Auth)).unwrap();
    event(&mut events, |event| matches!(event, PolicyEvent::FileGone { .. }).then_some(())).await;
    assert_eq!(answering(&policies).await, "first");
    house.put(PolicyKind::Auth, &auth("second").build());
    assert_eq!(applied(&mut events).await, "second");
}

#[tokio::test]
async fn a_symlink_swap_is_followed() {
    // As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> ..1
    let house = House::new();
    let dir = &house.config.dir;
    let name = house.path(PolicyKind::Auth);
    for (version, guest) in [("..1", "first"), ("..2", "second")] {
        std::fs::create_dir(dir.join(version)).unwrap();
        std::fs::write(dir.join(version).join("auth.wasm"), auth(guest).build()).unwrap();
    }
    symlink("..1", dir.join("..data")).unwrap();
    std::fs::remove_file(&name).unwrap();
    symlink("..data/auth.wasm", &name).unwrap();
    let policies = house.start().await;
    let mut events = policies.events();
    symlink("..2", dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    assert_eq!(applied(&mut events).await, "second");
}

#[tokio::test]
async fn a_file_written_in_two_parts_is_read_whole() {
    use std::io::Write;
    let mut house = House::new();
    house.config.debounce = std::time::Duration::from_millis(400);
    let policies = house.start().await;
    let mut events = policies.events();
    let bytes = auth("second").build();
    let mut file = std::fs::File::create(house.path(PolicyKind::Auth)).unwrap();
    file.write_all(&bytes[..bytes.len() / 2]).unwrap();
    file.sync_all().unwrap();
    // Within the debounce; if the machine stalls the first half is refused, and the whole applied all the same.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    file.write_all(&bytes[bytes.len() / 2..]).unwrap();
    drop(file);
    assert_eq!(applied(&mut events).await, "second");
}

#[tokio::test]
async fn a_stale_half_is_refused_and_the_whole_applied() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    let bytes = auth("second").build();
    std::fs::write(house.path(PolicyKind::Auth), &bytes[..bytes.len() / 2]).unwrap();
    rejected(&mut events).await;
    std::fs::write(house.path(PolicyKind::Auth), &bytes).unwrap();
    assert_eq!(applied(&mut events).await, "second");
}

#[tokio::test]
async fn settings_are_reloaded_and_refused_like_code() {
    let house = House::new();
    // Settles on nothing shorter than {}.
    let picky =
        auth("picky").fails("configure", 0, "only {} will do", "(i32.ne (local.get 1) (i32.const 2))");
    house.put(PolicyKind::Auth, &picky.build());
    let policies = house.start().await;
    let unchanged = policies.reconfigure(PolicyKind::Auth, settings("{}")).await;
    assert_eq!(unchanged, ReloadOutcome::Unchanged);
    let refused = policies.reconfigure(PolicyKind::Auth, settings(r#"{"a":1}"#)).await;
    let ReloadOutcome::Rejected { why } = refused else { panic!("{refused:?}") };
    assert!(why.contains("only {} will do"), "{why}");
    let applied = policies.reconfigure(PolicyKind::Payout, settings(r#"{"b":1,"a":2}"#)).await;
    assert_eq!(applied, ReloadOutcome::Applied { generation: 2 });
    let settled = policies.settle(round(&[("alice", 1)])).await.unwrap();
    assert_eq!(settled.policy.settings, r#"{"a":2,"b":1}"#);
}

#[tokio::test]
async fn new_code_and_new_settings_that_need_each_other_come_in_either_order() {
    let house = House::new();
    let empty_only =
        auth("old").fails("configure", 0, "only {}", "(i32.ne (local.get 1) (i32.const 2))").build();
    let never_empty = || {
        auth("new").fails("configure", 0, "a table is needed", "(i32.eq (local.get 1) (i32.const 2))").build()
    };
    house.put(PolicyKind::Auth, &empty_only);
    let policies = house.start().await;
    let mut events = policies.events();
    // Code first.
    house.put(PolicyKind::Auth, &never_empty());
    assert!(rejected(&mut events).await.contains("a table is needed"));
    let outcome = policies.reconfigure(PolicyKind::Auth, settings(r#"{"a":1}"#)).await;
    assert_eq!(outcome, ReloadOutcome::Applied { generation: 2 });
    assert_eq!(answering(&policies).await, "new");
    assert_eq!(applied(&mut events).await, "new");
    // Settings first.
    assert!(matches!(
        policies.reconfigure(PolicyKind::Auth, settings("{}")).await,
        ReloadOutcome::Rejected { .. }
    ));
    house.put(PolicyKind::Auth, &empty_only);
    assert_eq!(applied(&mut events).await, "old");
}

#[tokio::test]
async fn a_young_version_that_keeps_trapping_is_rolled_back() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    let traps = auth("second").body("authorize", TRAP).build();
    house.put(PolicyKind::Auth, &traps);
    assert_eq!(applied(&mut events).await, "second");
    let bad = status(&policies, PolicyKind::Auth).hash;
    while policies.authorize(login("alice")).await.is_err() {}
    assert_eq!(answering(&policies).await, "first");
    let from = event(&mut events, |event| match event {
        PolicyEvent::RolledBack { from, .. } => Some(from.clone()),
        _ => None,
    })
    .await;
    assert_eq!(from, bad);
    let status = status(&policies, PolicyKind::Auth);
    assert_eq!((status.generation, status.name.as_str()), (3, "first"));
    assert_eq!(status.last_reload.outcome, Outcome::RolledBack);
    assert_eq!(status.figures.traps, 4);
    // The same bytes are not let in again by a new time stamp.
    house.put(PolicyKind::Auth, &traps);
    assert!(rejected(&mut events).await.contains("rolled back"));
}

#[tokio::test]
async fn memos_are_tagged_with_the_format_that_wrote_them() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    let first = policies.open(opening()).await.unwrap().memo;
    assert_eq!(first, Memo { format: 1, bytes: b"first".as_slice().into() });
    house.put(PolicyKind::Vardiff, &Guest::new(PolicyKind::Vardiff, "second").memo_format(2).build());
    applied(&mut events).await;
    assert_eq!(policies.review(review(first)).await.unwrap().memo.format, 2);
}

#[tokio::test]
async fn a_payout_reload_is_announced() {
    let house = House::new();
    let policies = house.start().await;
    let mut changed = policies.payout_changed();
    assert_eq!(*changed.borrow_and_update(), 1);
    house.put(PolicyKind::Payout, &Guest::new(PolicyKind::Payout, "second").build());
    let wait = tokio::time::timeout(std::time::Duration::from_secs(60), changed.changed());
    wait.await.expect("it changes").expect("the policies live");
    assert_eq!(*changed.borrow_and_update(), 2);
    assert_eq!(policies.settle(round(&[])).await.unwrap().policy.generation, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_policies_are_replaced() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let askers: Vec<_> = (0..20)
        .map(|_| {
            let (policies, stop, asked) = (policies.clone(), stop.clone(), asked.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    policies.authorize(login("alice")).await.expect("every login is answered");
                    assert!(policies.review(review(Memo::default())).await.is_some());
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for turn in 0..10 {
        let name = format!("turn-{turn}");
        house.put(PolicyKind::Auth, &auth(&name).build());
        assert_eq!(applied(&mut events).await, name);
        house.put(PolicyKind::Auth, b"broken");
        rejected(&mut events).await;
        house.put(PolicyKind::Vardiff, &Guest::new(PolicyKind::Vardiff, &name).build());
        assert_eq!(applied(&mut events).await, name);
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.unwrap();
    }
    assert!(asked.load(Ordering::Relaxed) > 0);
    assert_eq!(status(&policies, PolicyKind::Auth).generation, 11);
}

#[tokio::test]
async fn after_the_end_every_question_gets_its_default() {
    let house = House::new();
    let policies = house.start().await;
    policies.shutdown();
    assert!(policies.authorize(login("alice")).await.is_err());
    assert!(policies.open(opening()).await.is_none());
    assert!(policies.settle(round(&[])).await.is_err());
    let outcome = policies.reconfigure(PolicyKind::Auth, settings(r#"{"a":1}"#)).await;
    assert!(matches!(outcome, ReloadOutcome::Rejected { .. }));
}
