//! Difficulty that changes while shares are under way (V1-40).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_tests::miner::Miner;
use sluice_tests::pool::{Chain, Difficulty, Pool, Setup};
use sluice_tests::share::{Job, Share, difficulty_of};
use sluice_tests::{SOON, http};

use super::{ensure_code, good_share, user};

const LOW: f64 = 1e-6;
const HIGH: f64 = 1e-5;

/// The policy rounds to tidy numbers: a twentieth more or less is what was asked for.
fn about(found: f64, wanted: f64) -> bool {
    (found / wanted - 1.0).abs() < 0.05
}

/// A pool where miners may choose; the start is `start`.
async fn pool(start: f64) -> Result<Pool> {
    let chain = Chain::Simulated { difficulty: 1e9, transactions: 3, block_interval: None };
    Pool::ready(Setup::new(chain, Difficulty { start, floor: LOW / 10.0, ceiling: HIGH * 10.0 })).await
}

/// A share worth `from` to `to`.
fn between(miner: &mut Miner, job: &Job, (from, to): (f64, f64)) -> Result<Share> {
    miner.mine_where(job, |hash| (from..to).contains(&difficulty_of(hash)))
}

/// Suggests a difficulty and returns the job it comes into force with.
async fn change(miner: &mut Miner, difficulty: f64) -> Result<Job> {
    let old = miner.job().await?;
    let reply = miner.call("mining.suggest_difficulty", json!([difficulty])).await?;
    ensure!(reply["result"] == true, "{reply}");
    let new = miner.next_job(|job| job.id != old.id).await?;
    ensure!(about(new.difficulty, difficulty), "{} was asked for, {} came", difficulty, new.difficulty);
    // V1-41: a new job, and nothing is thrown away for it.
    ensure!(!new.clean, "a change of difficulty must not be a clean job");
    Ok(new)
}

#[tokio::test]
async fn after_a_raise_old_jobs_count_at_their_old_difficulty() -> Result<()> {
    let pool = pool(LOW).await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let old = good_share(&mut miner).await?;
    let new = change(&mut miner, HIGH).await?;
    let (low, high) = (old.difficulty, new.difficulty);
    // cgminer is slow to change over: this share was worth it when its job was sent.
    let lagging = between(&mut miner, &old, (low, high))?;
    miner.submit_good(&lagging).await?;
    let short = between(&mut miner, &new, (low, high))?;
    ensure_code(&miner.submit(&short).await?, 23)?;
    let enough = between(&mut miner, &new, (high, f64::INFINITY))?;
    miner.submit_good(&enough).await?;
    // Two at the old difficulty, one at the new, never the higher for the old job.
    credited(&pool, 2.0f64.mul_add(low, high)).await
}

#[tokio::test]
async fn after_a_lowering_old_jobs_count_at_the_lower_difficulty_for_a_while() -> Result<()> {
    let pool = pool(HIGH).await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let old = good_share(&mut miner).await?;
    let new = change(&mut miner, LOW).await?;
    let (low, high) = (new.difficulty, old.difficulty);
    let early = between(&mut miner, &old, (low, high))?;
    miner.submit_good(&early).await?;
    let normal = between(&mut miner, &new, (low, high))?;
    miner.submit_good(&normal).await?;
    credited(&pool, 2.0f64.mul_add(low, high)).await
}

/// Waits until the only worker's work is `expected`.
async fn credited(pool: &Pool, expected: f64) -> Result<()> {
    let work = |workers: &Value| {
        let work = workers.as_array()?.first()?["work"].as_f64()?;
        ((work / expected - 1.0).abs() < 1e-6).then_some(())
    };
    http::json_until(pool.http, "/api/v1/workers", SOON, work).await.context("the credit is wrong")
}

#[tokio::test]
async fn wishes_are_kept_within_the_listeners_bounds() -> Result<()> {
    // V1-42
    let pool = pool(LOW).await?;
    for (wish, expected) in
        [(json!(1e30), HIGH * 10.0), (json!(1e-30), LOW / 10.0), (json!(-1), LOW), (json!("x"), LOW)]
    {
        let mut miner = Miner::connect(pool.sv1).await?;
        miner.subscribe(None).await?;
        // Before the login: the first difficulty is right at once.
        miner.call("mining.suggest_difficulty", json!([wish])).await?;
        miner.authorize(&user(), "x").await?;
        let job = miner.job().await?;
        ensure!(about(job.difficulty, expected), "{wish} became {}", job.difficulty);
    }
    Ok(())
}

#[tokio::test]
async fn the_password_may_name_a_difficulty() -> Result<()> {
    // V1-45
    let pool = pool(LOW).await?;
    for (password, expected) in [("x", LOW), ("d=0.000005", 5e-6), ("x,d=0.000005", 5e-6), ("d=none", LOW)] {
        let mut miner = Miner::connect(pool.sv1).await?;
        miner.subscribe(None).await?;
        miner.authorize(&user(), password).await?;
        let job = miner.job().await?;
        ensure!(about(job.difficulty, expected), "{password:?} became {}", job.difficulty);
    }
    Ok(())
}
