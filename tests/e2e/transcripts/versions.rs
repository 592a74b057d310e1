//! Rolled versions: three ways to combine them that must agree (V1-75).

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_tests::miner::Miner;
use sluice_tests::share::{Job, Share, difficulty_of};

use super::{ensure_code, pool, user};

const MASK: u32 = 0x1fff_e000;

fn rolled(miner: &mut Miner, job: &Job, bits: u32) -> Result<Share> {
    let mut search = miner.search(job)?;
    search.version_bits = Some(bits);
    search.find(job, |hash| difficulty_of(hash) >= job.difficulty).context("no share")
}

#[tokio::test]
async fn replace_or_and_xor_agree_because_the_job_has_no_bits_in_the_mask() -> Result<()> {
    let pool = pool().await?;
    let mut miner = Miner::connect(pool.sv1).await?;
    let params = json!([["version-rolling"], {"version-rolling.mask": "1fffe000"}]);
    miner.call("mining.configure", params).await?;
    miner.subscribe(None).await?;
    miner.authorize(&user(), "x").await?;
    let job = miner.job().await?;
    ensure!(job.version & MASK == 0, "{:08x} has bits within the mask", job.version);
    for bits in [0, 0x0000_2000, 0x1000_0000, 0x0aaa_a000, MASK] {
        let replaced = (job.version & !MASK) | (bits & MASK);
        ensure!(replaced == job.version | bits && replaced == job.version ^ bits);
        let share = rolled(&mut miner, &job, bits)?;
        miner.submit_good(&share).await.with_context(|| format!("bits {bits:08x}"))?;
    }
    // Outside the mask, whichever way the miner meant it.
    for bits in [0x4000_0000, 0x0000_1000, 0x0000_0001, 0x5fff_ffff] {
        let share = rolled(&mut miner, &job, bits)?;
        ensure_code(&miner.submit(&share).await?, 20).with_context(|| format!("bits {bits:08x}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn rolling_without_negotiation_stays_within_the_pools_mask() -> Result<()> {
    // V1-34
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    let inside = rolled(&mut miner, &job, 0x0000_4000)?;
    miner.submit_good(&inside).await?;
    let outside = rolled(&mut miner, &job, 0x0000_0800)?;
    ensure_code(&miner.submit(&outside).await?, 20)
}

#[tokio::test]
async fn configure_answers_whatever_is_asked_whenever() -> Result<()> {
    // V1-25, V1-26, V1-33
    let pool = pool().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let reply = miner
        .call("mining.configure", json!([["version-rolling"], {"version-rolling.mask": "00000fff"}]))
        .await?;
    ensure!(reply["result"]["version-rolling"] == false, "{reply}");
    let all = json!([["info", "subscribe-extranonce", "minimum-difficulty", "teleport", "version-rolling"], {
        "info.connection-url": "stratum+tcp://x", "info.hw-id": "1", "minimum-difficulty.value": 1e-7}]);
    let reply = miner.call("mining.configure", all).await?;
    let result = &reply["result"];
    ensure!(result["info"] == true && result["subscribe-extranonce"] == true, "{reply}");
    ensure!(result["minimum-difficulty"] == true && result["version-rolling"] == true, "{reply}");
    ensure!(result["version-rolling.mask"] == "1fffe000", "the default is all bits: {reply}");
    ensure!(result["teleport"] == false || result["teleport"].is_string(), "{reply}");
    for odd in
        [json!([]), json!(null), json!(["version-rolling"]), json!([["version-rolling"]]), json!([[], {}])]
    {
        let reply = miner.call("mining.configure", odd.clone()).await?;
        ensure!(reply["result"].is_object() || reply["error"].is_array(), "{odd}: {reply}");
    }
    Ok(())
}
