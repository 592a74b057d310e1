//! The minimum conformance list of SV1 (section 1M of the rules), over real sockets.

mod abuse;
mod difficulty;
mod duplicates;
mod fields;
mod firmware;
mod order;
mod stale;
mod versions;

use anyhow::{Result, ensure};
use serde_json::Value;
use sluice_tests::miner::{Miner, address, error_code};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::share::Job;
use sluice_tests::{SOON, http};

/// About four thousand hashes for a share: moments, yet most hashes miss.
const DIFFICULTY: f64 = 1e-6;

async fn pool() -> Result<Pool> {
    Pool::ready(Setup::without_blocks(DIFFICULTY)).await
}

fn user() -> String {
    format!("{}.rig", address(7))
}

/// The pool still works for somebody else.
async fn still_serves(pool: &Pool) -> Result<()> {
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    good_share(&mut miner).await.map(drop)
}

/// Mines and submits one share that must be accepted; returns the job it was for.
async fn good_share(miner: &mut Miner) -> Result<Job> {
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await?;
    Ok(job)
}

fn ensure_code(reply: &Value, code: i64) -> Result<()> {
    let found = error_code(reply)?;
    ensure!(found == code, "the code should be {code}: {reply}");
    ensure!(reply["result"].is_null() || reply["result"] == false, "refused with a result: {reply}");
    Ok(())
}

/// Waits until the pool has noticed that everybody is gone.
async fn nobody_connected(pool: &Pool) -> Result<()> {
    let empty = |info: &Value| (info["connections"]["stratum_v1"] == 0).then_some(());
    http::json_until(pool.http, "/api/v1/pool", SOON, empty).await
}
