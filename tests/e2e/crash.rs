//! kill -9 under load, again and again: what was acknowledged is there, once, and so is what it brought.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::ledger::{self, Booked, Fate, ShareKey};
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress, Tally};
use sluice_tests::{POLL, SOON, binary};

use crate::regtest::mine_block;

/// Acknowledged shares after which a pool is killed, by turns: at once, or after so many.
const SHARES: [u64; 5] = [1, 40, 150, 400, 900];
const PPLNS: Payout = Payout::Pplns { fee_bps: 150, window: 2.0 };
const FPPS: Payout = Payout::Fpps { fee_bps: 200 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_shares_and_blocks_survive_kill_9_exactly_once() -> Result<()> {
    let pool = survive(60, Protocols::Sv1, PPLNS).await?;
    ensure!(ledger::rounds(&pool.data())? > 20, "few rounds were settled, so the books prove little");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_shares_of_both_protocols_survive_kill_9_exactly_once() -> Result<()> {
    // M-88
    survive(40, Protocols::Mixed, PPLNS).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_share_is_credited_once_however_often_the_pool_is_killed() -> Result<()> {
    let mut pool = survive(60, Protocols::Sv1, FPPS).await?;
    pool.stop().await?;
    // The end credits what is left.
    let mut next = 1;
    for decision in ledger::decisions(&pool.data())? {
        let Some((first, through)) = decision.shares else { continue };
        ensure!(first == next, "share {next} is credited never or twice: {decision:?}");
        next = through + 1;
    }
    let logged = ledger::shares(&pool.data())?.len();
    ensure!(usize::try_from(next)? == logged + 1, "{logged} shares, credited up to {next}");
    Ok(())
}

/// Kills a pool `kills` times, every other time right after a block was acknowledged.
async fn survive(kills: u32, protocols: Protocols, payout: Payout) -> Result<Pool> {
    let load = Load { connections: 24, accounts: 6, in_flight: 8, protocols };
    // One share in about a hundred is a block, so that rounds are being settled when the end comes.
    let chain = Chain::Simulated { difficulty: 2.4e-8, transactions: 10, block_interval: None };
    let setup = Setup { payout, ..Setup::new(chain, Difficulty::fixed(2.4e-10)) };
    let setup = setup.tables("[ledger]\naccrue_interval_s = 1\n");
    // Acknowledged at once, so that every kill finds some of them on their way.
    let setup =
        if protocols == Protocols::Mixed { setup.sv2_with("acknowledge_after_ms = 5") } else { setup };
    let mut pool = Pool::ready(setup).await?;
    let mut total = Tally::default();
    for (kill, shares) in (0..kills).zip(SHARES.into_iter().cycle()) {
        let mut stress = Stress::start(&pool, load).await?;
        if kill % 2 == 0 {
            stress.block().await?;
        } else {
            stress.acknowledged(shares).await?;
        }
        pool.kill()?;
        total.add(stress.ended().await.with_context(|| format!("miners of life {kill}"))?);
        pool.restart().await.with_context(|| format!("start after life {kill}"))?;
        ensure!(ledger::integrity(&pool.data())? == "ok");
        total.compare(&ledger::shares(&pool.data())?)?;
        compare_blocks(&pool, &total).await?;
        ensure!(ledger::imbalance(&pool.data())? == (0, 0), "the books do not balance");
    }
    ensure!(total.disconnects == kills * load.connections, "{} connections ended", total.disconnects);
    ensure!(total.blocks.len() >= kills as usize / 2, "{} blocks prove little", total.blocks.len());
    audit(&pool)?;
    Ok(pool)
}

/// Every acknowledged block is in the books, and whatever is there has what follows from its verdict, once.
async fn compare_blocks(pool: &Pool, total: &Tally) -> Result<()> {
    let missing = |fates: &HashMap<ShareKey, Fate>| {
        let lost = total.blocks.iter().filter(|key| !fates.contains_key(*key)).count();
        (lost, fates.values().find(|fate| !fate.is_done()).cloned())
    };
    let mut last = (0, None);
    // The books are behind by moments.
    let caught_up = async {
        loop {
            last = missing(&ledger::fates(&pool.data())?);
            if last == (0, None) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(SOON, caught_up).await {
        Ok(done) => done,
        Err(_) => anyhow::bail!("{} acknowledged blocks are lost, another is {:?}", last.0, last.1),
    }
}

fn audit(pool: &Pool) -> Result<()> {
    let output = Command::new(binary::sluice()?).arg("audit").arg("--data").arg(pool.data()).output();
    let output = output.context("the audit cannot be started")?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(())
}

/// Kills of a pool on a real node.
const ON_REGTEST: u64 = 50;

#[tokio::test]
async fn a_block_whose_finder_was_told_is_in_the_chain_and_in_the_books_once() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("kills on regtest").await? else { return Ok(()) };
    let mut pool = Pool::ready(Setup::on_nodes(vec![node.access()], PPLNS)).await?;
    for kill in 0..ON_REGTEST {
        let best = node.best()?;
        let mut miner = Miner::working(pool.sv1, &address(7).to_string()).await?;
        let job = match miner.job().await? {
            job if crate::regtest::connects(&job, best) => job,
            _ => miner.next_job(|job| crate::regtest::connects(job, best)).await?,
        };
        let share = mine_block(&mut miner, &job)?;
        miner.submit_good(&share).await?;
        // While the node judges it, while it is written down, while its round is settled.
        tokio::time::sleep(Duration::from_millis(kill % 25)).await;
        pool.kill()?;
        pool.restart().await?;
        let found = node.best_other_than(best).await.with_context(|| pool.output().tail())?;
        ensure!(*AsRef::<[u8; 32]>::as_ref(&found) == share.hash, "{found} is not the miner's block");
        let reward = -i64::try_from(
            node.block(&found)?.txdata[0].output.iter().map(|out| out.value.to_sat()).sum::<u64>(),
        )?;
        let done = async {
            while !ledger::fates(&pool.data())?.get(&share.key()).is_some_and(Fate::is_done) {
                tokio::time::sleep(POLL).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, done).await.with_context(|| pool.output().tail())??;
        let Booked { transactions, reward: booked, .. } = ledger::booked(&pool.data(), &found)?;
        ensure!((transactions, booked) == (1, reward), "{transactions} transactions of {booked} sat");
        ensure!(ledger::imbalance(&pool.data())? == (0, 0), "the books do not balance");
    }
    audit(&pool)
}
