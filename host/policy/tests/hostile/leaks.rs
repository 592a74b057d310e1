//! Many calls: to what leaks, to what traps at random, to what floods the log, and to what behaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice_core::policy::PolicyKind;
use sluice_core::policy::auth::Refusal;
use sluice_policy::{Policies, TrapCause};

use crate::alone::{Holdings, alone};
use crate::guest::Guest;
use crate::house::{House, applied, login, status};
use crate::scene::{Question, Scene};

const MILLION: u64 = 1_000_000;
/// Logins at the same time.
const ASKERS: u64 = 64;

/// So many logins, many at a time; returns how many got the default.
async fn logins(policies: &Policies, count: u64) -> u64 {
    let failed = Arc::new(AtomicU64::new(0));
    let askers: Vec<_> = (0..ASKERS)
        .map(|asker| {
            let (policies, failed) = (policies.clone(), failed.clone());
            tokio::spawn(async move {
                for number in 0..count / ASKERS {
                    let user = format!("alice.{}", asker * (count / ASKERS) + number);
                    match policies.authorize(login(&user)).await {
                        Ok(_) => {}
                        Err(Refusal::TryLater(_)) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    failed.load(Ordering::Relaxed)
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// Keeps 256 bytes of every call, and touches them.
const LEAK: &str =
    "(if (i32.ge_u (i32.add (global.get $kept) (i32.const 256)) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))))
    (i32.store (global.get $kept) (i32.const 1))
    (global.set $kept (i32.add (global.get $kept) (i32.const 256)))";

fn leaking(kind: PolicyKind, export: &'static str) -> Guest {
    Guest::new(kind, "leaking").with("(global $kept (mut i32) (i32.const 131072))").body_before(export, LEAK)
}

#[test]
fn a_leak_over_a_million_logins_costs_no_login_and_no_memory() {
    if !alone("leaks::a_leak_over_a_million_logins_costs_no_login_and_no_memory") {
        return;
    }
    block_on(async {
        let house = House::new();
        house.put(PolicyKind::Auth, &leaking(PolicyKind::Auth, "authorize").build());
        let policies = house.start().await;
        assert_eq!(logins(&policies, MILLION / 10).await, 0);
        let before = Holdings::now().memory;
        assert_eq!(logins(&policies, MILLION).await, 0, "logins got the default");
        let grown = Holdings::now().memory.saturating_sub(before);
        let figures = status(&policies, PolicyKind::Auth).figures;
        // Eight MiB hold 32 thousand leaks; three quarters of them make way for a fresh instance.
        assert!(figures.renewed >= 40 && figures.traps == 0, "{figures:?}");
        assert!(figures.memory_peak <= 8 << 20, "{figures:?}");
        assert!(grown < 16 << 20, "{grown} bytes");
    });
}

#[tokio::test]
async fn what_leaks_more_than_it_may_in_one_call_is_stopped() {
    let all = crate::guest::HOARD;
    let scene = Scene::of(Question::Open, Guest::new(PolicyKind::Vardiff, "greedy").body("open", all)).await;
    scene.stopped(TrapCause::Memory, "memory").await;
    scene.mended().await;
}

#[test]
fn a_million_logins_of_a_policy_that_behaves_take_the_same_memory_and_fuel() {
    if !alone("leaks::a_million_logins_of_a_policy_that_behaves_take_the_same_memory_and_fuel") {
        return;
    }
    block_on(async {
        let house = House::new();
        let policies = house.start().await;
        // As long a name as any that follows.
        policies.authorize(login("alice.1234567")).await.unwrap();
        assert_eq!(logins(&policies, MILLION / 10).await, 0);
        let (before, first) = (Holdings::now(), status(&policies, PolicyKind::Auth).figures);
        assert_eq!(logins(&policies, MILLION).await, 0);
        let (after, last) = (Holdings::now(), status(&policies, PolicyKind::Auth).figures);
        let grown = after.memory.saturating_sub(before.memory);
        assert!(grown < 8 << 20, "{grown} bytes");
        assert_eq!((after.threads, after.files), (before.threads, before.files));
        assert_eq!((last.fuel_peak, last.memory_peak), (first.fuel_peak, first.memory_peak));
        assert_eq!((last.instances, last.traps), (1, 0));
    });
}

/// Traps about once in `one_in` calls, by what the login says: a generator seeded with its bytes.
fn at_random(one_in: u32) -> Guest {
    let body = format!(
        "(local $at i32) (local $hash i32)
         (local.set $hash (i32.const 2166136261))
         (loop $more
           (local.set $hash (i32.mul (i32.const 16777619)
             (i32.xor (local.get $hash) (i32.load8_u (i32.add (local.get 0) (local.get $at))))))
           (local.set $at (i32.add (local.get $at) (i32.const 1)))
           (br_if $more (i32.lt_u (local.get $at) (local.get 1))))
         (local.set $hash (i32.xor (local.get $hash) (i32.shr_u (local.get $hash) (i32.const 15))))
         (if (i32.eqz (i32.rem_u (local.get $hash) (i32.const {one_in}))) (then unreachable))"
    );
    Guest::new(PolicyKind::Auth, "random").body_before("authorize", &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traps_at_random_cost_the_logins_that_met_them() {
    let scene = Scene::of(Question::Authorize, at_random(2000)).await;
    let failed = logins(&scene.policies, 6400).await;
    let figures = status(&scene.policies, PolicyKind::Auth).figures;
    assert!(figures.traps_by_cause.other > 0, "{figures:?}");
    // Each that failed was counted: stopped, or not asked while the policy was paused.
    assert_eq!(failed, figures.traps + figures.unavailable, "{figures:?}");
    scene.others_answer().await;
    let mut events = scene.policies.events();
    scene.house.put(PolicyKind::Auth, &Guest::new(PolicyKind::Auth, "mended").build());
    assert_eq!(applied(&mut events).await, "mended");
    assert_eq!(logins(&scene.policies, 640).await, 0);
}

/// Where the guest has zeros, up to its end at two megabytes.
const EMPTY: usize = 64 << 10;

/// Writes a line of this many bytes from `at`, so often.
fn chatty(question: Question, times: u32, at: usize, length: usize) -> Guest {
    let flood = format!(
        "(loop $more
           (call $log (i32.const 3) (i32.const {at}) (i32.const {length}))
           (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
           (br_if $more (i32.lt_u (global.get $calls) (i32.const {times}))))
         (global.set $calls (i32.const 0))"
    );
    Guest::new(question.kind(), "chatty").pages(32).body_before(question.export(), &flood)
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_short_in_every_call() {
    for question in
        [Question::Authorize, Question::Open, Question::ReviewAll, Question::Settle, Question::Accrue]
    {
        let scene = Scene::of(question, chatty(question, 1000, EMPTY, 6)).await;
        question.ask(&scene.policies).await.unwrap();
        let figures = status(&scene.policies, question.kind()).figures;
        assert_eq!((figures.log_lines, figures.log_dropped), (32, 968));
        for _ in 0..9 {
            question.ask(&scene.policies).await.unwrap();
        }
        let figures = status(&scene.policies, question.kind()).figures;
        assert_eq!(figures.log_lines + figures.log_dropped, 10_000);
        // Fifty a second.
        assert!(figures.log_lines <= 150, "{figures:?}");
        scene.others_answer().await;
    }
}

#[tokio::test]
async fn a_line_of_a_megabyte_is_cut_and_one_beyond_memory_stopped() {
    let question = Question::Authorize;
    // Two megabytes are more than a call may hand over.
    for (length, stop, says) in [
        (2_000_000, Some(TrapCause::AnswerSize), "larger than its limit"),
        (3_000_000, Some(TrapCause::Other), "out of bounds"),
        (1_000_000, None, ""),
    ] {
        let scene = Scene::of(question, chatty(question, 1, EMPTY, length)).await;
        match stop {
            Some(stop) => scene.stopped(stop, says).await,
            None => {
                let answer = question.ask(&scene.policies).await;
                assert!(answer.is_ok(), "{:?}", status(&scene.policies, question.kind()));
            }
        }
    }
}

#[tokio::test]
async fn a_line_that_is_no_text_or_of_no_level_is_stopped() {
    let question = Question::Authorize;
    for (level, says) in [(9, "discriminant"), (0, "utf-8")] {
        let mut guest = Guest::new(PolicyKind::Auth, "chatty");
        let at = guest.put(b"\xff\xff");
        let line = format!("(call $log (i32.const {level}) (i32.const {at}) (i32.const 2))");
        let scene = Scene::of(question, guest.body_before("authorize", &line)).await;
        scene.stopped(TrapCause::Other, says).await;
    }
}

#[tokio::test]
async fn a_reason_is_told_from_however_deep_it_comes() {
    let dig = "(func $dig (param i32) (if (local.get 0)
            (then (call $dig (i32.sub (local.get 0) (i32.const 1))))
            (else (call $log (i32.const 9) (i32.const 0) (i32.const 0)))))";
    let guest = Guest::new(PolicyKind::Auth, "deep").with(dig);
    let scene =
        Scene::of(Question::Authorize, guest.body_before("authorize", "(call $dig (i32.const 100))")).await;
    scene.stopped(TrapCause::Other, "the policy was stopped: unexpected discriminant: 9").await;
}

/// What a full disk or a slow console would be to the guest's line is not the guest's to know: the call just ends.
#[tokio::test]
async fn a_flood_that_never_ends_is_stopped_like_any_loop() {
    let guest = chatty(Question::Open, u32::MAX, EMPTY, 6);
    let scene = Scene::with(Question::Open, guest, |limits| {
        limits.fuel = u64::MAX / 16;
        limits.deadline = Duration::from_millis(200);
    })
    .await;
    scene.stopped(TrapCause::Deadline, "deadline").await;
    let figures = status(&scene.policies, PolicyKind::Vardiff).figures;
    assert!(figures.log_lines <= 32 && figures.log_dropped > 1000, "{figures:?}");
    scene.mended().await;
}
