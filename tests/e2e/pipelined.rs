//! Miners and proxies that do not wait for answers: several logins, or several blocks, in one segment.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Chain, Difficulty, Pool, Setup};
use sluice_tests::{http, share};

/// Far below the refresh, which would hide a job that was forgotten.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_logins_in_one_segment_get_work() -> Result<()> {
    // V1-21, V1-22
    let pool = Pool::ready(Setup::without_blocks(1e-6).with("refresh_s = 300")).await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    let user = format!("{}.a", address(1));
    let line = |id: u32, method: &str, params: Value| {
        json!({"id": id, "method": method, "params": params}).to_string()
    };
    let burst = [
        line(1, "mining.subscribe", json!(["farm"])),
        line(2, "mining.authorize", json!([user, "x"])),
        line(3, "mining.authorize", json!([format!("{}.b", address(1)), "x"])),
        String::new(),
    ];
    miner.send_raw(burst.join("\n")).await?;
    let subscribed = miner.reply(1).await?;
    miner.subscribed(&subscribed)?;
    miner.set_user(&user);
    ensure!(miner.reply(2).await?["result"] == true && miner.reply(3).await?["result"] == true);
    let job = tokio::time::timeout(SOON, miner.job()).await.context("no job")??;
    let good = miner.mine(&job)?;
    miner.submit_good(&good).await
}

#[tokio::test]
async fn two_blocks_in_one_segment_are_both_handed_in() -> Result<()> {
    let chain = Chain::Simulated { difficulty: 3e-10, transactions: 3, block_interval: None };
    let pool = Pool::ready(Setup::new(chain, Difficulty::fixed(3e-10))).await?;
    let user = format!("{}.a", address(1));
    let mut miner = Miner::working(pool.sv1, &user).await?;
    let job = miner.job().await?;
    let network = share::network_difficulty(job.bits);
    let is_block = |hash: &[u8; 32]| share::difficulty_of(hash) >= network;
    let blocks = [miner.mine_where(&job, is_block)?, miner.mine_where(&job, is_block)?];
    let lines: String = blocks
        .iter()
        .zip(10..)
        .map(|(block, id)| {
            format!("{}\n", json!({"id": id, "method": "mining.submit", "params": block.params(&user)}))
        })
        .collect();
    miner.send_raw(lines).await?;
    for id in [10, 11] {
        let reply = tokio::time::timeout(SOON, miner.reply(id)).await.context("no reply")??;
        ensure!(reply["result"] == true, "{reply}");
    }
    // One of them wins the height; the other lost the race, and both have a verdict.
    http::json_until(pool.http, "/api/v1/blocks", SOON, |list| {
        let states: Vec<&str> = list.as_array()?.iter().filter_map(|block| block["state"].as_str()).collect();
        (states.len() == 2 && states.contains(&"immature") && states.contains(&"rejected")).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_resumed_miner_gets_work_at_once() -> Result<()> {
    // V1-76
    let pool = Pool::ready(Setup::without_blocks(1e-6).with("refresh_s = 300")).await?;
    let user = format!("{}.a", address(1));
    let mut miner = Miner::working(pool.sv1, &user).await?;
    miner.job().await?;
    let session = miner.subscription()?.session.clone();
    drop(miner);
    http::json_until(pool.http, "/api/v1/pool", SOON, |info| {
        (info["connections"]["stratum_v1"] == 0).then_some(())
    })
    .await?;
    let mut again = Miner::connect(pool.sv1).await?;
    again.subscribe(Some(&session)).await?;
    again.authorize(&user, "x").await?;
    let job = tokio::time::timeout(SOON, again.job()).await.context("no job")??;
    let good = again.mine(&job)?;
    again.submit_good(&good).await
}

#[tokio::test]
async fn a_block_under_a_second_login_belongs_to_whom_its_coinbase_pays() -> Result<()> {
    // V1-22: with solo payouts the first login's account owns the coinbase.
    let chain = Chain::Simulated { difficulty: 3e-10, transactions: 0, block_interval: None };
    let pool = Pool::ready(Setup::new(chain, Difficulty::fixed(3e-10))).await?;
    let (first, second) = (address(1).to_string(), address(2).to_string());
    let mut miner = Miner::working(pool.sv1, &first).await?;
    let job = miner.job().await?;
    miner.authorize(&second, "x").await?;
    miner.set_user(&second);
    let network = share::network_difficulty(job.bits);
    let block = miner.mine_where(&job, |hash| share::difficulty_of(hash) >= network)?;
    miner.submit_good(&block).await?;
    let credit = http::json_until(pool.http, "/api/v1/credits", SOON, |list| {
        list.as_array()?.iter().find(|credit| credit["account"] != "").cloned()
    })
    .await?;
    ensure!(credit["account"] == first.as_str(), "{credit}");
    Ok(())
}
