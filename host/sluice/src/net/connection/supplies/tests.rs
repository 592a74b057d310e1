use std::time::Duration;

use super::*;
use crate::net::connection::tests::{SOON, board, name, plan, publish};

async fn news(supplies: &mut Supplies) -> News {
    tokio::time::timeout(SOON, supplies.news()).await.expect("news in time")
}

/// Whose work comes next.
async fn owner(supplies: &mut Supplies) -> Option<String> {
    match news(supplies).await {
        News::Work(published) => published.job.owner.as_ref().map(|owner| owner.as_str().to_owned()),
        News::NewPlan => panic!("the plan is the same"),
    }
}

async fn is_quiet(supplies: &mut Supplies) -> bool {
    tokio::time::timeout(Duration::from_millis(20), supplies.news()).await.is_err()
}

#[tokio::test]
async fn a_shared_coinbase_is_heard_of_once_however_many_accounts_there_are() {
    let board = board(false);
    let mut supplies = Supplies::default();
    assert!(supplies.begin((&board, Class::DEFAULT), name("alice")).await.is_none(), "no job was made yet");
    publish(&board, None);
    assert_eq!(owner(&mut supplies).await, None);
    for account in ["alice", "bob", "carol"] {
        assert!(
            supplies.begin((&board, Class::DEFAULT), name(account)).await.is_some(),
            "what is there is for {account} too"
        );
    }
    publish(&board, None);
    assert_eq!(owner(&mut supplies).await, None);
    assert!(is_quiet(&mut supplies).await);
    supplies.end(&name("alice"));
    supplies.end(&name("carol"));
    publish(&board, None);
    assert_eq!(owner(&mut supplies).await, None, "bob still works");
    supplies.end(&name("bob"));
    assert!(supplies.is_nothing());
}

#[tokio::test]
async fn an_account_with_a_coinbase_of_its_own_has_a_line_of_its_own() {
    // M-102
    let board = board(true);
    let mut supplies = Supplies::default();
    for account in ["alice", "bob", "carol"] {
        supplies.begin((&board, Class::DEFAULT), name(account)).await;
    }
    for account in ["bob", "alice", "bob", "carol"] {
        publish(&board, Some(account));
        assert_eq!(owner(&mut supplies).await.as_deref(), Some(account));
    }
    let present = supplies.begin((&board, Class::DEFAULT), name("bob")).await.unwrap();
    assert_eq!(present.job.owner, Some(name("bob")));
    supplies.end(&name("bob"));
    publish(&board, Some("bob"));
    assert!(is_quiet(&mut supplies).await, "nobody works for bob");
    supplies.begin((&board, Class::DEFAULT), name("bob")).await;
    publish(&board, Some("bob"));
    assert_eq!(owner(&mut supplies).await.as_deref(), Some("bob"));
    assert!(is_quiet(&mut supplies).await, "once");
}

#[tokio::test]
async fn another_plan_renews_every_line() {
    let board = board(true);
    let mut supplies = Supplies::default();
    for account in ["alice", "bob"] {
        supplies.begin((&board, Class::DEFAULT), name(account)).await;
    }
    board.set_plan(plan(false));
    assert!(matches!(news(&mut supplies).await, News::NewPlan));
    publish(&board, None);
    assert_eq!(supplies.renew((&board, Class::DEFAULT)).await.len(), 1, "one line, offered once");
    assert!(is_quiet(&mut supplies).await);
    board.set_plan(plan(true));
    assert!(matches!(news(&mut supplies).await, News::NewPlan));
    assert!(supplies.renew((&board, Class::DEFAULT)).await.is_empty(), "nothing was made for either yet");
    for account in ["alice", "bob"] {
        publish(&board, Some(account));
        assert_eq!(owner(&mut supplies).await.as_deref(), Some(account));
    }
}

#[tokio::test]
async fn one_account_alone_is_renewed_too() {
    let board = board(false);
    publish(&board, None);
    let mut supplies = Supplies::default();
    supplies.begin((&board, Class::DEFAULT), name("alice")).await;
    board.set_plan(plan(true));
    assert!(matches!(news(&mut supplies).await, News::NewPlan));
    assert!(supplies.renew((&board, Class::DEFAULT)).await.is_empty());
    publish(&board, Some("alice"));
    assert_eq!(owner(&mut supplies).await.as_deref(), Some("alice"));
}
