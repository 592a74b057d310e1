//! The simulated chain behind a handle, as the demo uses it.

use std::time::Duration;

use sluice_core::units::Timestamp;
use sluice_node::sim::{self, SimConfig};
use sluice_node::{BlockStore, Health, Outcome, Place, SubmitAnswer};

use crate::support::{eventually, mine};

fn config() -> SimConfig {
    SimConfig { transactions: 5, refresh: Duration::from_secs(3600), ..SimConfig::default() }
}

#[tokio::test]
async fn a_found_block_moves_the_tip_and_every_watcher() {
    let (node, chain) = sim::start(config()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (store, mut events) = BlockStore::open(dir.path(), node.sinks()).unwrap();
    let mut templates = node.templates();
    let template = eventually(&mut templates, Option::is_some).await.unwrap();
    let found = mine::found(&template);
    let hash = found.hash;
    store.found(found, serde_json::json!({ "worker": "w" })).await.unwrap();
    assert_eq!(events.recv().await.unwrap().outcome, Outcome::Pending);
    let event = events.recv().await.unwrap();
    assert_eq!((event.hash, event.outcome), (hash, Outcome::Accepted { node: "simulated".into() }));
    assert_eq!(event.facts["worker"], "w");
    let next =
        eventually(&mut templates, |next| next.as_ref().is_some_and(|next| next.previous == hash)).await;
    assert_eq!(next.unwrap().height, template.height + 1);
    assert_eq!(chain.tip().hash, hash);
    assert_eq!(chain.submissions(), [SubmitAnswer::Accepted]);
    node.shutdown().await;
}

#[tokio::test]
async fn others_find_blocks_and_templates_are_refreshed() {
    let quick = SimConfig {
        block_interval: Some(Duration::from_millis(20)),
        refresh: Duration::from_millis(5),
        ..config()
    };
    let (node, chain) = sim::start(quick).unwrap();
    let mut templates = node.templates();
    eventually(&mut templates, |template| template.as_ref().is_some_and(|template| template.height >= 204))
        .await;
    assert!(chain.tip().height >= 203);
    node.shutdown().await;
    let height = chain.tip().height;
    assert_eq!(chain.tip().height, height);
}

#[tokio::test]
async fn it_can_be_steered() {
    let (node, chain) = sim::start(config()).unwrap();
    let mut templates = node.templates();
    let first = eventually(&mut templates, Option::is_some).await.unwrap();
    chain.refresh();
    let second = eventually(&mut templates, |t| t.as_ref().is_some_and(|t| t.id > first.id)).await.unwrap();
    assert_eq!(second.previous, first.previous);
    let forced = chain.force_block();
    eventually(&mut templates, |t| t.as_ref().is_some_and(|t| t.previous == forced.hash)).await;
    let places = node.places();
    let place = async || places.place(forced.hash, forced.height).await.unwrap();
    assert_eq!(place().await, Place::InChain { confirmations: 1 });
    let tip = chain.reorg(1);
    assert_eq!(place().await, Place::Aside { confirmations: 2 });
    assert_eq!(places.place(tip.hash, tip.height + 1).await.unwrap(), Place::Beyond);
    eventually(&mut templates, |t| t.as_ref().is_some_and(|t| t.previous == tip.hash)).await;

    let mut health = node.health();
    chain.set_health(Health::Unreachable { since: Timestamp(1), error: "unplugged".into() });
    let ill = eventually(&mut health, |health| !health.is_healthy()).await;
    assert!(ill.down_since.is_some());
    assert!(node.sinks()[0].submit(&[0]).is_err());
    chain.set_health(Health::Healthy);
    eventually(&mut health, sluice_node::ChainHealth::is_healthy).await;
    node.shutdown().await;
}
