//! Blocks that leave the chain and come back, on a real node: credits count exactly while their block does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bitcoin::BlockHash;
use serde_json::Value;
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::ledger::{self, Booked};
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Payout, Pool, Setup};
use sluice_tests::{SOON, http, spend};

use crate::regtest::mine_through;

const REWARD: i64 = 5_000_000_000;
/// Times the pool is killed while it has a reorganisation to enter.
const KILLS: u32 = 60;
/// The first guess of how long that takes.
const FIRST_GUESS: Duration = Duration::from_millis(20);

async fn pool_on(node: &Bitcoind) -> Result<Pool> {
    let payout = Payout::Pplns { fee_bps: 150, window: 2.0 };
    Pool::ready(Setup::on_nodes(vec![node.access()], payout)).await
}

/// Waits until the API shows the block settled, in this state, with so many confirmations.
pub(crate) async fn shown(pool: &Pool, block: &BlockHash, state: &str, confirmations: u64) -> Result<()> {
    let hash = block.to_string();
    let is = |blocks: &Value| {
        let block = blocks.as_array()?.iter().find(|block| block["hash"] == *hash)?;
        let found = block["state"] == *state && block["confirmations"] == confirmations;
        (found && block["settled"] == true).then_some(())
    };
    let shown = http::json_until(pool.http, "/api/v1/blocks", SOON, is).await;
    shown.with_context(|| format!("waiting for {state} with {confirmations}:\n{}", pool.output().tail()))
}

/// Mines a block with the pool and has it settled.
async fn settled_block(node: &Bitcoind, pool: &Pool) -> Result<BlockHash> {
    let mut miner = Miner::working(pool.sv1, &address(61).to_string()).await?;
    let (block, _) = mine_through(node, &mut miner).await?;
    let hash = block.block_hash();
    shown(pool, &hash, "immature", 1).await?;
    Ok(hash)
}

/// The books have the block's reward `times`, and all that follows from it as often.
fn check(pool: &Pool, block: &BlockHash, once: &Booked, counts: bool) -> Result<Booked> {
    let booked = ledger::booked(&pool.data(), block)?;
    let (reward, moved) = if counts { (once.reward, once.moved) } else { (0, 0) };
    ensure!((booked.reward, booked.moved) == (reward, moved), "the books have {booked:?}");
    // Odd ones book, even ones reverse.
    ensure!((booked.transactions % 2 == 1) == counts, "the books have {booked:?}");
    ensure!(ledger::imbalance(&pool.data())? == (0, 0), "the books do not balance");
    Ok(booked)
}

#[tokio::test]
async fn a_settled_block_is_orphaned_returns_and_matures() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("orphans on regtest").await? else { return Ok(()) };
    node.generate(3, &spend::anyones_address())?;
    let pool = pool_on(&node).await?;
    let ours = settled_block(&node, &pool).await?;
    let once = ledger::booked(&pool.data(), &ours)?;
    ensure!((once.transactions, once.reward) == (1, -REWARD), "the books have {once:?}");

    // Its place is empty: nothing is known of it yet. Then another block has it.
    node.invalidate(&ours)?;
    let others = node.generate(2, &spend::anyones_address())?;
    shown(&pool, &ours, "orphaned", 0).await?;
    ensure!(check(&pool, &ours, &once, false)?.transactions == 2);
    let credits = http::json(pool.http, "/api/v1/credits").await?;
    ensure!(credits[0]["state"] == "orphaned", "credits without their block: {credits}");

    node.invalidate(&others[0])?;
    node.reconsider(&ours)?;
    shown(&pool, &ours, "immature", 1).await?;
    ensure!(check(&pool, &ours, &once, true)?.transactions == 3);

    node.generate(98, &spend::anyones_address())?;
    shown(&pool, &ours, "immature", 99).await?;
    node.generate(1, &spend::anyones_address())?;
    shown(&pool, &ours, "mature", 100).await?;
    ensure!(check(&pool, &ours, &once, true)?.transactions == 3);
    for what in ["orphaned", "returned", "matured"] {
        let name = format!("sluice_block_moves_total{{what=\"{what}\"}}");
        ensure!(http::metric(pool.http, &name).await? == 1.0, "{name} is not 1");
    }
    let page = http::get(pool.http, "/").await?;
    ensure!(page.body.contains(r#"<span class="pill good">mature</span>"#), "the page does not say so");
    Ok(())
}

#[tokio::test]
async fn reorganisations_are_booked_exactly_once_through_kill_9() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("kills in reorganisations").await? else { return Ok(()) };
    node.generate(3, &spend::anyones_address())?;
    let mut pool = pool_on(&node).await?;
    let ours = settled_block(&node, &pool).await?;
    let once = ledger::booked(&pool.data(), &ours)?;
    // Two chains: ours with one block, the others' with two. The others' decides.
    node.invalidate(&ours)?;
    let other = node.generate(2, &spend::anyones_address())?[0];
    node.reconsider(&ours)?;
    shown(&pool, &ours, "orphaned", 0).await?;
    let mut guess = FIRST_GUESS;
    let mut entered = 0;
    for kill in 0..KILLS {
        let returns = kill % 2 == 0;
        let flip = || if returns { node.invalidate(&other) } else { node.reconsider(&other) };
        kill_while(&mut pool, flip, guess.mul_f64(0.5 + fraction()?))?;
        // Kills come close to the commit, on both sides of it, however fast the machine is.
        let left = ledger::booked(&pool.data(), &ours)?;
        let before_the_end = (left.reward != 0) == returns;
        entered += u32::from(before_the_end);
        guess = guess.mul_f64(if before_the_end { 0.8 } else { 1.25 });
        pool.restart().await?;
        let (state, confirmations) = if returns { ("immature", 1) } else { ("orphaned", 0) };
        shown(&pool, &ours, state, confirmations).await?;
        let booked = check(&pool, &ours, &once, returns)?;
        // The first was booked, the second reversed before the loop; then one for each time.
        ensure!(booked.transactions == 3 + kill, "kill {kill}: the books have {booked:?}");
    }
    ensure!((1..KILLS).contains(&entered), "{entered} of {KILLS} were entered before the end");
    ensure!(ledger::integrity(&pool.data())? == "ok");
    Ok(())
}

/// Kills the pool `after` the node has begun to change its chain: at a moment, whatever it is doing then.
fn kill_while(pool: &mut Pool, change: impl FnOnce() -> Result<()> + Send, after: Duration) -> Result<()> {
    std::thread::scope(|scope| {
        let changing = scope.spawn(change);
        std::thread::sleep(after);
        pool.kill()?;
        changing.join().map_err(|_| anyhow::anyhow!("the node's client panicked"))?
    })
}

/// From 0 to 1, at random.
fn fraction() -> Result<f64> {
    let mut byte = [0];
    getrandom::fill(&mut byte).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(f64::from(byte[0]) / 255.0)
}
