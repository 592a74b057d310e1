//! Promotion, going back and pins, and what is left of them after a restart.

use sluice_core::policy::PolicyKind;
use sluice_policy::{
    Action, By, Command, Done, Entry, Order, OrderError, Policies, PolicyEvent, ReloadOutcome,
};

use crate::guest::{Guest, TRAP};
use crate::house::{House, applied, event, login, settings, status};
use crate::shadow::{comparing, put_shadow, shadow, until, with_shadow};

const AUTH: PolicyKind = PolicyKind::Auth;

async fn order(policies: &Policies, order: Order) -> Result<Done, OrderError> {
    policies.order(AUTH, Command { order, by: By::Uid(1000), why: "a test".to_owned() }).await
}

async fn answering(policies: &Policies) -> String {
    policies.authorize(login("alice")).await.expect("it answers").account.to_string()
}

fn auth(name: &str) -> Guest {
    Guest::new(AUTH, name)
}

fn hash(policies: &Policies) -> String {
    status(policies, AUTH).hash
}

async fn restarted(house: &House, policies: Policies) -> Policies {
    policies.shutdown();
    drop(policies);
    house.start().await
}

fn actions(policies: &Policies) -> Vec<(Action, String)> {
    let tell = |entry: Entry| (entry.action, entry.who);
    policies.history(AUTH, 10).into_iter().map(tell).collect()
}

#[tokio::test]
async fn a_promoted_shadow_serves_after_a_restart_until_the_file_changes() {
    let house = with_shadow(AUTH, auth("second"));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    let first = hash(&policies);
    let done = order(&policies, Order::Promote).await.unwrap();
    assert_eq!((done.name.as_str(), done.generation, done.pinned), ("second", 2, false));
    assert_eq!(answering(&policies).await, "second");
    assert_eq!(order(&policies, Order::Promote).await, Err(OrderError::Serving));
    let last = policies.history(AUTH, 1).pop().unwrap();
    assert_eq!((last.action, &*last.who, &*last.why), (Action::Promoted, "uid 1000", "a test"));
    assert_eq!((last.from, last.to), (Some(first), done.hash.clone()));
    let policies = restarted(&house, policies).await;
    assert_eq!((answering(&policies).await, hash(&policies)), ("second".to_owned(), done.hash));
    assert_eq!(actions(&policies).len(), 2, "{:?}", actions(&policies));
    let mut events = policies.events();
    house.put(AUTH, &auth("third").build());
    assert_eq!(applied(&mut events).await, "third");
    let policies = restarted(&house, policies).await;
    assert_eq!(answering(&policies).await, "third");
}

#[tokio::test]
async fn a_file_that_changed_while_the_pool_was_stopped_goes_before_a_promotion() {
    let house = with_shadow(AUTH, auth("second"));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    order(&policies, Order::Promote).await.unwrap();
    policies.shutdown();
    house.put(AUTH, &auth("third").build());
    let policies = house.start().await;
    assert_eq!(answering(&policies).await, "third");
    assert_eq!(actions(&policies)[0], (Action::Started, "file".to_owned()));
}

#[tokio::test]
async fn a_promoted_shadow_that_keeps_trapping_is_taken_back_by_itself_and_for_good() {
    let house = with_shadow(AUTH, auth("second").body("authorize", TRAP));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    let mut events = policies.events();
    order(&policies, Order::Promote).await.unwrap();
    while policies.authorize(login("alice")).await.is_err() {}
    event(&mut events, |event| matches!(event, PolicyEvent::RolledBack { .. }).then_some(())).await;
    assert_eq!(answering(&policies).await, "first");
    let entry =
        until(|| policies.history(AUTH, 1).pop().filter(|entry| entry.action == Action::RolledBack)).await;
    assert_eq!((&*entry.who, entry.to), ("recovery", hash(&policies)));
    let policies = restarted(&house, policies).await;
    assert_eq!(answering(&policies).await, "first");
}

#[tokio::test]
async fn a_bad_shadow_is_not_promoted() {
    let house = with_shadow(AUTH, auth("second").body("authorize", TRAP));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    answering(&policies).await;
    let refused = order(&policies, Order::Promote).await;
    assert!(matches!(refused, Err(OrderError::Load(_))), "{refused:?}");
    assert_eq!((answering(&policies).await, status(&policies, AUTH).generation), ("first".to_owned(), 1));
    let none = House::new();
    let policies = none.start().await;
    assert_eq!(order(&policies, Order::Promote).await, Err(OrderError::NoShadow(AUTH)));
}

#[tokio::test]
async fn any_generation_of_the_past_can_come_back_with_its_settings() {
    let mut house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    assert_eq!(order(&policies, Order::RollBack { to: None }).await, Err(OrderError::NothingBefore));
    let changed = policies.reconfigure(AUTH, settings(r#"{"a":1}"#)).await;
    assert_eq!(changed, ReloadOutcome::Applied { generation: 2 });
    assert_eq!(applied(&mut events).await, "first");
    let first = hash(&policies);
    for name in ["second", "third"] {
        house.put(AUTH, &auth(name).build());
        assert_eq!(applied(&mut events).await, name);
    }
    order(&policies, Order::RollBack { to: None }).await.unwrap();
    assert_eq!(answering(&policies).await, "second");
    let to = Some(first[..12].to_owned());
    let done = order(&policies, Order::RollBack { to }).await.unwrap();
    assert_eq!((done.hash, answering(&policies).await), (first, "first".to_owned()));
    // As the configuration says by now.
    house.config.auth.settings = settings(r#"{"a":1}"#);
    let policies = restarted(&house, policies).await;
    assert_eq!(answering(&policies).await, "first");
    for (to, wrong) in [("abc", "beginning"), ("0123456789", "begins with"), ("../../etc/x", "beginning")] {
        let refused = order(&policies, Order::RollBack { to: Some(to.to_owned()) }).await.unwrap_err();
        assert!(refused.to_string().contains(wrong), "{refused}");
    }
}

#[tokio::test]
async fn a_pin_holds_changes_over_a_restart_and_unpinning_lets_them_in() {
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    assert_eq!(order(&policies, Order::Unpin).await, Err(OrderError::NotPinned));
    assert!(order(&policies, Order::Pin).await.unwrap().pinned);
    assert_eq!(order(&policies, Order::Pin).await, Err(OrderError::Pinned));
    house.put(AUTH, &auth("second").build());
    let held = event(&mut events, |event| match event {
        PolicyEvent::Held { hash, .. } => Some(hash.clone()),
        _ => None,
    })
    .await;
    assert_eq!(answering(&policies).await, "first");
    assert_eq!(status(&policies, AUTH).held, Some(held.clone()));
    let refused = policies.reconfigure(AUTH, settings(r#"{"a":1}"#)).await;
    assert!(matches!(refused, ReloadOutcome::Rejected { ref why } if why.contains("unpin")), "{refused:?}");
    let policies = restarted(&house, policies).await;
    let state = status(&policies, AUTH);
    assert_eq!(
        (answering(&policies).await, state.pinned, state.held),
        ("first".to_owned(), true, Some(held))
    );
    let done = order(&policies, Order::Unpin).await.unwrap();
    assert_eq!((done.name.as_str(), done.pinned), ("second", false));
    assert_eq!(answering(&policies).await, "second");
}

#[tokio::test]
async fn a_pin_moves_along_with_an_order() {
    let house = with_shadow(AUTH, auth("second"));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    order(&policies, Order::Pin).await.unwrap();
    assert!(order(&policies, Order::Promote).await.unwrap().pinned);
    let policies = restarted(&house, policies).await;
    assert_eq!((answering(&policies).await, status(&policies, AUTH).pinned), ("second".to_owned(), true));
    // Nothing changed meanwhile: it goes on as it is.
    assert_eq!(order(&policies, Order::Unpin).await.unwrap().name, "second");
    put_shadow(&house, &auth("third").build());
    until(|| (shadow(&policies, AUTH).name == "third").then_some(())).await;
    assert_eq!(answering(&policies).await, "second");
}

#[tokio::test]
async fn a_chosen_generation_that_is_gone_keeps_the_pool_from_starting_and_says_the_way_out() {
    let house = House::new();
    let policies = house.start().await;
    order(&policies, Order::Pin).await.unwrap();
    let kept = house.config.cache_dir.join("wasm").join(format!("{}.wasm", hash(&policies)));
    policies.shutdown();
    std::fs::remove_file(kept).unwrap();
    house.put(AUTH, &auth("second").build());
    let error = Policies::start(house.config.clone()).await.err().expect("it does not start").to_string();
    assert!(error.contains("state.json"), "{error}");
}
