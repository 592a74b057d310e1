//! A real bitcoind: templates, blocks, a restart, a reorganisation.

use std::sync::Arc;

use serde_json::{Value, json};
use sluice_core::template::Template;
use sluice_node::{BlockStore, ChainHealth, NodeHandle, Outcome, Place, SubmitAnswer, start};

use crate::support::bitcoind::Bitcoind;
use crate::support::mine::{changed, found};
use crate::support::{PATIENCE, eventually};
use sluice_core::bitcoin::{Amount, BlockHash, consensus};

async fn template_at(handle: &NodeHandle, height: u32) -> Arc<Template> {
    let wanted =
        |template: &Option<Arc<Template>>| template.as_ref().is_some_and(|next| next.height == height);
    eventually(&mut handle.templates(), wanted).await.expect("just seen")
}

#[tokio::test]
async fn a_block_is_taken_and_the_next_template_comes_at_once() {
    let Some(node) = Bitcoind::start("a_block_is_taken_and_the_next_template_comes_at_once") else { return };
    node.generate(1);
    let handle = start(node.config()).await.unwrap();
    let template = template_at(&handle, 2).await;
    let dir = tempfile::tempdir().unwrap();
    let (store, mut events) = BlockStore::open(dir.path(), handle.sinks()).unwrap();
    let block = found(&template);
    let hash = block.hash.to_string();
    store.found(block, Value::Null).await.unwrap();
    assert_eq!(events.recv().await.unwrap().outcome, Outcome::Pending);
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(event.outcome, Outcome::Accepted { node: node.address().name() });
    // By long poll: the refresh is half a minute away.
    let next = template_at(&handle, 3).await;
    assert_eq!(next.previous.to_string(), hash);
    let seen: Value = node.call("getblock", &[json!(hash), json!(2)]);
    assert_eq!(seen["tx"][0]["vout"][0]["value"], json!(50.0));
    assert_eq!(seen["tx"][0]["vout"][0]["scriptPubKey"]["hex"], json!("51"));
    // Others find one.
    let other = node.generate(1);
    assert_eq!(template_at(&handle, 4).await.previous.to_string(), other);
    handle.shutdown().await;
}

#[tokio::test]
async fn core_and_this_crate_mean_the_same_answers() {
    let Some(node) = Bitcoind::start("core_and_this_crate_mean_the_same_answers") else { return };
    node.generate(1);
    let handle = start(node.config()).await.unwrap();
    let template = template_at(&handle, 2).await;
    let sink = Arc::clone(&handle.sinks()[0]);
    let submit = |block: &[u8]| sink.submit(block).unwrap();
    let greedy = changed(&template, |block| block.txdata[0].output[0].value += Amount::ONE_SAT);
    assert_eq!(submit(&consensus::serialize(&greedy)), SubmitAnswer::Rejected("bad-cb-amount".into()));
    assert!(matches!(submit(&[1, 2, 3]), SubmitAnswer::Rejected(_)));
    let first = found(&template);
    let mut rival = template.as_ref().clone();
    rival.cur_time += 1;
    let rival = found(&rival);
    assert_eq!(submit(&first.block), SubmitAnswer::Accepted);
    assert_eq!(submit(&first.block), SubmitAnswer::Accepted);
    // It lost the race; Core calls it a duplicate the second time.
    assert_eq!(submit(&rival.block), SubmitAnswer::Inconclusive);
    assert_eq!(submit(&rival.block), SubmitAnswer::Inconclusive);
    handle.shutdown().await;
}

#[tokio::test]
async fn heights_where_the_script_changes() {
    let Some(node) = Bitcoind::start("heights_where_the_script_changes") else { return };
    let handle = start(node.config()).await.unwrap();
    let sink = Arc::clone(&handle.sinks()[0]);
    for height in [1, 16, 17, 127, 128] {
        let missing = height - 1 - node.height();
        if missing > 0 {
            node.generate(missing);
        }
        let template = template_at(&handle, height).await;
        assert_eq!(sink.submit(&found(&template).block).unwrap(), SubmitAnswer::Accepted, "{height}");
    }
    handle.shutdown().await;
}

#[tokio::test]
async fn a_node_restarts_and_a_block_waits_for_it() {
    let Some(mut node) = Bitcoind::start("a_node_restarts_and_a_block_waits_for_it") else { return };
    node.generate(3);
    let handle = start(node.config()).await.unwrap();
    let template = template_at(&handle, 4).await;
    let dir = tempfile::tempdir().unwrap();
    let (store, mut events) = BlockStore::open(dir.path(), handle.sinks()).unwrap();
    node.stop();
    eventually(&mut handle.health(), |health| !health.is_healthy()).await;
    let block = found(&template);
    let hash = block.hash;
    store.found(block, Value::Null).await.unwrap();
    assert_eq!(events.recv().await.unwrap().outcome, Outcome::Pending);
    // With a new cookie.
    node.start_again();
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!((event.hash, event.outcome), (hash, Outcome::Accepted { node: node.address().name() }));
    assert_eq!(template_at(&handle, 5).await.previous, hash);
    eventually(&mut handle.health(), ChainHealth::is_healthy).await;
    handle.shutdown().await;
}

#[tokio::test]
async fn a_block_survives_a_restart_of_both() {
    let Some(mut node) = Bitcoind::start("a_block_survives_a_restart_of_both") else { return };
    node.generate(3);
    let handle = start(node.config()).await.unwrap();
    let template = template_at(&handle, 4).await;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = BlockStore::open(dir.path(), handle.sinks()).unwrap();
    node.stop();
    let block = found(&template);
    let hash = block.hash;
    store.found(block, json!({ "account": 7 })).await.unwrap();
    drop(store);
    handle.shutdown().await;

    node.start_again();
    let handle = start(node.config()).await.unwrap();
    let (_store, mut events) = BlockStore::open(dir.path(), handle.sinks()).unwrap();
    assert_eq!(events.recv().await.unwrap().outcome, Outcome::Pending);
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!((event.hash, event.facts["account"].clone()), (hash, json!(7)));
    assert!(matches!(event.outcome, Outcome::Accepted { .. }));
    handle.shutdown().await;
}

#[tokio::test]
async fn a_reorganisation_is_just_another_template() {
    let Some(node) = Bitcoind::start("a_reorganisation_is_just_another_template") else { return };
    node.generate(10);
    let handle = start(node.config()).await.unwrap();
    let before = template_at(&handle, 11).await;
    let eighth: String = node.call("getblockhash", &[json!(8)]);
    let seventh: String = node.call("getblockhash", &[json!(7)]);
    let _: Value = node.call("invalidateblock", &[json!(eighth)]);
    let after = template_at(&handle, 8).await;
    assert_eq!(after.previous.to_string(), seventh);
    assert!(after.id > before.id);
    let _: Value = node.call("reconsiderblock", &[json!(eighth)]);
    assert_eq!(template_at(&handle, 11).await.previous, before.previous);
    handle.shutdown().await;
}

#[tokio::test]
async fn a_block_is_placed_in_the_chain_beside_it_and_in_it_again() {
    let Some(node) = Bitcoind::start("a_block_is_placed_in_the_chain_beside_it_and_in_it_again") else {
        return;
    };
    node.generate(5);
    let handle = start(node.config()).await.unwrap();
    let places = handle.places();
    let block: BlockHash = node.call("getblockhash", &[json!(4)]);
    let place = async || places.place(block, 4).await.unwrap();
    assert_eq!(place().await, Place::InChain { confirmations: 2 });
    let _: Value = node.call("invalidateblock", &[json!(block)]);
    // Three blocks, and nothing in its place: a node that has lost its last blocks says nothing.
    assert_eq!(place().await, Place::Beyond);
    node.generate_to(0x52, 2);
    assert_eq!(place().await, Place::Aside { confirmations: 2 });
    let stranger: BlockHash = "77".repeat(32).parse().unwrap();
    assert_eq!(places.place(stranger, 4).await.unwrap(), Place::Aside { confirmations: 2 });
    assert_eq!(places.place(stranger, 6).await.unwrap(), Place::Beyond);
    let rival: BlockHash = node.call("getblockhash", &[json!(4)]);
    let _: Value = node.call("invalidateblock", &[json!(rival)]);
    let _: Value = node.call("reconsiderblock", &[json!(block)]);
    assert_eq!(place().await, Place::InChain { confirmations: 2 });
    node.generate(98);
    assert_eq!(place().await, Place::InChain { confirmations: 100 });
    handle.shutdown().await;
}
