//! kill -9 under load, again and again: what was acknowledged is there, once.

use anyhow::{Result, ensure};
use sluice_tests::ledger;
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress, Tally};

/// Times the pool is killed.
const KILLS: u32 = 25;
/// Acknowledged shares between two kills.
const SHARES: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_shares_survive_kill_9_exactly_once() -> Result<()> {
    survive(Protocols::Sv1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_shares_of_both_protocols_survive_kill_9_exactly_once() -> Result<()> {
    // M-88
    survive(Protocols::Mixed).await
}

async fn survive(protocols: Protocols) -> Result<()> {
    let load = Load { connections: 24, accounts: 6, in_flight: 8, protocols };
    // One share in about a thousand is a block, so that rounds are being settled when the end comes.
    let chain = Chain::Simulated { difficulty: 2.4e-7, transactions: 10, block_interval: None };
    let payout = Payout::Pplns { fee_bps: 150, window: 2.0 };
    let setup = Setup { payout, ..Setup::new(chain, Difficulty::fixed(2.4e-10)) };
    // Acknowledged at once, so that every kill finds some of them on their way.
    let setup =
        if protocols == Protocols::Mixed { setup.sv2_with("acknowledge_after_ms = 5") } else { setup };
    let mut pool = Pool::ready(setup).await?;
    let mut total = Tally::default();
    for _ in 0..KILLS {
        let mut stress = Stress::start(&pool, load).await?;
        stress.acknowledged(SHARES).await?;
        pool.kill()?;
        total.add(stress.ended().await?);
        pool.restart().await?;
        ensure!(ledger::integrity(&pool.data())? == "ok");
        total.compare(&ledger::shares(&pool.data())?)?;
        ensure!(ledger::imbalance(&pool.data())? == (0, 0), "the books do not balance");
    }
    ensure!(total.disconnects == KILLS * load.connections, "{} connections ended", total.disconnects);
    ensure!(ledger::rounds(&pool.data())? > 0, "no round was settled, so the books prove nothing");
    // What is refused is late or a repetition, never a good share.
    let strange = total.refused.iter().find(|(code, _)| *code != 21 && *code != 23);
    ensure!(strange.is_none(), "refused: {strange:?}");
    Ok(())
}
