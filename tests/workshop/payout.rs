//! Who is paid: everybody by work less the fee of the settings, until the author lets one account's work count twice.

use std::collections::BTreeMap;

use anyhow::Result;
use bitcoin::{Address, ScriptBuf};
use sluice_tests::miner::address;
use sluice_tests::plugins::SOLO;
use sluice_tests::pool::{HOUSE, Payout, Setup};
use sluice_tests::{share, sv2};

use crate::author::Author;
use crate::cell::friend;
use crate::peers::Peers;
use crate::scene::Scene;

const FEE_BPS: u64 = 150;
/// Shares of the miner over SV1, and of the one over SV2.
const SHARES: [u64; 2] = [3, 1];

type Paid = BTreeMap<ScriptBuf, u64>;

pub(crate) async fn prove(author: &mut Author, first: &[u8]) -> Result<()> {
    let payout = Payout::Solo { fee_bps: u32::try_from(FEE_BPS)? };
    let setup = Setup { payout, ..Setup::without_blocks(2.4e-10) }.with("refresh_s = 1").sv2();
    let scene = Scene::open(setup, SOLO).await?;
    let mut miners = Peers::come(&scene, &somebody().to_string(), &friend().to_string()).await?;
    miners.work(SHARES).await?;
    scene.load(author, first).await?;
    offered(&mut miners, SHARES).await?;
    author.tell("the coinbases that miners are sent pay by work, less the fee");

    let second = author.second_build().await?;
    scene.load(author, &second).await?;
    offered(&mut miners, [SHARES[0], 2 * SHARES[1]]).await?;
    author.tell("the same miners are sent coinbases that pay the friend twice");
    miners.work([1, 1]).await
}

/// Waits for jobs of both whose coinbase pays by these weights.
async fn offered(miners: &mut Peers, weights: [u64; 2]) -> Result<()> {
    let subscription = miners.sv1.subscription()?.clone();
    let outputs = |job: &share::Job| job.outputs(&subscription.extranonce1, subscription.extranonce2_size);
    miners.sv1.next_job(|job| outputs(job).is_ok_and(|paid| is_split(paid, weights))).await?;
    let size = miners.sv2.channel(miners.channel)?.extranonce_size;
    let fits = |job: &sv2::Job| job.outputs(size).is_ok_and(|paid| is_split(paid, weights));
    miners.sv2.next_job(miners.channel, fits).await?;
    Ok(())
}

fn somebody() -> Address {
    address(701)
}

/// Whether all that is paid goes to the house for its fee, and to the two by their weights.
fn is_split(outputs: Vec<(ScriptBuf, u64)>, weights: [u64; 2]) -> bool {
    let paid: Paid = outputs.into_iter().filter(|(script, _)| !script.is_op_return()).collect();
    let reward: u64 = paid.values().sum();
    let fee = reward * FEE_BPS / 10_000;
    let house: Address = HOUSE.parse::<Address<_>>().map(Address::assume_checked).expect("a regtest address");
    // The largest remainder has the satoshi that is left.
    let (total, rest) = (weights[0] + weights[1], reward - fee);
    let friends = rest * weights[1] / total;
    let friends = friends + u64::from(2 * (rest * weights[1] % total) > total);
    let own = [(somebody().script_pubkey(), rest - friends), (friend().script_pubkey(), friends)];
    paid == own.into_iter().chain([(house.script_pubkey(), fee)]).collect()
}
