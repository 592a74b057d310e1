//! Who is let in: an address book with an open door, until its author bans somebody.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_tests::miner::{Miner, address};
use sluice_tests::plugins::AUTH;
use sluice_tests::pool::{Chain, Difficulty, Setup};
use sluice_tests::sv2::Kind;
use sluice_tests::sv2::client::Opening;

use crate::author::Author;
use crate::cell::{BAN, BANNED};
use crate::peers::Peers;
use crate::scene::Scene;

const START: f64 = 1e-9;
/// Of Alice in the book: where she starts.
const LEAST: f64 = 0.001;
const PASSWORD: &str = "open sesame";

pub(crate) async fn prove(author: &mut Author, first: &[u8]) -> Result<()> {
    let chain = Chain::Simulated { difficulty: 1e9, transactions: 1, block_interval: None };
    let setup = Setup::new(chain, Difficulty { start: START, floor: START, ceiling: 1.0 }).sv2();
    let scene = Scene::open(setup, AUTH).await?;
    let alice = address(701);
    let book = format!(
        "open = true, accounts = {{ alice = {{ address = \"{alice}\", password = \"{PASSWORD}\", \
         minimum-difficulty = {LEAST} }} }}"
    );
    scene.load_with(author, first, ("network = \"regtest\" }", &format!("{book} }}"))).await?;

    book_is_kept(&scene).await?;
    let mut guests = guests(&scene).await?;
    author.tell("the miners see the starter's answers");

    let second = author.second_build().await?;
    scene.load(author, &second).await?;
    stay_alone(&mut guests).await?;
    book_is_kept(&scene).await?;
    let mut late = Miner::connect(scene.pool.sv1).await?;
    late.subscribe(None).await?;
    banned(&mut late).await?;
    author.tell("the miners see the edit's answers, and nobody was cut off");
    Ok(())
}

/// Alice by her password, at her difficulty, mining to her address.
async fn book_is_kept(scene: &Scene) -> Result<()> {
    let mut miner = Miner::connect(scene.pool.sv1).await?;
    miner.subscribe(None).await?;
    let wrong = miner.call("mining.authorize", json!(["alice.rig", "x"])).await?;
    ensure!(wrong["result"] != true, "a wrong password is let in: {wrong}");
    miner.authorize("alice.rig", PASSWORD).await?;
    let job = miner.job().await?;
    ensure!(miner.difficulty() == Some(LEAST), "alice works at {:?}", miner.difficulty());
    let subscription = miner.subscription()?.clone();
    let outputs = job.outputs(&subscription.extranonce1, subscription.extranonce2_size)?;
    let script = address(701).script_pubkey();
    ensure!(
        outputs.iter().any(|(paid, sats)| *paid == script && *sats > 0),
        "alice is not paid: {outputs:?}"
    );
    Ok(())
}

/// Two who are let in while the door is open, and work.
async fn guests(scene: &Scene) -> Result<Peers> {
    let [one, two] = ["one", "two"].map(|worker| format!("{BANNED}.{worker}"));
    let mut guests = Peers::come(scene, &one, &two).await?;
    ensure!(guests.sv1.difficulty() == Some(START), "a guest works at {:?}", guests.sv1.difficulty());
    guests.work([1, 1]).await?;
    Ok(guests)
}

/// They work on, and bring nobody in.
async fn stay_alone(guests: &mut Peers) -> Result<()> {
    guests.work([1, 1]).await?;
    banned(&mut guests.sv1).await?;
    let user = format!("{BANNED}.three");
    let refused = guests.sv2.try_open(&Opening::of(Kind::Extended, &user)).await?;
    ensure!(refused.is_err(), "{user} was let in over SV2");
    guests.work([1, 1]).await
}

/// The plugin's own words come back (V1-23).
async fn banned(miner: &mut Miner) -> Result<()> {
    let reply = miner.call("mining.authorize", json!([format!("{BANNED}.late"), "x"])).await?;
    let why = reply["error"][1].as_str().with_context(|| format!("no refusal: {reply}"))?;
    ensure!(reply["result"] != true && why.contains(BAN), "{reply}");
    Ok(())
}
