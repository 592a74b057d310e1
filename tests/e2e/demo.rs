//! What a newcomer sees first.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::http;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::Pool;

/// The README promises a block within a minute; a slow machine may take a little longer to start.
const FIRST_BLOCK: Duration = Duration::from_secs(90);

#[tokio::test]
async fn the_demo_says_how_to_connect_and_finds_a_block() -> Result<()> {
    let pool = Pool::demo().await?;
    let paste = format!("stratum+tcp://{}", pool.sv1);
    ensure!(pool.output().lines().iter().any(|line| line.contains(&paste)), "no line to paste");
    pool.output().find(FIRST_BLOCK, |line| line.contains("accepted by").then_some(())).await?;
    // The books hear of it a moment later. The demo's chain has other miners, who may take its place.
    let entered = |blocks: &serde_json::Value| {
        let state = blocks.as_array()?.last()?["state"].as_str()?;
        ["accepted", "immature", "orphaned"].contains(&state).then_some(())
    };
    http::json_until(pool.http, "/api/v1/blocks", sluice_tests::SOON, entered).await?;
    let settled =
        |credits: &serde_json::Value| credits.as_array().is_some_and(|list| !list.is_empty()).then_some(());
    http::json_until(pool.http, "/api/v1/credits", sluice_tests::SOON, settled).await
}

#[tokio::test]
async fn the_demo_serves_page_health_metrics_and_json() -> Result<()> {
    let pool = Pool::demo().await?;
    pool.wait_ready().await?;
    let mut miner = Miner::log_in(pool.sv1, &format!("{}.rig", address(1))).await?;
    miner.job().await?;
    let page = http::get(pool.http, "/").await?;
    ensure!(page.status == 200 && page.body.contains("<html"), "no page: {page:?}");
    ensure!(http::get(pool.http, "/healthz").await?.status == 200);
    let metrics = http::get(pool.http, "/metrics").await?.body;
    ensure!(metrics.contains("protocol=\"stratum_v1\""), "no series says stratum_v1:\n{metrics}");
    let info = http::json(pool.http, "/api/v1/pool").await?;
    for key in ["network", "tip", "job", "connections", "shares", "hashrate", "blocks"] {
        ensure!(!info[key].is_null(), "{key} is missing: {info}");
    }
    ensure!(info["network"] == "regtest" && info["tip"]["height"].is_u64(), "{info}");
    ensure!(info["connections"]["stratum_v1"].as_u64().is_some_and(|count| count >= 1), "{info}");
    let policies = http::json(pool.http, "/api/v1/policies").await?;
    let policies = policies.as_array().context("no list")?;
    ensure!(policies.len() == 3, "{policies:?}");
    for policy in policies {
        for key in [
            "kind",
            "file",
            "name",
            "version",
            "hash",
            "generation",
            "loaded_at",
            "last_reload",
            "calls",
            "traps",
        ] {
            ensure!(!policy[key].is_null(), "{key} is missing: {policy}");
        }
    }
    ensure!(http::json(pool.http, "/api/v1/workers").await?.is_array());
    Ok(())
}

#[tokio::test]
async fn the_demo_stops_on_request_and_keeps_its_ledger() -> Result<()> {
    let mut pool = Pool::demo().await?;
    pool.output().find(FIRST_BLOCK, |line| line.contains("accepted by").then_some(())).await?;
    let status = pool.stop().await?;
    ensure!(status.success(), "it ended with {status}; it said:\n{}", pool.output().tail());
    ensure!(sluice_tests::ledger::integrity(&pool.data())? == "ok");
    ensure!(sluice_tests::ledger::imbalance(&pool.data())? == (0, 0));
    Ok(())
}
