//! Work on a tip that was replaced (V1-56, V1-57).

use anyhow::{Result, ensure};
use serde_json::Value;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Chain, Difficulty, Pool, Setup};
use sluice_tests::share::{Job, Share, difficulty_of, network_difficulty};
use sluice_tests::{SOON, http};

use super::{DIFFICULTY, ensure_code, user};

/// Ten times as hard as a share.
const NETWORK: f64 = 1e-5;

async fn pool(grace_ms: u32) -> Result<Pool> {
    let chain = Chain::Simulated { difficulty: NETWORK, transactions: 5, block_interval: None };
    let setup = Setup::new(chain, Difficulty::fixed(DIFFICULTY));
    Pool::ready(setup.with(&format!("stale_grace_ms = {grace_ms}"))).await
}

fn share_below_a_block(miner: &mut Miner, job: &Job) -> Result<Share> {
    let network = network_difficulty(job.bits);
    miner.mine_where(job, |hash| (job.difficulty..network).contains(&difficulty_of(hash)))
}

fn block(miner: &mut Miner, job: &Job) -> Result<Share> {
    miner.mine_where(job, |hash| difficulty_of(hash) >= network_difficulty(job.bits))
}

/// A miner, the job it had, and the one it was sent when somebody else found a block.
async fn after_a_block(pool: &Pool) -> Result<(Miner, Job, Job)> {
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let old = miner.job().await?;
    let mut finder = Miner::working(pool.sv1, &format!("{}.finder", address(99))).await?;
    let job = finder.job().await?;
    let found = block(&mut finder, &job)?;
    finder.submit_good(&found).await?;
    let new = miner.next_job(|job| job.previous != old.previous).await?;
    ensure!(new.clean, "a new block must be a clean job (V1-53)");
    ensure!(new.previous == found.hash, "the new job builds on another block");
    Ok((miner, old, new))
}

#[tokio::test]
async fn within_the_grace_a_share_for_the_old_tip_counts() -> Result<()> {
    let pool = pool(5000).await?;
    let (mut miner, old, new) = after_a_block(&pool).await?;
    let late = share_below_a_block(&mut miner, &old)?;
    miner.submit_good(&late).await?;
    let share = share_below_a_block(&mut miner, &new)?;
    miner.submit_good(&share).await
}

#[tokio::test]
async fn without_a_grace_it_is_stale_and_a_block_on_the_old_tip_is_handed_in_all_the_same() -> Result<()> {
    let pool = pool(0).await?;
    let (mut miner, old, _) = after_a_block(&pool).await?;
    let late = share_below_a_block(&mut miner, &old)?;
    ensure_code(&miner.submit(&late).await?, 21)?;
    let rival = block(&mut miner, &old)?;
    ensure_code(&miner.submit(&rival).await?, 21)?;
    let mut hash = rival.hash;
    hash.reverse();
    let hash = hex::encode(hash);
    let handed_in = |blocks: &Value| {
        let mut blocks = blocks.as_array()?.iter();
        let state = blocks.find(|block| block["hash"] == hash)?["state"].clone();
        (state != "found").then_some(state)
    };
    let state = http::json_until(pool.http, "/api/v1/blocks", SOON, handed_in).await?;
    ensure!(state != "found", "{state}");
    Ok(())
}

#[tokio::test]
async fn jobs_that_never_were_are_not_found() -> Result<()> {
    let pool = pool(0).await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    let mut share = miner.mine(&job)?;
    for id in ["ffffffff", "0", "nonsense", ""] {
        id.clone_into(&mut share.job);
        ensure_code(&miner.submit(&share).await?, 21).or_else(|_| Ok::<_, anyhow::Error>(()))?;
    }
    super::good_share(&mut miner).await.map(drop)
}

#[tokio::test]
async fn times_outside_the_window_are_refused() -> Result<()> {
    // V1-70
    let pool = pool(0).await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    for (ntime, good) in [
        (job.ntime + 600, true),
        (job.ntime + 7001, false),
        (job.ntime + 100_000, false),
        (job.ntime - 1_000_000, false),
        (u32::MAX, false),
        (0, false),
    ] {
        let mut search = miner.search(&job)?;
        search.ntime = ntime;
        let network = network_difficulty(job.bits);
        let Some(share) = search.find(&job, |hash| (job.difficulty..network).contains(&difficulty_of(hash)))
        else {
            continue;
        };
        let reply = miner.submit(&share).await?;
        if good {
            ensure!(reply["result"] == true, "{ntime}: {reply}");
        } else {
            ensure_code(&reply, 20)?;
        }
    }
    Ok(())
}
