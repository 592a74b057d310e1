//! What is counted of a generation: what its calls may use and have used, what stopped them, what it last did wrong.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::policy::PolicyKind;
use sluice_core::policy::auth::{Login, Refusal};
use sluice_core::policy::vardiff::{ChannelFacts, Memo, Opening, Review};
use sluice_policy::config::ShadowConfig;
use sluice_policy::status::PolicyStatus;
use sluice_policy::{ENDED_KEPT, Fault, Limits, Policies, PolicyEvent, ShadowState, ShadowStatus, TrapCause};

use crate::guest::{Guest, HOARD, LOOP, RECURSE, TRAP};
use crate::house::{House, applied, event, login, opening, rejected, review, round, status};

fn auth(name: &str) -> Guest {
    Guest::new(PolicyKind::Auth, name)
}

/// Says "secret" of the static data and the password of the login, then traps.
const BLAB: &str = "(call $log (i32.const 1) (local.get 3) (local.get 4)) (unreachable)";

/// Starts the pool with an auth policy under these limits, and asks it once.
async fn asked(body: &str, limits: impl FnOnce(&mut Limits)) -> (Policies, PolicyStatus) {
    let mut house = House::new();
    limits(&mut house.config.auth.limits);
    house.put(PolicyKind::Auth, &auth("guest").body("authorize", body).build());
    let policies = house.start().await;
    let answer = policies.authorize(login("alice")).await;
    assert!(matches!(answer, Err(Refusal::TryLater(_))), "fails closed and retryable: {answer:?}");
    let status = status(&policies, PolicyKind::Auth);
    (policies, status)
}

#[tokio::test]
async fn each_limit_stops_a_call_and_says_so() {
    let huge = "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 72) (i32.const 0))
        (i32.store (i32.const 76) (i32.const 0)) (i32.store (i32.const 80) (i32.const 60000)) (i32.const 64)";
    type Case = (&'static str, fn(&mut Limits), TrapCause);
    let cases: [Case; 5] = [
        (LOOP, |limits| limits.fuel = 1_000_000, TrapCause::Fuel),
        (
            LOOP,
            |limits| {
                limits.fuel = u64::MAX / 16;
                limits.deadline = Duration::from_millis(30);
            },
            TrapCause::Deadline,
        ),
        (HOARD, |limits| limits.memory = 1 << 20, TrapCause::Memory),
        (RECURSE, |_| (), TrapCause::Stack),
        (huge, |limits| limits.answer_bytes = 4096, TrapCause::AnswerSize),
    ];
    for (body, limits, cause) in cases {
        let (_policies, status) = asked(body, limits).await;
        let failure = status.last_failure.expect("it failed");
        assert_eq!((failure.cause, failure.generation), (Fault::Trap(cause), 1), "{failure:?}");
        assert_eq!(status.figures.traps_by_cause.of(cause), 1, "{cause:?}: {:?}", status.figures);
        let present = &status.generations[0];
        assert_eq!((present.figures.traps, present.figures.calls), (1, 1), "{cause:?}");
        assert_eq!(present.last_failure.as_ref(), Some(&failure));
    }
}

#[tokio::test]
async fn what_a_policy_says_of_itself_may_be_longer_than_its_answers() {
    let mut house = House::new();
    house.config.auth.limits.answer_bytes = 64;
    let schema = format!("{{\"type\": \"object\"{}}}", " ".repeat(60_000));
    house.put(PolicyKind::Auth, &auth("wordy").schema(&schema).build());
    let policies = house.start().await;
    policies.authorize(login("alice")).await.expect("a short answer");
    assert_eq!(status(&policies, PolicyKind::Auth).budgets.answer_bytes.limit, 64);
}

#[tokio::test]
async fn what_was_used_stands_beside_the_limit() {
    let mut house = House::new();
    house.config.auth.limits.answer_bytes = 4096;
    let policies = house.start().await;
    policies.authorize(login("alice")).await.expect("welcome");
    let budgets = status(&policies, PolicyKind::Auth).budgets;
    assert_eq!(budgets.fuel.limit, house.config.auth.limits.fuel);
    assert!((1..10_000).contains(&budgets.fuel.used), "{budgets}");
    assert_eq!(budgets.memory_bytes.limit, 8 << 20);
    assert_eq!(budgets.memory_bytes.used % 65_536, 0);
    assert!(budgets.memory_bytes.used > 0, "{budgets}");
    // Account and worker: "first", "rig".
    assert_eq!((budgets.answer_bytes.used, budgets.answer_bytes.limit), (8, 4096));
    policies.settle(round(&[("alice", 1), ("bob", 2)])).await.expect("an answer");
    let budgets = status(&policies, PolicyKind::Payout).budgets;
    // Two entitlements and their names.
    assert!((8 + 2 * 16..200).contains(&budgets.answer_bytes.used), "{budgets}");
}

#[tokio::test]
async fn every_generation_has_counts_of_its_own_and_the_sum_has_all() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    assert!(policies.open(opening()).await.is_some());
    for index in 2..=ENDED_KEPT + 3 {
        let name = format!("next-{index}");
        house.put(PolicyKind::Vardiff, &Guest::new(PolicyKind::Vardiff, &name).build());
        assert_eq!(applied(&mut events).await, name);
        assert!(policies.open(opening()).await.is_some());
    }
    let status = status(&policies, PolicyKind::Vardiff);
    let newest = u64::try_from(ENDED_KEPT + 3).unwrap();
    let numbers: Vec<u64> = status.generations.iter().map(|one| one.generation).collect();
    assert_eq!(numbers, (3..=newest).rev().collect::<Vec<u64>>());
    for one in &status.generations {
        assert_eq!((one.figures.calls, one.name.as_str()), (1, &*format!("next-{}", one.generation)));
    }
    let ended = status.generations.iter().filter(|one| one.until.is_some()).count();
    assert_eq!((ended, status.generations[0].until), (ENDED_KEPT, None));
    assert_eq!((status.figures.calls, status.slot.reloads), (newest, newest - 1));
}

#[tokio::test]
async fn a_password_does_not_reach_what_is_told_of_a_failure() {
    let mut house = House::new();
    house.config.auth.limits.fuel = 1_000_000;
    house.put(PolicyKind::Auth, &auth("blab").body("authorize", BLAB).build());
    let policies = house.start().await;
    let with = |password: &str| Login { password: Some(password.to_owned()), ..login("alice") };
    let mut events = policies.events();
    assert!(policies.authorize(with("correct horse")).await.is_err());
    let failure = status(&policies, PolicyKind::Auth).last_failure.expect("it failed");
    assert_eq!(failure.said.as_deref(), Some("***"), "{failure:?}");
    let why = event(&mut events, |event| match event {
        PolicyEvent::Trapped { why, .. } => Some(why.clone()),
        _ => None,
    })
    .await;
    assert!(why.ends_with("it last said: ***"), "{why}");
    // What another login said is not its word.
    let silent = auth("silent").body("authorize", TRAP);
    house.put(PolicyKind::Auth, &silent.build());
    assert_eq!(applied(&mut events).await, "silent");
    assert!(policies.authorize(with("correct horse")).await.is_err());
    assert_eq!(status(&policies, PolicyKind::Auth).last_failure.and_then(|failure| failure.said), None);
}

/// The same with the first channel that it is told of.
const BLAB_OF_CHANNEL: &str = "(call $log (i32.const 1) (i32.load offset=56 (local.get 0))
    (i32.load offset=60 (local.get 0))) (unreachable)";

fn channel_with(password: &str) -> Arc<ChannelFacts> {
    let facts = (*opening().channel).clone();
    Arc::new(ChannelFacts { password: Some(password.to_owned()), ..facts })
}

#[tokio::test]
async fn passwords_of_channels_are_nobodys_business_either() {
    let mut house = House::new();
    let blab = |name| {
        let guest = Guest::new(PolicyKind::Vardiff, name).body("open", BLAB_OF_CHANNEL);
        guest.body("review-all", BLAB_OF_CHANNEL).build()
    };
    house.config.vardiff.shadow =
        Some(ShadowConfig { file: "shadow.wasm".to_owned(), settings: Default::default() });
    std::fs::write(house.config.dir.join("shadow.wasm"), blab("shadow")).unwrap();
    let policies = house.start().await;
    let mut events = policies.events();
    let shadow = async |is: fn(&ShadowStatus) -> bool| {
        let seen = async {
            loop {
                let shadow = status(&policies, PolicyKind::Vardiff).shadow.expect("it is configured");
                if is(&shadow) {
                    return shadow;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.expect("it comes")
    };
    shadow(|shadow| shadow.state == ShadowState::Comparing).await;
    let opening = Opening { channel: channel_with("correct horse"), ..opening() };
    assert!(policies.open(opening.clone()).await.is_some());
    let told = shadow(|shadow| shadow.last_failure.is_some()).await;
    assert!(told.last_failure.is_some_and(|told| told.ends_with("it last said: ***")));
    let failure = told.generations[0].last_failure.clone().expect("it failed");
    assert_eq!(failure.said.as_deref(), Some("***"), "{failure:?}");
    // As a candidate that is tried on what was asked lately, and as what serves.
    house.put(PolicyKind::Vardiff, &blab("refused"));
    let why = rejected(&mut events).await;
    assert!(why.contains("it last said: ***"), "{why}");
    drop(policies);
    house.put(PolicyKind::Vardiff, &blab("live"));
    let policies = house.start().await;
    let review = Review { channel: channel_with("battery staple"), ..review(Memo::default()) };
    assert!(policies.review(review).await.is_none());
    let failure = status(&policies, PolicyKind::Vardiff).last_failure.expect("it fails");
    assert_eq!(failure.said.as_deref(), Some("***"), "{failure:?}");
    assert!(policies.open(opening).await.is_none());
    let failure = status(&policies, PolicyKind::Vardiff).last_failure.expect("it fails");
    assert_eq!(failure.said.as_deref(), Some("***"), "{failure:?}");
}

#[tokio::test]
async fn a_generation_may_write_so_many_lines_a_second() {
    let mut house = House::new();
    let line = "(call $log (i32.const 1) (i32.const 4096) (i32.const 5))";
    house.config.auth.limits.log_lines = 2;
    house.config.auth.limits.log_lines_per_second = 0;
    house.put(PolicyKind::Auth, &auth("chatty").body_before("authorize", &line.repeat(3)).build());
    let policies = house.start().await;
    for _ in 0..5 {
        policies.authorize(login("alice")).await.expect("words cost it nothing");
    }
    let figures = status(&policies, PolicyKind::Auth).figures;
    assert_eq!((figures.log_lines, figures.log_dropped), (0, 15));
}
