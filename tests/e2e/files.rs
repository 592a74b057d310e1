//! What happens to files in real life: deleted, linked elsewhere, written in two halves.

use std::fs::{self, OpenOptions};
use std::io::Write;

use anyhow::{Result, ensure};
use bitcoin::hashes::{Hash, sha256};
use serde_json::Value;
use sluice_tests::miner::{Miner, address};
use sluice_tests::plugins::{AUTH, SOLO, VARDIFF, variant};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::{SOON, http};
use tempfile::TempDir;

async fn serving(pool: &Pool, file: &str, bytes: &[u8]) -> Result<()> {
    let hash = sha256::Hash::hash(bytes).to_string();
    let serves = |policies: &Value| {
        let mut policies = policies.as_array()?.iter();
        policies.any(|policy| policy["file"] == *file && policy["hash"] == *hash).then_some(())
    };
    http::json_until(pool.http, "/api/v1/policies", SOON, serves).await
}

async fn policies(pool: &Pool) -> Result<Vec<(Value, Value)>> {
    let policies = http::json(pool.http, "/api/v1/policies").await?;
    let key = |policy: &Value| (policy["hash"].clone(), policy["generation"].clone());
    Ok(policies.as_array().into_iter().flatten().map(key).collect())
}

#[tokio::test]
async fn deleted_files_do_not_unload_their_policies() -> Result<()> {
    let pool = Pool::ready(Setup::without_blocks(1e-6)).await?;
    let before = policies(&pool).await?;
    for file in [AUTH, VARDIFF, SOLO] {
        fs::remove_file(pool.plugins.file(file))?;
    }
    // A file that comes after them shows that the deletions have been looked at.
    let bytes = variant(AUTH, 1)?;
    let mut miner = Miner::working(pool.sv1, &format!("{}.a", address(1))).await?;
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await?;
    ensure!(policies(&pool).await? == before, "a deletion changed a policy");
    pool.plugins.replace(AUTH, &bytes)?;
    serving(&pool, AUTH, &bytes).await?;
    let after = policies(&pool).await?;
    ensure!(
        before.iter().filter(|policy| !after.contains(policy)).count() == 1,
        "{before:?} became {after:?}"
    );
    Miner::working(pool.sv1, &format!("{}.b", address(2))).await.map(drop)
}

#[tokio::test]
async fn a_swapped_symlink_is_a_new_file() -> Result<()> {
    let pool = Pool::ready(Setup::without_blocks(1.0)).await?;
    let store = TempDir::new()?;
    for label in 1..=3 {
        let bytes = variant(VARDIFF, label)?;
        let target = store.path().join(format!("release-{label}.wasm"));
        pool.plugins.link(VARDIFF, (&target, &bytes))?;
        serving(&pool, VARDIFF, &bytes).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_file_written_in_two_halves_serves_when_it_is_whole() -> Result<()> {
    let pool = Pool::ready(Setup::without_blocks(1.0)).await?;
    let bytes = variant(AUTH, 7)?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut file = OpenOptions::new().write(true).truncate(true).open(pool.plugins.file(AUTH))?;
    file.write_all(first)?;
    file.sync_all()?;
    // The half is looked at, and refused: then the writer goes on.
    let refused = |policies: &Value| {
        let mut policies = policies.as_array()?.iter();
        policies.any(|policy| policy["last_reload"]["outcome"] == "rejected").then_some(())
    };
    http::json_until(pool.http, "/api/v1/policies", SOON, refused).await?;
    Miner::working(pool.sv1, &format!("{}.a", address(1))).await?;
    file.write_all(second)?;
    drop(file);
    serving(&pool, AUTH, &bytes).await
}
