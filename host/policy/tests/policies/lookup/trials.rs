//! Shadows and candidates of auth policies that look things up: they are told what was found, and ask nobody.

use sluice_core::policy::PolicyKind;
use sluice_policy::ShadowConfig;

use super::{Pool, TEAMS, USERS, account, asks, asks_then};
use crate::guest::TRAP;
use crate::house::{House, applied, rejected, settings};
use crate::shadow::{comparing, put_shadow, shadow, until};

#[tokio::test]
async fn a_shadow_is_told_what_the_live_policy_was_told() {
    let with_shadow = |house: &mut House| {
        put_shadow(house, &asks("shadow", &[USERS]).build());
        let file = "shadow.wasm".to_owned();
        house.config.auth.shadow = Some(ShadowConfig { file, settings: settings("{}") });
    };
    let mut pool = Pool::with(asks("live", &[USERS, TEAMS]), with_shadow).await;
    comparing(&pool.policies, PolicyKind::Auth).await;
    for name in ["alice", "bob"] {
        let login = pool.login(name);
        pool.next().await.say(200, name);
        pool.next().await.say(200, if name == "alice" { "alice" } else { "another" });
        account(login.await.unwrap());
    }
    let seen =
        until(|| Some(shadow(&pool.policies, PolicyKind::Auth)).filter(|seen| seen.compared == 2)).await;
    assert_eq!((seen.agreed, seen.differed, seen.failed, seen.skipped), (1, 1, 0, 0));
    assert_eq!(pool.lookups().requests, 4, "the shadow asks nobody");
}

#[tokio::test]
async fn a_shadow_that_wants_to_know_more_is_passed_over() {
    let with_shadow = |house: &mut House| {
        put_shadow(house, &asks("shadow", &[USERS, TEAMS]).build());
        let file = "shadow.wasm".to_owned();
        house.config.auth.shadow = Some(ShadowConfig { file, settings: settings("{}") });
    };
    let mut pool = Pool::with(asks("live", &[USERS]), with_shadow).await;
    comparing(&pool.policies, PolicyKind::Auth).await;
    for index in 0..10 {
        let name = format!("miner{index}");
        account(pool.told(&name, 200, &name).await);
    }
    pool.told("bob", 404, "no").await.unwrap_err();
    let seen =
        until(|| Some(shadow(&pool.policies, PolicyKind::Auth)).filter(|seen| seen.compared == 1)).await;
    assert_eq!((seen.agreed, seen.differed, seen.failed, seen.skipped), (1, 0, 0, 10), "{seen:?}");
    assert_eq!((seen.figures.traps, seen.state), (0, sluice_policy::ShadowState::Comparing));
    assert_eq!(pool.lookups().requests, 11, "the shadow asks nobody");
}

#[tokio::test]
async fn a_candidate_is_tried_with_the_answers_of_recent_logins() {
    let mut pool = Pool::new(asks("first", &[USERS])).await;
    let mut events = pool.policies.events();
    for name in ["alice", "bob"] {
        account(pool.told(name, 200, name).await);
    }
    pool.house.put(PolicyKind::Auth, &asks_then("fragile", &[USERS], TRAP).build());
    let why = rejected(&mut events).await;
    assert!(why.contains("recent input"), "{why}");
    // Another question than was answered says nothing against it.
    pool.house.put(PolicyKind::Auth, &asks_then("curious", &[TEAMS], TRAP).build());
    assert_eq!(applied(&mut events).await, "curious");
    assert!(pool.sent.try_recv().is_err(), "a trial asks nobody");
}
