//! Policies replaced while two hundred miners submit: nobody notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bitcoin::hashes::{Hash, sha256};
use serde_json::Value;
use sluice_tests::plugins::{AUTH, Broken, SOLO, VARDIFF, shipped, variant};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{SOON, http, ledger};

const REPLACEMENTS: usize = 50;
/// Different good files for each policy; the rest is repetition.
const VARIANTS: usize = 5;
/// One reload on a busy machine: debounce, compile, try.
const RELOAD: Duration = Duration::from_secs(120);

/// What the API says of the policy in `file`.
async fn policy(pool: &Pool, file: &str) -> Result<Value> {
    let policies = http::json(pool.http, "/api/v1/policies").await?;
    of(&policies, file).context("the policy is not listed")
}

fn of(policies: &Value, file: &str) -> Option<Value> {
    policies
        .as_array()?
        .iter()
        .find(|policy| policy["file"].as_str().is_some_and(|name| name.ends_with(file)))
        .cloned()
}

/// Puts a good file in place and waits until it is what serves.
async fn replace_good(pool: &Pool, file: &str, bytes: &[u8]) -> Result<()> {
    let hash = sha256::Hash::hash(bytes).to_string();
    pool.plugins.replace(file, bytes)?;
    let applied = |policies: &Value| {
        let policy = of(policies, file)?;
        (policy["hash"] == *hash && policy["last_reload"]["outcome"] == "applied").then_some(())
    };
    http::json_until(pool.http, "/api/v1/policies", RELOAD, applied).await
}

/// Puts a broken file in place and waits until it is refused; what served before must still serve.
async fn replace_broken(pool: &Pool, file: &str, broken: Broken) -> Result<()> {
    let before = policy(pool, file).await?;
    pool.plugins.replace(file, &broken.bytes(file)?)?;
    let refused = |policies: &Value| {
        let policy = of(policies, file)?;
        let reload = &policy["last_reload"];
        (reload["outcome"] == "rejected" && *reload != before["last_reload"]).then_some(policy)
    };
    let after = http::json_until(pool.http, "/api/v1/policies", RELOAD, refused).await?;
    let error = after["last_reload"]["error"].as_str().unwrap_or_default();
    ensure!(error.len() > 10, "{file} as {broken:?} is refused without a reason: {after}");
    ensure!(
        after["hash"] == before["hash"] && after["generation"] == before["generation"],
        "{before} became {after}"
    );
    Ok(())
}

async fn replace_many(pool: &Pool, file: &str) -> Result<()> {
    let generation = policy(pool, file).await?["generation"].as_u64().context("no generation")?;
    let mut good = 0;
    for number in 0..REPLACEMENTS {
        if number % VARIANTS == VARIANTS - 1 {
            let broken = Broken::ALL[(number / VARIANTS) % Broken::ALL.len()];
            replace_broken(pool, file, broken).await?;
        } else {
            let label = u8::try_from(number % VARIANTS)?;
            replace_good(pool, file, &variant(file, label)?).await?;
            good += 1;
        }
    }
    let last = policy(pool, file).await?["generation"].as_u64().context("no generation")?;
    ensure!(last == generation + good, "{good} reloads moved the generation from {generation} to {last}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_replacements_of_each_policy_under_load_lose_nothing() -> Result<()> {
    replace_under_load(Setup::without_blocks(2.4e-10), Protocols::Sv1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_half_of_the_miners_speak_sv2() -> Result<()> {
    let setup = Setup::without_blocks(2.4e-10).sv2_with("acknowledge_after_ms = 50");
    replace_under_load(setup, Protocols::Mixed).await
}

async fn replace_under_load(setup: Setup, protocols: Protocols) -> Result<()> {
    let pool = Pool::ready(setup).await?;
    let load = Load { connections: 200, accounts: 20, in_flight: 2, protocols };
    let mut stress = Stress::start(&pool, load).await?;
    stress.acknowledged(1000).await?;
    tokio::try_join!(replace_many(&pool, AUTH), replace_many(&pool, VARDIFF), replace_many(&pool, SOLO))?;
    stress.acknowledged(1000).await?;
    let tally = stress.finish().await?;
    ensure!(tally.disconnects == 0, "{} miners were disconnected", tally.disconnects);
    ensure!(
        tally.refused.is_empty(),
        "{} shares were refused, first {:?}",
        tally.refused.len(),
        tally.refused.first()
    );
    ensure!(tally.unanswered.is_empty(), "{} shares were not answered", tally.unanswered.len());
    tally.compare(&ledger::shares(&pool.data())?)?;
    let counted = http::json(pool.http, "/api/v1/pool").await?["shares"]["accepted"].clone();
    ensure!(
        counted == tally.acknowledged.len(),
        "the API counts {counted}, not {}",
        tally.acknowledged.len()
    );
    Ok(())
}

#[tokio::test]
async fn every_kind_of_broken_file_is_refused_with_its_reason() -> Result<()> {
    let pool = Pool::ready(Setup::without_blocks(1.0)).await?;
    for file in [AUTH, VARDIFF, SOLO] {
        for broken in Broken::ALL {
            replace_broken(&pool, file, broken).await.with_context(|| format!("{file} as {broken:?}"))?;
        }
        // The shipped file again is what serves already.
        pool.plugins.replace(file, &shipped(file)?)?;
        let unchanged = |policies: &Value| {
            let outcome = of(policies, file)?["last_reload"]["outcome"].clone();
            (outcome == "unchanged" || outcome == "applied").then_some(())
        };
        http::json_until(pool.http, "/api/v1/policies", SOON, unchanged).await?;
    }
    Ok(())
}
