//! Tight limits in the configuration and plugins that break each: what the operator sees of it, and that miners who have
//! nothing to do with it notice nothing.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bitcoin::hashes::{Hash, sha256};
use serde_json::{Value, json};
use sluice_core::policy::PolicyKind;
use sluice_tests::miner::Miner;
use sluice_tests::plugins::{AUTH, VARDIFF};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::{POLL, SOON, binary, http, ledger};

use crate::guest::{Guest, HOARD, LOOP};

/// One reload on a busy machine: debounce, compile, try.
const RELOAD: Duration = Duration::from_secs(120);
/// Lines that the flood writes, and how many of them a call may.
const FLOOD: u64 = 200;
const LINES: u64 = 4;

const AUTH_LIMITS: &str = "[policy.auth.limits]\nfuel = 3000000\nmemory_mb = 2\nanswer_kb = 1\nlog_lines = 4\n\
     log_lines_per_second = 1000\n";
const VARDIFF_LIMITS: &str =
    "limits.fuel = 1_000_000_000_000\nlimits.deadline_ms = 400\nlimits.fuel_per_item = 0\n";

/// An auth policy that is broken by the first letter of a login, and lets all others in.
fn fragile() -> Vec<u8> {
    let when = |letter: u8, body: &str| {
        format!("(if (i32.eq (i32.load8_u (local.get 0)) (i32.const {letter})) (then {body}))")
    };
    // A refusal of 60,000 bytes.
    let endless = "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 72) (i32.const 0))
        (i32.store (i32.const 76) (i32.const 0)) (i32.store (i32.const 80) (i32.const 60000))
        (return (i32.const 64))";
    let flood = format!(
        "(loop $more (call $log (i32.const 1) (i32.const 4096) (i32.const 5))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $more (i32.lt_u (local.get $i) (i32.const {FLOOD}))))"
    );
    let cases = [when(b'F', LOOP), when(b'M', HOARD), when(b'A', endless), when(b'L', &flood)];
    let body = format!("(local $i i32) {}", cases.concat());
    // What is at 4096: the first text that the guest has.
    Guest::new(PolicyKind::Auth, "fragile").body_before("authorize", &body).build()
}

/// A vardiff policy that never answers when a channel opens.
fn slow() -> Vec<u8> {
    Guest::new(PolicyKind::Vardiff, "slow").body("open", LOOP).build()
}

async fn policy(pool: &Pool, kind: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let look = |policies: &Value| {
        let policy = policies.as_array()?.iter().find(|one| one["kind"] == kind)?;
        is(policy).then(|| policy.clone())
    };
    http::json_until(pool.http, "/api/v1/policies", RELOAD, look).await
}

async fn replace(pool: &Pool, kind: &str, file: &str, bytes: &[u8]) -> Result<String> {
    let hash = sha256::Hash::hash(bytes).to_string();
    pool.plugins.replace(file, bytes)?;
    policy(pool, kind, |policy| policy["hash"] == *hash).await?;
    Ok(hash.get(..12).context("a hash is short")?.to_owned())
}

/// What a login is answered.
async fn answered(pool: &Pool, user: &str) -> Result<Value> {
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.subscribe(None).await?;
    miner.call("mining.authorize", json!([user, "x"])).await
}

/// A plugin that kept failing is not asked for a while.
async fn until_welcome(pool: &Pool, user: &str) -> Result<()> {
    let wait = async {
        while answered(pool, user).await?["result"] != true {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(RELOAD, wait).await.context("nobody is let in any more")?
}

async fn mine(miner: &mut Miner, shares: usize) -> Result<()> {
    for _ in 0..shares {
        let job = miner.job().await?;
        let share = miner.mine(&job)?;
        miner.submit_good(&share).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_limit_is_said_counted_and_shown_and_others_mine_on() -> Result<()> {
    let pool = Pool::ready(Setup::without_blocks(2.4e-10).tables(AUTH_LIMITS)).await?;
    let hash = replace(&pool, "auth", AUTH, &fragile()).await?;
    let mut miner = Miner::working(pool.sv1, "good.rig").await?;
    mine(&mut miner, 3).await?;
    let generation = format!("kind=\"auth\",role=\"live\",generation=\"2\",hash=\"{hash}\"");
    for (user, cause, words) in [
        ("Fuel", "fuel", "used up its fuel"),
        ("Memory", "memory", "refused more memory"),
        ("Answer", "answer_size", "larger than its limit"),
    ] {
        let refused = answered(&pool, user).await?;
        ensure!(refused["error"].to_string().contains("try again"), "{user} is to come back: {refused}");
        let series = format!("sluice_policy_traps_total{{{generation},cause=\"{cause}\"}}");
        ensure!(http::metric(pool.http, &series).await? == 1.0, "{series} is not 1");
        let failed = policy(&pool, "auth", |policy| policy["last_failure"]["cause"] == cause).await?;
        ensure!(failed["last_failure"]["why"].to_string().contains(words), "{failed}");
        mine(&mut miner, 2).await?;
        until_welcome(&pool, "good.rig").await?;
    }
    let shown = policy(&pool, "auth", |_| true).await?;
    let limits = ["fuel", "memory_bytes", "answer_bytes"].map(|name| shown["budgets"][name]["limit"].clone());
    ensure!(limits == [json!(3_000_000), json!(2 << 20), json!(1024)], "{shown}");
    ensure!(shown["budgets"]["fuel"]["used"] == 3_000_000, "all of it was used: {shown}");
    let gauge = http::metric(pool.http, "sluice_policy_memory_limit_bytes{kind=\"auth\"}").await?;
    ensure!(gauge == f64::from(2 << 20), "{gauge}");
    let mut command = Command::new(binary::sluice()?);
    command.args(["policy", "status", "auth", "--config"]).arg(pool.config());
    let told = tokio::task::spawn_blocking(move || command.output()).await??;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for words in ["fuel 3 M of 3 M", "of 2 MiB", "of 1 KiB", "answer_size: its answer is larger", "3 traps"] {
        ensure!(told.contains(words), "no {words:?} in\n{told}");
    }
    let shares: u32 = ledger::shares(&pool.data())?.values().sum();
    ensure!(shares == 9, "{shares} of 9 shares are in the log");
    Ok(())
}

#[tokio::test]
async fn a_flood_of_log_lines_is_bounded_labelled_and_said() -> Result<()> {
    let pool = Pool::ready(Setup::without_blocks(2.4e-10).tables(AUTH_LIMITS)).await?;
    let hash = replace(&pool, "auth", AUTH, &fragile()).await?;
    let welcome = answered(&pool, "Loud").await?;
    ensure!(welcome["result"] == true, "words cost it nothing: {welcome}");
    let generation = format!("kind=\"auth\",role=\"live\",generation=\"2\",hash=\"{hash}\"");
    let dropped = FLOOD - LINES;
    http::metric_reaches(
        pool.http,
        &format!("sluice_policy_log_dropped_total{{{generation}}}"),
        f64::from(u32::try_from(dropped)?),
    )
    .await?;
    let said = format!("{dropped} lines dropped");
    let line = pool.output().find(SOON, |line| line.contains(&said).then(|| line.to_owned())).await?;
    for label in ["kind=\"auth\"", "name=\"fragile\"", &hash, "generation=2", "role=\"live\""] {
        ensure!(line.contains(label), "no {label} in {line}");
    }
    let lines = pool.output().lines();
    let of_plugin = lines.iter().filter(|line| line.contains("name=\"fragile\"") && !line.contains(&said));
    ensure!(of_plugin.count() == usize::try_from(LINES)?, "{lines:#?}");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_too_slow_is_stopped_by_the_clock_and_difficulties_stay() -> Result<()> {
    let setup = Setup::without_blocks(2.4e-10).vardiff(VARDIFF_LIMITS);
    let pool = Pool::ready(setup).await?;
    replace(&pool, "vardiff", VARDIFF, &slow()).await?;
    let user = sluice_tests::miner::address(1).to_string();
    let mut miner = Miner::working(pool.sv1, &user).await?;
    ensure!(miner.difficulty() == Some(2.4e-10), "{:?}", miner.difficulty());
    mine(&mut miner, 3).await?;
    let stopped = policy(&pool, "vardiff", |policy| policy["last_failure"]["cause"] == "deadline").await?;
    ensure!(stopped["budgets"]["micros"]["limit"] == 400_000, "{stopped}");
    ensure!(stopped["budgets"]["micros"]["used"].as_u64() >= Some(390_000), "{stopped}");
    mine(&mut miner, 3).await?;
    let shares: u32 = ledger::shares(&pool.data())?.values().sum();
    ensure!(shares == 6, "{shares} of 6 shares are in the log");
    Ok(())
}
