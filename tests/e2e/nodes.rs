//! Nodes that are not what they should be.

use anyhow::{Context, Result, ensure};
use sluice_tests::fake_node::{Behaviour, FakeNode};
use sluice_tests::http;
use sluice_tests::pool::{Payout, Pool, Setup};

/// Starts a pool on such a node and returns why it says it is not ready.
async fn reason(behaviour: Behaviour) -> Result<String> {
    let mut node = FakeNode::start(behaviour).await?;
    let mut pool = Pool::run(Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 })).await?;
    node.asked().await.context("the node was never asked")?;
    let body = wait_for_reason(&pool).await?;
    ensure!(http::get(pool.http, "/healthz").await?.status == 200, "the process itself is well");
    ensure!(pool.is_running()?, "a bad node ended the pool");
    ensure!(!pool.output().tail().contains("panicked"), "{}", pool.output().tail());
    Ok(body.to_lowercase())
}

/// The answer of `/readyz` once it is more than that nothing is known yet.
async fn wait_for_reason(pool: &Pool) -> Result<String> {
    let wait = async {
        loop {
            let answer = http::get(pool.http, "/readyz").await?;
            ensure!(answer.status == 503, "ready on such a node: {answer:?}");
            let early = ["not asked", "starting", "unknown", "connecting"];
            if !early.iter().any(|word| answer.body.to_lowercase().contains(word)) {
                return Ok(answer.body);
            }
            tokio::time::sleep(sluice_tests::POLL).await;
        }
    };
    tokio::time::timeout(2 * sluice_tests::SOON, wait).await.context("the reason stays unknown")?
}

macro_rules! says_why {
    ($name:ident, $behaviour:ident, $words:expr) => {
        #[tokio::test]
        async fn $name() -> Result<()> {
            let reason = reason(Behaviour::$behaviour).await?;
            let words: &[&str] = &$words;
            ensure!(words.iter().any(|word| reason.contains(word)), "{reason:?} has none of {words:?}");
            Ok(())
        }
    };
}

says_why!(garbage_is_called_garbage, Garbage, ["http", "garbage", "understood", "answer"]);
says_why!(a_web_page_is_no_node, Page, ["json", "answer", "understood"]);
says_why!(silence_is_called_a_timeout, Hang, ["time", "silent", "answer"]);
says_why!(
    wrong_credentials_are_named,
    Forbidden,
    ["401", "password", "credential", "unauthor", "login", "cookie"]
);
says_why!(a_node_that_loads_is_given_time, WarmingUp, ["loading", "-28", "warm", "start"]);
says_why!(a_node_in_initial_sync_is_named, Syncing, ["sync"]);
says_why!(
    a_result_of_the_wrong_shape_is_named,
    WrongShape,
    ["answer", "json", "invalid", "expected", "template"]
);
