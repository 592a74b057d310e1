//! SRI's `mining_device` in front of the pool: a standard channel, no version rolling, times a minute ahead (P-25).

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_interop::pool::Sluice;
use sluice_interop::program::{Program, Running};
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::address;
use sluice_tests::pool::{Chain, Difficulty, Payout, Setup};
use sluice_tests::{SOON, http};

/// `pause`: microseconds between two hashes.
fn start(program: PathBuf, sluice: &Sluice, pause: u32) -> Result<Running> {
    let mut command = Command::new(program);
    command.args(["--address-pool", &sluice.address.to_string()]);
    command.args(["--pubkey-pool", &sluice.authority.to_string()]);
    command.args(["--id-user", &format!("{}.device", address(1))]);
    command.args(["--id-device", "cpu", "--cores", "1", "--handicap", &pause.to_string()]);
    Running::start(command)
}

/// It lives, and the pool has refused nothing but what a new block made stale on its way, and what it sent twice: at
/// each new job it begins its old header anew before it takes the new one.
fn is_content(device: &mut Running) -> Result<()> {
    ensure!(device.is_running()?, "it ended:\n{}", device.tail());
    let mut refused = device.said(&["SubmitSharesError"]);
    refused.retain(|line| !line.contains("stale-share") && !line.contains("duplicate-share"));
    ensure!(refused.is_empty() && device.said(&["panicked"]).is_empty(), "{}", device.tail());
    Ok(())
}

#[tokio::test]
async fn it_mines() -> Result<()> {
    let Some(program) = Program::MiningDevice.find_or_skip("mining_device")? else { return Ok(()) };
    // A block every few seconds, so that it follows tips too.
    let chain =
        Chain::Simulated { difficulty: 1e9, transactions: 20, block_interval: Some(Duration::from_secs(3)) };
    let sluice = Sluice::start(Setup::new(chain, Difficulty::fixed(2e-6))).await?;
    let mut device = start(program, &sluice, 0)?;
    let enough = |workers: &Value| {
        let worker = workers.as_array()?.iter().find(|worker| worker["worker"] == "device")?;
        (worker["account"] == address(1).to_string() && worker["shares"].as_u64()? >= 30).then_some(())
    };
    let counted = http::json_until(sluice.pool.http, "/api/v1/workers", SOON, enough).await;
    counted.with_context(|| device.tail())?;
    device.says(&["SubmitSharesSuccess"], SOON).await?;
    device.says_often(&["SetNewPrevHash"], 3, SOON).await?;
    is_content(&mut device)
}

#[tokio::test]
async fn it_finds_a_block() -> Result<()> {
    let test = "mining_device on regtest";
    let Some(program) = Program::MiningDevice.find_or_skip(test)? else { return Ok(()) };
    let Some(node) = Bitcoind::start_or_skip(test).await? else { return Ok(()) };
    let setup = Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 });
    let sluice = Sluice::start(setup).await?;
    let best = node.best()?;
    // A hash a second: every second one is a block, and the device does not roll the time that the next must be after.
    let mut device = start(program, &sluice, 1_000_000)?;
    let found = node.best_other_than(best).await.with_context(|| device.tail())?;
    let payee = address(1).script_pubkey();
    ensure!(node.block(&found)?.txdata[0].output.iter().any(|output| output.script_pubkey == payee));
    // And on the next tip.
    node.best_other_than(found).await.with_context(|| device.tail())?;
    is_content(&mut device)
}
