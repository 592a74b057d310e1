//! Promotion, going back and pins, and what is left of them after a restart.

use sluice_core::policy::PolicyKind;
use sluice_policy::{
    Action, By, Command, Compiler, Done, Entry, Order, OrderError, Policies, PolicyEvent, ReloadOutcome,
    ShadowState,
};

use crate::answers::TRAP_CONDITION;
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
    let kept = house.config.cache_dir.join("recent").join(format!("{}.wasm", hash(&policies)));
    policies.shutdown();
    std::fs::remove_file(kept).unwrap();
    house.put(AUTH, &auth("second").build());
    let error = Policies::start(house.config.clone()).await.err().expect("it does not start").to_string();
    assert!(error.contains("state.json"), "{error}");
}

/// Content hashes of the changes that were noticed, newest first.
fn noticed(policies: &Policies) -> Vec<String> {
    status(policies, AUTH).history.into_iter().filter_map(|change| change.hash).collect()
}

fn content_hash(bytes: &[u8]) -> String {
    use bitcoin::hashes::{Hash, sha256};
    sha256::Hash::hash(bytes).to_string()
}

async fn promoted(house: &House) -> Policies {
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    order(&policies, Order::Promote).await.unwrap();
    policies
}

#[tokio::test]
async fn a_promotion_is_not_undone_by_a_new_time_stamp() {
    let house = with_shadow(AUTH, auth("second"));
    let policies = promoted(&house).await;
    let mut events = policies.events();
    house.put(AUTH, &auth("first").build());
    event(&mut events, |event| matches!(event, PolicyEvent::Unchanged { .. }).then_some(())).await;
    assert_eq!(answering(&policies).await, "second");
}

#[tokio::test]
async fn a_change_that_is_not_noticed_yet_does_not_undo_the_order_that_came_after_it() {
    let house = with_shadow(AUTH, auth("second"));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    let third = auth("third").build();
    house.put(AUTH, &third);
    order(&policies, Order::Promote).await.unwrap();
    until(|| noticed(&policies).contains(&content_hash(&third)).then_some(())).await;
    assert_eq!(answering(&policies).await, "second");
}

#[tokio::test]
async fn a_version_of_the_shadow_that_was_never_compared_is_not_promoted_unseen() {
    let house = with_shadow(AUTH, auth("second"));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    let third = auth("third").build();
    put_shadow(&house, &third);
    match order(&policies, Order::Promote).await {
        Err(refused) => assert_eq!(refused, OrderError::NotCompared(content_hash(&third))),
        // It was quick.
        Ok(done) => assert_eq!(done.name, "third"),
    }
    until(|| (shadow(&policies, AUTH).name == "third").then_some(())).await;
}

#[tokio::test]
async fn changed_settings_go_before_a_promotion_whether_the_pool_runs_or_not() {
    let mut house = with_shadow(AUTH, auth("second"));
    let policies = promoted(&house).await;
    let changed = policies.reconfigure(AUTH, settings(r#"{"a":1}"#)).await;
    assert_eq!(changed, ReloadOutcome::Applied { generation: 3 });
    assert_eq!(answering(&policies).await, "first");
    house.config.auth.settings = settings(r#"{"a":1}"#);
    let policies = restarted(&house, policies).await;
    assert_eq!(answering(&policies).await, "first");
}

#[tokio::test]
async fn what_serves_with_settings_of_a_shadow_does_so_after_a_restart_too() {
    let house = {
        let picky =
            auth("picky").fails("configure", 0, "only {\"a\":1}", "(i32.eq (local.get 1) (i32.const 2))");
        let mut house = with_shadow(AUTH, picky);
        house.config.auth.shadow.as_mut().unwrap().settings = settings(r#"{"a":1}"#);
        house
    };
    let policies = promoted(&house).await;
    let mut events = policies.events();
    // The operator puts what was promoted in the place of the file, and forgets its settings.
    let bytes = std::fs::read(house.config.dir.join("shadow.wasm")).unwrap();
    house.put(AUTH, &bytes);
    event(&mut events, |event| matches!(event, PolicyEvent::Unchanged { .. }).then_some(())).await;
    // Orders wait for what goes before them.
    assert_eq!(order(&policies, Order::Unpin).await, Err(OrderError::NotPinned));
    let policies = restarted(&house, policies).await;
    assert_eq!(answering(&policies).await, "picky");
}

#[tokio::test]
async fn settings_that_are_as_they_were_when_it_was_pinned_are_not_held() {
    let house = House::new();
    let policies = house.start().await;
    order(&policies, Order::Pin).await.unwrap();
    let refused = policies.reconfigure(AUTH, settings(r#"{"a":1}"#)).await;
    assert!(matches!(refused, ReloadOutcome::Rejected { .. }), "{refused:?}");
    assert!(status(&policies, AUTH).held.is_some());
    assert_eq!(policies.reconfigure(AUTH, settings("{}")).await, ReloadOutcome::Unchanged);
    assert_eq!((status(&policies, AUTH).held, status(&policies, AUTH).pinned), (None, true));
}

#[tokio::test]
async fn what_a_full_disk_did_not_keep_is_kept_with_the_next_order() {
    let house = House::new();
    let policies = house.start().await;
    // Where the file is written before it is renamed.
    let aside = house.config.cache_dir.join("state.new");
    std::fs::create_dir(&aside).unwrap();
    let done = order(&policies, Order::Pin).await;
    assert!(matches!(done, Err(OrderError::NotKept { .. })), "{done:?}");
    assert_eq!((status(&policies, AUTH).pinned, actions(&policies)[0].0), (true, Action::Pinned));
    std::fs::remove_dir(&aside).unwrap();
    assert_eq!(order(&policies, Order::Pin).await, Err(OrderError::Pinned));
    let policies = restarted(&house, policies).await;
    assert!(status(&policies, AUTH).pinned);
}

#[tokio::test]
async fn a_full_disk_does_not_keep_what_was_held_from_coming_in() {
    let house = House::new();
    let policies = house.start().await;
    order(&policies, Order::Pin).await.unwrap();
    let mut events = policies.events();
    house.put(AUTH, &auth("second").build());
    event(&mut events, |event| matches!(event, PolicyEvent::Held { .. }).then_some(())).await;
    std::fs::create_dir(house.config.cache_dir.join("state.new")).unwrap();
    let done = order(&policies, Order::Unpin).await;
    assert!(matches!(done, Err(OrderError::NotKept { .. })), "{done:?}");
    assert_eq!(answering(&policies).await, "second");
}

#[tokio::test]
async fn what_served_before_a_promotion_is_warm_after_a_restart_and_comes_back() {
    let house = with_shadow(AUTH, auth("second").fails("authorize", 0, "", TRAP_CONDITION));
    let policies = promoted(&house).await;
    let policies = restarted(&house, policies).await;
    let mut events = policies.events();
    assert_eq!(answering(&policies).await, "second");
    let back = async {
        event(&mut events, |event| matches!(event, PolicyEvent::RolledBack { .. }).then_some(())).await;
    };
    let poison = async {
        loop {
            // Refused, and asked again after each pause.
            let _ = policies.authorize(login("!boom")).await;
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! { () = back => {}, () = poison => {} }
    assert_eq!(answering(&policies).await, "first");
    let entry =
        until(|| policies.history(AUTH, 1).pop().filter(|entry| entry.action == Action::RolledBack)).await;
    assert_eq!((&*entry.who, entry.to), ("recovery", hash(&policies)));
    // What was taken back is not kept warm in its turn.
    let policies = restarted(&house, policies).await;
    assert_eq!(answering(&policies).await, "first");
}

#[tokio::test]
async fn an_order_does_not_wait_until_a_shadow_is_compiled() {
    let mut house = with_shadow(AUTH, auth("second"));
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    policies.shutdown();
    // What was compiled is found; anything else takes until this process ends.
    let args = ["-c", "exec cat"].map(Into::into).to_vec();
    house.config.compiler = Compiler::Child { program: "/bin/sh".into(), args };
    let policies = house.start().await;
    comparing(&policies, AUTH).await;
    put_shadow(&house, &auth("third").build());
    until(|| (shadow(&policies, AUTH).state == ShadowState::Loading).then_some(())).await;
    let pinned = tokio::time::timeout(std::time::Duration::from_secs(60), order(&policies, Order::Pin));
    assert!(pinned.await.expect("it does not wait").unwrap().pinned);
}

#[tokio::test]
async fn a_beginning_that_two_hashes_share_is_refused() {
    let house = House::new();
    let policies = house.start().await;
    let serving = hash(&policies);
    let mut other = serving.clone();
    other.replace_range(63.., if serving.ends_with('0') { "1" } else { "0" });
    let kept = house.config.cache_dir.join("recent").join(format!("{other}.wasm"));
    std::fs::write(&kept, b"another").unwrap();
    let back = |to: &str| order(&policies, Order::RollBack { to: Some(to.to_owned()) });
    let refused = back(&serving[..12]).await.unwrap_err();
    assert!(refused.to_string().contains("more digits"), "{refused}");
    assert_eq!(back(&serving).await, Err(OrderError::Serving));
    // What lies there is not what its name says.
    assert!(back(&other).await.unwrap_err().to_string().contains("something else"));
    assert_eq!(answering(&policies).await, "first");
}

#[tokio::test]
async fn what_is_held_stays_held_when_recovery_takes_back_what_is_pinned() {
    let house = with_shadow(AUTH, auth("second").fails("authorize", 0, "", TRAP_CONDITION));
    let policies = promoted(&house).await;
    order(&policies, Order::Pin).await.unwrap();
    let mut events = policies.events();
    house.put(AUTH, &auth("third").build());
    let held = event(&mut events, |event| match event {
        PolicyEvent::Held { hash, .. } => Some(hash.clone()),
        _ => None,
    })
    .await;
    while policies.authorize(login("!boom")).await.is_err() {}
    event(&mut events, |event| matches!(event, PolicyEvent::RolledBack { .. }).then_some(())).await;
    until(|| (actions(&policies)[0].0 == Action::RolledBack).then_some(())).await;
    let state = status(&policies, AUTH);
    assert_eq!(
        (answering(&policies).await, state.pinned, state.held),
        ("first".to_owned(), true, Some(held))
    );
    assert_eq!(order(&policies, Order::Unpin).await.unwrap().name, "third");
}

#[tokio::test]
async fn unpinning_lets_in_a_file_that_is_touched_meanwhile() {
    let house = House::new();
    let policies = house.start().await;
    order(&policies, Order::Pin).await.unwrap();
    let mut events = policies.events();
    let second = auth("second").build();
    house.put(AUTH, &second);
    event(&mut events, |event| matches!(event, PolicyEvent::Held { .. }).then_some(())).await;
    let touched = async {
        for _ in 0..20 {
            house.put(AUTH, &second);
            tokio::time::sleep(house.config.debounce / 5).await;
        }
    };
    let (done, ()) = tokio::join!(order(&policies, Order::Unpin), touched);
    assert_eq!(done.unwrap().name, "second");
    assert_eq!(answering(&policies).await, "second");
}
