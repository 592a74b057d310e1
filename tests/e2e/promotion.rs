//! Promotions while miners of both protocols work and log in: what is chosen serves, what fails comes back by itself, and
//! what was decided stands after kill -9.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_core::policy::PolicyKind;
use sluice_tests::miner::{self, Miner};
use sluice_tests::plugins::{AUTH, PPLNS, VARDIFF, shipped, variant};
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress, Tally};
use sluice_tests::{POLL, SOON, http, ledger};
use tokio::task::JoinSet;

use crate::guest::Guest;
use crate::shadow::{hash, obeyed, policy, until};

const SHADOWS: [&str; 3] = ["next-auth.wasm", "next-vardiff.wasm", "next-payout.wasm"];
/// Kind, shipped file, shadow.
const KINDS: [(&str, &str, &str); 3] =
    [("auth", AUTH, SHADOWS[0]), ("vardiff", VARDIFF, SHADOWS[1]), ("payout", PPLNS, SHADOWS[2])];
/// Code of a share on a job that is no longer the present one (V1-11).
const STALE: i64 = 21;

/// Nobody here is put off for asking much, or for coming back often.
const UNHURRIED: &str = "messages_per_minute = 1000000000\nreconnects_per_minute = 1000000";

fn unhurried(setup: Setup) -> Setup {
    setup.with(UNHURRIED).sv2_with(UNHURRIED)
}

/// Blocks are found now and then, so that the payout policy settles rounds and is asked for previews.
fn setup() -> Setup {
    let chain = Chain::Simulated { difficulty: 4.8e-8, transactions: 10, block_interval: None };
    let payout = Payout::Pplns { fee_bps: 100, window: 2.0 };
    unhurried(Setup { payout, ..Setup::new(chain, Difficulty::fixed(2.4e-10)) }.shadows(SHADOWS))
}

/// Connections that come, log in and go, as after a failure of the network.
struct Storm {
    stop: Arc<AtomicBool>,
    logins: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Storm {
    fn start(pool: &Pool) -> Self {
        let mut storm = Self { stop: Arc::default(), logins: Arc::default(), tasks: JoinSet::new() };
        for number in 0..4 {
            let (stop, logins, sv1) = (storm.stop.clone(), storm.logins.clone(), pool.sv1);
            storm.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    Miner::log_in(sv1, &format!("{}.storm{number}", miner::address(number))).await?;
                    logins.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        storm
    }

    /// Waits for `count` logins more.
    async fn logins(&self, count: u64) -> Result<()> {
        let goal = self.logins.load(Ordering::Relaxed) + count;
        let wait = async {
            while self.logins.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.context("nobody gets in any more")
    }

    /// Everybody was let in, all the time.
    async fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended?.context("a login was refused")?;
        }
        Ok(())
    }
}

fn unharmed(tally: &Tally, pool: &Pool) -> Result<()> {
    ensure!(tally.disconnects == 0, "{} miners were disconnected", tally.disconnects);
    ensure!(tally.unanswered.is_empty(), "{} shares were not answered", tally.unanswered.len());
    let refused: Vec<i64> =
        tally.refused.iter().map(|(code, _)| *code).filter(|code| *code != STALE).collect();
    ensure!(refused.is_empty(), "shares were refused, with codes {refused:?}");
    tally.compare(&ledger::shares(&pool.data())?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_shadowed_promoted_and_taken_back_under_load_of_both_protocols() -> Result<()> {
    let pool = Pool::ready(setup()).await?;
    for (kind, file, shadow) in KINDS {
        pool.plugins.replace(shadow, &variant(file, 1)?)?;
        until(&pool, kind, |policy| policy["shadow"]["state"] == "comparing").await?;
    }
    let load = Load { connections: 40, accounts: 8, in_flight: 2, protocols: Protocols::Mixed };
    let mut stress = Stress::start(&pool, load).await?;
    let storm = Storm::start(&pool);
    stress.block().await?;
    for (kind, ..) in KINDS {
        let seen = until(&pool, kind, |policy| policy["shadow"]["compared"].as_u64() >= Some(10)).await?;
        let shadow = &seen["shadow"];
        ensure!(shadow["differed"] == 0 && shadow["failed"] == 0, "the same code differs: {shadow}");
    }
    let page = http::get(pool.http, "/").await?.body;
    ensure!(page.matches(" agree, 0 differ, 0 failed, 0 traps").count() == 3, "{page}");
    for (order, label) in [("promote", Some(1)), ("rollback", None), ("rollback", Some(1))] {
        for (kind, file, _) in KINDS {
            obeyed(&pool, &[order, kind, "--reason", "under load"]).await?;
            let serving = hash(&label.map_or_else(|| shipped(file), |label| variant(file, label))?);
            until(&pool, kind, |policy| policy["hash"] == *serving).await?;
        }
        storm.logins(20).await?;
        stress.acknowledged(200).await?;
        stress.block().await?;
    }
    storm.finish().await?;
    unharmed(&stress.finish().await?, &pool)?;
    ensure!(ledger::rounds(&pool.data())? > 0, "no round was settled");
    ensure!(ledger::imbalance(&pool.data())?.0 == 0, "the books do not sum to zero");
    let told = obeyed(&pool, &["status"]).await?;
    ensure!(told.matches("under load").count() == 9, "not every order is on record:\n{told}");
    Ok(())
}

/// A vardiff policy whose instances trap at their 40th opening: later than it is tried, and one call in 40.
fn fragile() -> Vec<u8> {
    let count = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                 (if (i32.ge_u (global.get $calls) (i32.const 40)) (then unreachable))";
    Guest::new(PolicyKind::Vardiff, "fragile").body_before("open", count).build()
}

async fn with_fragile_shadow() -> Result<Pool> {
    let setup = Setup::without_blocks(2.4e-10).vardiff("shadow = \"next.wasm\"");
    let pool = Pool::ready(unhurried(setup)).await?;
    pool.plugins.replace("next.wasm", &fragile())?;
    until(&pool, "vardiff", |policy| policy["shadow"]["state"] == "comparing").await?;
    Ok(pool)
}

/// Waits until what was shipped serves again by itself, and that this is on record.
async fn taken_back(pool: &Pool) -> Result<()> {
    let first = hash(&shipped(VARDIFF)?);
    until(pool, "vardiff", |policy| policy["hash"] == *first).await?;
    let told = async {
        loop {
            let told = obeyed(pool, &["status", "vardiff"]).await?;
            if told.contains("by recovery") {
                return anyhow::Ok(told);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let told = tokio::time::timeout(SOON, told).await.context("not on record")??;
    ensure!(told.contains("rolled_back") && told.contains("unreachable"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_policy_that_traps_now_and_then_under_load_is_taken_back_unnoticed() -> Result<()> {
    let pool = with_fragile_shadow().await?;
    let load = Load { connections: 20, accounts: 5, in_flight: 2, protocols: Protocols::Mixed };
    let mut stress = Stress::start(&pool, load).await?;
    let storm = Storm::start(&pool);
    // Whoever looks sees it before.
    until(&pool, "vardiff", |policy| policy["shadow"]["traps"].as_u64() >= Some(2)).await?;
    obeyed(&pool, &["promote", "vardiff"]).await?;
    taken_back(&pool).await?;
    storm.logins(50).await?;
    stress.acknowledged(200).await?;
    storm.finish().await?;
    let tally = stress.finish().await?;
    ensure!(tally.refused.is_empty(), "{} shares were refused", tally.refused.len());
    unharmed(&tally, &pool)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_served_before_a_promotion_comes_back_though_the_pool_was_killed_meanwhile() -> Result<()> {
    let mut pool = with_fragile_shadow().await?;
    obeyed(&pool, &["promote", "vardiff"]).await?;
    pool.kill()?;
    pool.restart().await?;
    until(&pool, "vardiff", |policy| policy["hash"] == *hash(&fragile())).await?;
    let storm = Storm::start(&pool);
    taken_back(&pool).await?;
    storm.finish().await
}

#[tokio::test]
async fn a_pin_and_the_history_stand_after_kill_9() -> Result<()> {
    let (first, second) = (shipped(VARDIFF)?, variant(VARDIFF, 1)?);
    let mut pool = Pool::ready(Setup::without_blocks(2.4e-10)).await?;
    obeyed(&pool, &["pin", "vardiff", "--reason", "over the weekend"]).await?;
    pool.plugins.replace(VARDIFF, &second)?;
    let held = |policy: &Value| policy["held"] == *hash(&second) && policy["hash"] == *hash(&first);
    until(&pool, "vardiff", held).await?;
    pool.kill()?;
    pool.restart().await?;
    until(&pool, "vardiff", held).await?;
    let told = obeyed(&pool, &["status", "vardiff"]).await?;
    ensure!(told.contains("over the weekend") && told.contains("is not applied"), "{told}");
    obeyed(&pool, &["unpin", "vardiff"]).await?;
    until(&pool, "vardiff", |policy| policy["hash"] == *hash(&second) && policy["pinned"] == false).await?;
    // By a beginning that is one component's alone.
    let whole = hash(&first);
    let (short, longer) = whole.split_at_checked(10).context("a hash is short")?;
    let other = format!("{short}{}", longer.chars().rev().collect::<String>());
    std::fs::write(pool.data().join("policies/recent").join(format!("{other}.wasm")), b"another")?;
    let (code, said) = policy(&pool, &["rollback", "vardiff", "--to", short]).await?;
    ensure!(code == Some(1) && said.contains("more digits"), "{said}");
    obeyed(&pool, &["rollback", "vardiff", "--to", &whole[..20]]).await?;
    until(&pool, "vardiff", |policy| policy["hash"] == *whole).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_confirmed_stands_whenever_the_pool_is_killed() -> Result<()> {
    let hashes = [hash(&shipped(VARDIFF)?), hash(&variant(VARDIFF, 1)?)];
    let mut pool = Pool::ready(Setup::without_blocks(2.4e-10).vardiff("shadow = \"next.wasm\"")).await?;
    pool.plugins.replace("next.wasm", &variant(VARDIFF, 1)?)?;
    let mut serving = 0;
    for patience in [5, 15, 20, 25, 30, 40, 60, 1000].map(Duration::from_millis) {
        until(&pool, "vardiff", |policy| policy["shadow"]["hash"] == *hashes[1]).await?;
        let order = if serving == 0 { "promote" } else { "rollback" };
        let given = tokio::time::timeout(patience, policy(&pool, &[order, "vardiff"])).await;
        pool.kill()?;
        let confirmed = match given {
            Ok(done) => {
                let (code, said) = done?;
                ensure!(code == Some(0), "{order}: {said}");
                true
            }
            Err(_) => false,
        };
        pool.restart().await?;
        let now = until(&pool, "vardiff", |policy| policy["hash"].is_string()).await?;
        let found = hashes.iter().position(|hash| now["hash"] == **hash).context("something else serves")?;
        ensure!(!confirmed || found != serving, "a confirmed {order} is undone");
        serving = found;
        let told = obeyed(&pool, &["status", "vardiff", "--json"]).await?;
        let told: Value = serde_json::from_str(&told)?;
        ensure!(told[0]["history"][0]["to"] == *hashes[serving], "the record says something else: {told}");
    }
    Ok(())
}
