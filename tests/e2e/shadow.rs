//! Shadow, promote, go back and pin by `sluice policy` while miners submit: nobody notices.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bitcoin::hashes::{Hash, sha256};
use serde_json::Value;
use sluice_tests::plugins::{VARDIFF, shipped, variant};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{binary, http, ledger};

/// One reload on a busy machine: debounce, compile, try.
const RELOAD: Duration = Duration::from_secs(120);

/// A pool whose vardiff policy has a shadow.
async fn shadowed(shadow: &[u8]) -> Result<Pool> {
    let setup = Setup::without_blocks(2.4e-10).vardiff("shadow = \"next.wasm\"");
    let pool = Pool::ready(setup).await?;
    // A shadow may come when it will.
    pool.plugins.replace("next.wasm", shadow)?;
    Ok(pool)
}

/// Runs `sluice policy`; its exit code and what it says.
pub(crate) async fn policy(pool: &Pool, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(binary::sluice()?);
    command.arg("policy").args(words).arg("--config").arg(pool.config()).env("NO_COLOR", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok((output.status.code(), said.concat()))
}

/// The same, where it is to succeed.
pub(crate) async fn obeyed(pool: &Pool, words: &[&str]) -> Result<String> {
    let (code, said) = policy(pool, words).await?;
    ensure!(code == Some(0), "{words:?}: {said}");
    Ok(said)
}

async fn vardiff_until(pool: &Pool, is: impl Fn(&Value) -> bool) -> Result<Value> {
    until(pool, "vardiff", is).await
}

/// Waits until a policy is as wanted.
pub(crate) async fn until(pool: &Pool, kind: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let look = |policies: &Value| {
        let policy = policies.as_array()?.iter().find(|one| one["kind"] == kind)?;
        is(policy).then(|| policy.clone())
    };
    http::json_until(pool.http, "/api/v1/policies", RELOAD, look).await
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    sha256::Hash::hash(bytes).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadow_promote_roll_back_and_pin_under_load_lose_nothing() -> Result<()> {
    let (first, second, third) = (shipped(VARDIFF)?, variant(VARDIFF, 1)?, variant(VARDIFF, 2)?);
    let pool = shadowed(&second).await?;
    vardiff_until(&pool, |policy| policy["shadow"]["state"] == "comparing").await?;
    let load = Load { connections: 100, accounts: 10, in_flight: 2, protocols: Protocols::Sv1 };
    let mut stress = Stress::start(&pool, load).await?;
    stress.acknowledged(500).await?;
    let seen = vardiff_until(&pool, |policy| policy["shadow"]["compared"].as_u64() >= Some(100)).await?;
    ensure!(
        seen["shadow"]["differed"] == 0 && seen["shadow"]["failed"] == 0,
        "the same code differs: {seen}"
    );

    obeyed(&pool, &["promote", "vardiff", "--reason", "under load"]).await?;
    vardiff_until(&pool, |policy| policy["hash"] == *hash(&second)).await?;
    stress.acknowledged(500).await?;
    obeyed(&pool, &["rollback", "vardiff"]).await?;
    vardiff_until(&pool, |policy| policy["hash"] == *hash(&first)).await?;
    stress.acknowledged(500).await?;
    let beginning = hash(&second).get(..12).context("a hash is short")?.to_owned();
    obeyed(&pool, &["rollback", "vardiff", "--to", &beginning]).await?;
    obeyed(&pool, &["pin", "vardiff"]).await?;
    pool.plugins.replace(VARDIFF, &third)?;
    let held = vardiff_until(&pool, |policy| policy["held"] == *hash(&third)).await?;
    ensure!(held["hash"] == *hash(&second) && held["pinned"] == true, "{held}");
    stress.acknowledged(500).await?;
    obeyed(&pool, &["unpin", "vardiff"]).await?;
    vardiff_until(&pool, |policy| policy["hash"] == *hash(&third)).await?;
    stress.acknowledged(500).await?;

    let told = obeyed(&pool, &["status", "vardiff"]).await?;
    for said in ["promoted", "rolled_back", "pinned", "unpinned", "by uid ", "under load"] {
        ensure!(told.contains(said), "no {said:?} in\n{told}");
    }
    let tally = stress.finish().await?;
    ensure!(tally.disconnects == 0, "{} miners were disconnected", tally.disconnects);
    ensure!(tally.refused.is_empty(), "{} shares were refused", tally.refused.len());
    ensure!(tally.unanswered.is_empty(), "{} shares were not answered", tally.unanswered.len());
    tally.compare(&ledger::shares(&pool.data())?)
}

#[tokio::test]
async fn a_promotion_survives_kill_9_and_a_refused_order_says_why() -> Result<()> {
    let second = variant(VARDIFF, 1)?;
    let mut pool = shadowed(&second).await?;
    vardiff_until(&pool, |policy| policy["shadow"]["state"] == "comparing").await?;
    let (code, said) = policy(&pool, &["promote", "auth"]).await?;
    ensure!(code == Some(1) && said.contains("names no shadow"), "{said}");
    let (code, said) = policy(&pool, &["promote", "luck"]).await?;
    ensure!(code == Some(2) && said.contains("auth, vardiff or payout"), "{said}");
    obeyed(&pool, &["promote", "vardiff"]).await?;
    pool.kill()?;
    let (code, said) = policy(&pool, &["status"]).await?;
    ensure!(code == Some(1) && said.contains("is one running"), "{said}");
    pool.restart().await?;
    let after = vardiff_until(&pool, |policy| policy["shadow"]["state"] == "serving").await?;
    ensure!(after["hash"] == *hash(&second), "{after}");
    obeyed(&pool, &["rollback", "vardiff"]).await?;
    Ok(())
}
