//! Shadows: what they are asked, what is counted, and that nobody is served by one.

use std::time::{Duration, Instant};

use sluice_core::policy::PolicyKind;
use sluice_core::policy::vardiff::{ChannelFacts, Memo};
use sluice_policy::{Policies, ShadowConfig, ShadowState, ShadowStatus};

use crate::guest::{Guest, TRAP};
use crate::house::{House, applied, login, opening, review, round, settings, status};

/// Waits for what no event tells of.
pub(crate) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it never comes to that");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn shadow(policies: &Policies, kind: PolicyKind) -> ShadowStatus {
    status(policies, kind).shadow.expect("there is one")
}

pub(crate) fn put_shadow(house: &House, bytes: &[u8]) {
    let aside = house.root.path().join("aside-shadow");
    std::fs::write(&aside, bytes).unwrap();
    std::fs::rename(&aside, house.config.dir.join("shadow.wasm")).unwrap();
}

/// A house where `guest` is to be the shadow of its kind.
pub(crate) fn with_shadow(kind: PolicyKind, guest: Guest) -> House {
    let mut house = House::new();
    put_shadow(&house, &guest.build());
    let config = Some(ShadowConfig { file: "shadow.wasm".to_owned(), settings: settings("{}") });
    match kind {
        PolicyKind::Auth => house.config.auth.shadow = config,
        PolicyKind::Vardiff => house.config.vardiff.shadow = config,
        PolicyKind::Payout => house.config.payout.shadow = config,
    }
    house
}

pub(crate) async fn comparing(policies: &Policies, kind: PolicyKind) {
    until(|| (shadow(policies, kind).state == ShadowState::Comparing).then_some(())).await;
}

#[tokio::test]
async fn differences_are_counted_and_shown_without_passwords() {
    let other = Guest::new(PolicyKind::Auth, "hunter2");
    let house = with_shadow(PolicyKind::Auth, other);
    let policies = house.start().await;
    comparing(&policies, PolicyKind::Auth).await;
    let mut secret = login("alice");
    secret.password = Some("hunter2".to_owned());
    for _ in 0..20 {
        assert_eq!(policies.authorize(secret.clone()).await.unwrap().account.as_str(), "first");
    }
    let seen = until(|| Some(shadow(&policies, PolicyKind::Auth)).filter(|seen| seen.compared == 20)).await;
    assert_eq!((seen.agreed, seen.differed, seen.failed, seen.dropped), (0, 20, 0, 0));
    assert_eq!((seen.examples.len(), seen.against, seen.figures.calls), (16, 1, 20));
    let example = &seen.examples[0];
    assert!(example.input.contains("alice"), "{example:?}");
    assert!(example.live.contains("first") && example.shadow.contains("***"), "{example:?}");
    assert!(seen.examples.iter().all(|example| !format!("{example:?}").contains("hunter2")));
}

#[tokio::test]
async fn decisions_within_the_tolerance_agree() {
    for (difficulty, agree) in [(1020.0, true), (1100.0, false)] {
        let other = Guest::new(PolicyKind::Vardiff, "other").decides(difficulty);
        let house = with_shadow(PolicyKind::Vardiff, other);
        let policies = house.start().await;
        comparing(&policies, PolicyKind::Vardiff).await;
        policies.open(opening()).await.unwrap();
        policies.review(review(Memo::default())).await.unwrap();
        let seen =
            until(|| Some(shadow(&policies, PolicyKind::Vardiff)).filter(|seen| seen.compared == 2)).await;
        assert_eq!((seen.agreed, seen.differed), if agree { (2, 0) } else { (0, 2) }, "{seen:?}");
    }
}

#[tokio::test]
async fn a_division_is_compared_to_the_satoshi() {
    let same = || Guest::new(PolicyKind::Payout, "same");
    let greedy = || same().settles("bob", 0, 1, "all of it");
    for (guest, agree) in [(same(), true), (greedy(), false)] {
        let house = with_shadow(PolicyKind::Payout, guest);
        let policies = house.start().await;
        comparing(&policies, PolicyKind::Payout).await;
        policies.settle(round(&[("alice", 3), ("bob", 1)])).await.unwrap();
        let seen =
            until(|| Some(shadow(&policies, PolicyKind::Payout)).filter(|seen| seen.compared == 1)).await;
        assert_eq!(seen.agreed == 1, agree, "{seen:?}");
        if !agree {
            let example = &seen.examples[0];
            assert_eq!(example.live, "alice 3750000926 sat, bob 1250000308 sat");
            assert_eq!(example.shadow, "alice 0 sat, bob 5000001234 sat");
        }
    }
}

#[tokio::test]
async fn a_shadow_that_traps_is_its_own_affair() {
    let house = with_shadow(PolicyKind::Auth, Guest::new(PolicyKind::Auth, "trap").body("authorize", TRAP));
    let policies = house.start().await;
    comparing(&policies, PolicyKind::Auth).await;
    for _ in 0..10 {
        policies.authorize(login("alice")).await.unwrap();
    }
    let seen =
        until(|| Some(shadow(&policies, PolicyKind::Auth)).filter(|seen| seen.failed + seen.skipped == 10))
            .await;
    assert!(seen.failed >= 4 && seen.figures.traps == seen.failed, "{seen:?}");
    assert_eq!(seen.state, ShadowState::BackingOff);
    assert!(seen.last_failure.is_some());
    let live = status(&policies, PolicyKind::Auth);
    assert_eq!((live.figures.traps, live.generation), (0, 1));
}

#[tokio::test]
async fn nothing_waits_for_a_slow_shadow() {
    let slow = Guest::new(PolicyKind::Auth, "slow").body_before(
        "authorize",
        "(global.set $calls (i32.const 500000))
         (loop $more (global.set $calls (i32.sub (global.get $calls) (i32.const 1)))
           (br_if $more (global.get $calls)))",
    );
    let house = with_shadow(PolicyKind::Auth, slow);
    let policies = house.start().await;
    comparing(&policies, PolicyKind::Auth).await;
    let began = Instant::now();
    while shadow(&policies, PolicyKind::Auth).dropped == 0 {
        for _ in 0..100 {
            policies.authorize(login("alice")).await.unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(60), "its queue never fills");
    }
    let asked = status(&policies, PolicyKind::Auth).figures.items;
    let seen = shadow(&policies, PolicyKind::Auth);
    assert!(seen.compared < asked, "{seen:?} of {asked}");
    // Counts are of a pair: what was dropped beside another generation is not of this one.
    let (mut events, before) = (policies.events(), seen.dropped);
    while shadow(&policies, PolicyKind::Auth).dropped < before + 100 {
        policies.authorize(login("alice")).await.unwrap();
    }
    house.put(PolicyKind::Auth, &Guest::new(PolicyKind::Auth, "next").build());
    applied(&mut events).await;
    policies.authorize(login("alice")).await.unwrap();
    assert!(shadow(&policies, PolicyKind::Auth).dropped <= 1);
}

#[tokio::test]
async fn passwords_of_channels_stay_out_of_what_a_failing_shadow_says() {
    let chatty =
        Guest::new(PolicyKind::Vardiff, "chatty").fails("review-all", 2, "what is hunter2", "(i32.const 1)");
    let house = with_shadow(PolicyKind::Vardiff, chatty);
    let policies = house.start().await;
    comparing(&policies, PolicyKind::Vardiff).await;
    let mut question = review(Memo::default());
    let facts = ChannelFacts { password: Some("hunter2".to_owned()), ..(*question.channel).clone() };
    question.channel = facts.into();
    policies.review(question).await.unwrap();
    let said = until(|| shadow(&policies, PolicyKind::Vardiff).last_failure).await;
    assert!(said.contains("what is ***"), "{said}");
}

#[tokio::test]
async fn a_shadow_that_does_not_load_says_why_and_a_mended_one_is_taken() {
    let house = with_shadow(PolicyKind::Auth, Guest::new(PolicyKind::Vardiff, "wrong"));
    let policies = house.start().await;
    let why = until(|| shadow(&policies, PolicyKind::Auth).error).await;
    assert!(why.contains("kind vardiff"), "{why}");
    assert_eq!(shadow(&policies, PolicyKind::Auth).state, ShadowState::Refused);
    assert_eq!(policies.authorize(login("alice")).await.unwrap().account.as_str(), "first");
    put_shadow(&house, &Guest::new(PolicyKind::Auth, "mended").build());
    comparing(&policies, PolicyKind::Auth).await;
    let seen = shadow(&policies, PolicyKind::Auth);
    assert_eq!((seen.name.as_str(), seen.error), ("mended", None));
    // What serves is nothing to be compared with.
    put_shadow(&house, &Guest::new(PolicyKind::Auth, "first").build());
    until(|| (shadow(&policies, PolicyKind::Auth).state == ShadowState::Serving).then_some(())).await;
}
