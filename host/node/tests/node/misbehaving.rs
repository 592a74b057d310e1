//! Nodes that answer garbage, hang, sync, restart with another cookie, or are on another chain.

use std::time::{Duration, Instant};

use sluice_core::bitcoin::{BlockHash, Network};
use sluice_node::{
    Auth, BlockStore, ChainHealth, Health, NodeAddress, NodeHandle, Outcome, Place, PlaceError, StartError,
    start,
};

use crate::support::fake::{FakeNode, Mode, config, tip_hash};
use crate::support::{PATIENCE, eventually, mine};

fn health(node: usize, wanted: impl Fn(&Health) -> bool) -> impl FnMut(&ChainHealth) -> bool {
    move |health| wanted(&health.nodes[node].health)
}

fn unreachable(text: &'static str) -> impl Fn(&Health) -> bool {
    move |health| matches!(health, Health::Unreachable { error, .. } if error.contains(text))
}

async fn tip(handle: &NodeHandle, number: u8) {
    let on_tip = |template: &std::sync::Arc<sluice_core::template::Template>| {
        template.previous.to_string() == tip_hash(number)
    };
    eventually(&mut handle.templates(), |template| template.as_ref().is_some_and(on_tip)).await;
}

#[tokio::test]
async fn a_new_tip_comes_by_long_poll() {
    let node = FakeNode::start();
    let mut slow = config(&[&node]);
    slow.polling.refresh = Duration::from_secs(3600);
    let handle = start(slow).await.unwrap();
    tip(&handle, 1).await;
    for number in 2..6 {
        node.until(|state| state.waiting == 1);
        node.set(|state| state.tip = (100 + u32::from(number), number));
        tip(&handle, number).await;
    }
    // A reorganisation: another tip at a lower height.
    node.until(|state| state.waiting == 1);
    node.set(|state| state.tip = (90, 77));
    tip(&handle, 77).await;
    assert_eq!(handle.templates().borrow().as_ref().unwrap().height, 91);
    handle.shutdown().await;
}

#[tokio::test]
async fn templates_are_refreshed_while_the_long_poll_waits() {
    let node = FakeNode::start();
    let handle = start(config(&[&node])).await.unwrap();
    let mut templates = handle.templates();
    let first = eventually(&mut templates, Option::is_some).await.unwrap();
    eventually(&mut templates, |template| template.as_ref().is_some_and(|next| next.id.0 >= first.id.0 + 2))
        .await;
    // One call waits, however often the template was refreshed.
    node.until(|state| state.waiting == 1);
    handle.shutdown().await;
}

#[tokio::test]
async fn garbage_is_an_error_and_passes() {
    let node = FakeNode::start();
    let handle = start(config(&[&node])).await.unwrap();
    tip(&handle, 1).await;
    let ok =
        |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    for (bytes, text) in [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec(), "garbage"),
        (ok("<html>"), "garbage"),
        (ok("{}"), "garbage"),
        (ok(r#"{"result":{"chain":3},"error":null,"id":1}"#), "garbage"),
        (ok(r#"{"id":1}"#), "garbage"),
        (ok(r#"{"result":null,"id":99}"#), "garbage"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec(), "garbage"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".to_vec(), "closed"),
        (b"HTTP/1.1 200 OK\r\n".to_vec(), "closed"),
        (vec![b'a'; 20_000], "garbage"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy!".to_vec(), "503"),
        (Vec::new(), "closed"),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        node.set(|state| state.mode = Mode::Raw(bytes));
        let ill = health(0, |health| matches!(health, Health::Unreachable { .. }));
        let seen = eventually(&mut handle.health(), ill).await;
        assert!(seen.nodes[0].health.to_string().contains(text), "{shown:?}: {}", seen.nodes[0].health);
        // The last template stands (V1-80).
        assert!(handle.templates().borrow().is_some() && seen.down_since.is_some());
        node.set(|state| state.mode = Mode::Well);
        eventually(&mut handle.health(), ChainHealth::is_healthy).await;
    }
    handle.shutdown().await;
}

#[tokio::test]
async fn a_node_that_hangs_is_given_up_and_comes_back() {
    let node = FakeNode::start();
    let mut quick = config(&[&node]);
    quick.polling.call = Duration::from_millis(200);
    let handle = start(quick).await.unwrap();
    tip(&handle, 1).await;
    node.set(|state| state.mode = Mode::Hang);
    eventually(&mut handle.health(), health(0, unreachable("did not answer within"))).await;
    node.set(|state| {
        state.mode = Mode::Well;
        state.tip = (101, 2);
    });
    tip(&handle, 2).await;
    handle.shutdown().await;
}

#[tokio::test]
async fn the_cookie_is_read_again() {
    let node = FakeNode::start();
    let dir = tempfile::tempdir().unwrap();
    let cookie = dir.path().join(".cookie");
    let mut config = config(&[&node]);
    config.nodes[0].auth = Auth::Cookie(cookie.clone());
    node.set(|state| state.authorization = Some("Basic X19jb29raWVfXzpvbmU=".into()));
    // Not there yet: bitcoind may start after us.
    let handle = start(config).await.unwrap();
    eventually(&mut handle.health(), health(0, unreachable("cookie file"))).await;
    std::fs::write(&cookie, "__cookie__:one\n").unwrap();
    tip(&handle, 1).await;
    // A restart: the file first, then the node refuses the old one.
    std::fs::write(&cookie, "__cookie__:two").unwrap();
    node.set(|state| {
        state.authorization = Some("Basic X19jb29raWVfXzp0d28=".into());
        state.tip = (101, 2);
    });
    tip(&handle, 2).await;
    // That came by the call that was open; this one logs in again.
    node.until(|state| state.waiting == 1);
    node.set(|state| state.tip = (102, 3));
    tip(&handle, 3).await;
    eventually(&mut handle.health(), ChainHealth::is_healthy).await;
    // A cookie that stays wrong.
    node.set(|state| state.authorization = Some("Basic no".into()));
    eventually(&mut handle.health(), health(0, unreachable("refuses the user and password"))).await;
    handle.shutdown().await;
}

#[tokio::test]
async fn a_syncing_node_is_waited_for() {
    let node = FakeNode::start();
    for (code, text) in [(-10, "is in initial sync"), (-9, "is not connected"), (-28, "Loading block index")]
    {
        node.set(|state| state.mode = Mode::Refuse(code, text));
        let handle = start(config(&[&node])).await.unwrap();
        let seen = handle.health().borrow().clone();
        assert_eq!(seen.nodes[0].health, Health::Syncing { reason: text.into() });
        assert!(handle.templates().borrow().is_none());
        node.set(|state| state.mode = Mode::Well);
        tip(&handle, 1).await;
        handle.shutdown().await;
    }
}

#[tokio::test]
async fn a_test_network_that_downloads_blocks_is_syncing() {
    let node = FakeNode::start();
    node.set(|state| {
        state.chain = "testnet4";
        state.downloading = true;
    });
    let mut config = config(&[&node]);
    config.network = Network::Testnet4;
    let handle = start(config).await.unwrap();
    assert_eq!(handle.health().borrow().overall().label(), "syncing");
    handle.shutdown().await;
}

#[tokio::test]
async fn another_network_is_refused() {
    let node = FakeNode::start();
    node.set(|state| state.chain = "main");
    let error = start(config(&[&node])).await.unwrap_err();
    assert!(matches!(&error, StartError::WrongNetwork { expected: Network::Regtest, .. }));
    assert!(error.to_string().contains("`main`") && error.to_string().contains("`regtest`"), "{error}");
    assert!(!format!("{error:?}").contains("password"));
}

#[tokio::test]
async fn a_node_that_comes_back_on_another_network_is_not_used() {
    let node = FakeNode::start();
    let handle = start(config(&[&node])).await.unwrap();
    tip(&handle, 1).await;
    // It restarts: connections break, then it answers from another chain.
    node.set(|state| state.mode = Mode::Raw(Vec::new()));
    eventually(&mut handle.health(), health(0, unreachable("closed"))).await;
    node.set(|state| {
        state.mode = Mode::Well;
        state.chain = "test";
        state.tip = (5, 9);
    });
    eventually(&mut handle.health(), |health| health.nodes[0].health.label() == "wrong_network").await;
    node.until(|state| state.asked.iter().rev().take(3).all(|method| method == "getblockchaininfo"));
    assert_eq!(handle.templates().borrow().as_ref().unwrap().previous.to_string(), tip_hash(1));
    handle.shutdown().await;
}

#[tokio::test]
async fn failover_and_back() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    second.set(|state| state.tip = (100, 20));
    let handle = start(config(&[&first, &second])).await.unwrap();
    tip(&handle, 1).await;
    first.set(|state| state.mode = Mode::Raw(Vec::new()));
    tip(&handle, 20).await;
    eventually(&mut handle.health(), |health| health.active == Some(1)).await;
    // It missed blocks: miners must not fall back with it.
    second.set(|state| state.tip = (101, 21));
    tip(&handle, 21).await;
    first.set(|state| state.mode = Mode::Well);
    eventually(&mut handle.health(), health(0, |health| *health == Health::Healthy)).await;
    assert_eq!(handle.health().borrow().active, Some(1));
    first.set(|state| state.tip = (101, 2));
    tip(&handle, 2).await;
    eventually(&mut handle.health(), |health| health.active == Some(0)).await;
    handle.shutdown().await;
}

#[tokio::test]
async fn where_a_block_is_is_asked_of_the_nodes_in_turn() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let handle = start(config(&[&first, &second])).await.unwrap();
    let places = handle.places();
    let block: BlockHash = tip_hash(77).parse().unwrap();
    let place = async |height| places.place(block, height).await;
    first.set(|state| state.confirmations = Some(3));
    second.set(|state| state.confirmations = Some(-1));
    assert_eq!(place(98).await.unwrap(), Place::InChain { confirmations: 3 });
    // On a side chain, or not known at all: another block has its place.
    first.set(|state| state.confirmations = Some(-1));
    assert_eq!(place(98).await.unwrap(), Place::Aside { confirmations: 1 });
    first.set(|state| state.confirmations = None);
    assert_eq!(place(98).await.unwrap(), Place::Aside { confirmations: 1 });
    // A chain that is too short says nothing; the other node does.
    second.set(|state| state.confirmations = Some(2));
    assert_eq!(place(101).await.unwrap(), Place::InChain { confirmations: 2 });
    second.set(|state| state.confirmations = None);
    assert_eq!(place(101).await.unwrap(), Place::Beyond);
    // Nobody is taken at his word who is not healthy.
    second.set(|state| state.confirmations = Some(9));
    first.set(|state| state.mode = Mode::Raw(Vec::new()));
    assert_eq!(place(98).await.unwrap(), Place::InChain { confirmations: 9 });
    second.set(|state| state.mode = Mode::Raw(Vec::new()));
    eventually(&mut handle.health(), |health| health.active.is_none()).await;
    assert!(matches!(place(98).await, Err(PlaceError::NoNode)));
    handle.shutdown().await;
}

#[tokio::test]
async fn a_block_loses_its_place_when_the_fork_is_resolved() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let handle = start(config(&[&first, &second])).await.unwrap();
    let places = handle.places();
    let block: BlockHash = tip_hash(77).parse().unwrap();
    let place = async || places.place(block, 98).await.unwrap();
    // Two blocks of one height, a node on each.
    first.set(|state| state.confirmations = Some(-1));
    second.set(|state| state.confirmations = Some(1));
    assert_eq!(place().await, Place::Disputed);
    // The next block decides, here for the block and there for the other.
    second.set(|state| state.confirmations = Some(2));
    assert_eq!(place().await, Place::InChain { confirmations: 2 });
    first.set(|state| state.own_confirmations = 3);
    assert_eq!(place().await, Place::Aside { confirmations: 3 });
    first.set(|state| state.own_confirmations = 2);
    assert_eq!(place().await, Place::Disputed);
    // Only healthy nodes have a say.
    second.set(|state| state.mode = Mode::Raw(Vec::new()));
    first.set(|state| state.own_confirmations = 1);
    eventually(&mut handle.health(), health(1, unreachable("closed"))).await;
    assert_eq!(place().await, Place::Aside { confirmations: 1 });
    handle.shutdown().await;
}

#[tokio::test]
async fn a_node_that_is_away_does_not_stop_the_start() {
    let node = FakeNode::start();
    let mut config = config(&[&node]);
    let away = NodeAddress { port: 1, ..config.nodes[0].clone() };
    config.nodes.insert(0, away);
    let handle = start(config).await.unwrap();
    tip(&handle, 1).await;
    assert_eq!(handle.health().borrow().nodes[0].health.label(), "unreachable");
    handle.shutdown().await;
}

#[tokio::test]
async fn impossible_lists_are_refused() {
    let node = FakeNode::start();
    let list = |count: usize| config(&vec![&node; count]);
    assert!(matches!(start(list(0)).await, Err(StartError::NoNodes)));
    assert!(matches!(start(list(2)).await, Err(StartError::Repeated(_))));
    assert!(matches!(start(list(17)).await, Err(StartError::TooManyNodes(17))));
}

#[tokio::test]
async fn threads_end_while_the_node_hangs() {
    let node = FakeNode::start();
    let handle = start(config(&[&node])).await.unwrap();
    node.until(|state| state.waiting == 1);
    node.set(|state| state.mode = Mode::Hang);
    let began = Instant::now();
    handle.shutdown().await;
    // Far below the eight seconds after which shutting down gives up waiting.
    assert!(began.elapsed() < Duration::from_secs(4));

    node.set(|state| state.mode = Mode::Well);
    let handle = start(config(&[&node])).await.unwrap();
    let mut health = handle.health();
    drop(handle);
    // The board goes with the last thread.
    let gone = async { while health.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("the threads end");
}

#[tokio::test]
async fn a_block_reaches_every_node_and_waits_for_those_that_are_away() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let handle = start(config(&[&first, &second])).await.unwrap();
    let template = eventually(&mut handle.templates(), Option::is_some).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (store, mut events) = BlockStore::open(dir.path(), handle.sinks()).unwrap();
    // One does not answer, the other does not want it.
    first.set(|state| state.mode = Mode::Hang);
    second.set(|state| state.verdicts = vec!["bad-cb-amount".into()]);
    let found = mine::found(&template);
    let hex: String = found.block.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = found.hash;
    store.found(found, serde_json::Value::Null).await.unwrap();
    assert_eq!(events.recv().await.unwrap().outcome, Outcome::Pending);
    second.until(|state| state.submitted == [hex.clone()]);
    first.until(|state| state.asked.iter().filter(|method| *method == "submitblock").count() >= 2);
    // It wakes up: any node accepting is accepted.
    first.set(|state| state.mode = Mode::Well);
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(event.outcome, Outcome::Accepted { node: first.address().name() });
    assert!(dir.path().join(format!("{hash}.accepted")).exists());
    handle.shutdown().await;
}

#[test]
fn nothing_printed_holds_a_password() {
    let node = FakeNode::start();
    let shown = format!("{:?} {:?}", config(&[&node]), sluice_node::Rpc::new(node.address()));
    assert!(!shown.contains("a password") && shown.contains("[redacted]"), "{shown}");
}
