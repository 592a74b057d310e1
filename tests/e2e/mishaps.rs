//! What goes wrong around money: a policy that fails while a round waits, accounts that cannot be paid, two blocks of the
//! pool at one height.

use anyhow::{Context, Result, ensure};
use bitcoin::BlockHash;
use serde_json::Value;
use sluice_core::policy::PolicyKind;
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::{Miner, address};
use sluice_tests::payouts::Cashier;
use sluice_tests::plugins::{PPLNS, variant};
use sluice_tests::pool::{Payout, Setup};
use sluice_tests::{SOON, http, ledger};

use crate::guest::Guest;
use crate::regtest::{house, mine_block, mine_through};
use crate::reorg::shown;
use crate::scene::{SUBSIDY, Scene, limited, outputs};

const PAYOUT: Payout = Payout::Pplns { fee_bps: 100, window: 1000.0 };

fn setup(node: &Bitcoind) -> Setup {
    Setup::on_nodes(vec![node.access()], PAYOUT).with("refresh_s = 1\nstale_grace_ms = 5000")
}

#[tokio::test]
async fn a_round_waits_for_a_policy_that_fails_and_is_settled_once_by_the_mended_one() -> Result<()> {
    limited(async {
        let Some(mut scene) = Scene::open("a held round", 20, setup).await? else { return Ok(()) };
        let mut miner = scene.miner(&address(301)).await?;
        scene.work(&mut miner, 2).await?;
        // Previews are answered, so that there are jobs.
        let failing =
            Guest::new(PolicyKind::Payout, "payout-pplns").fails("settle", 0, "not today", "(local.get 0)");
        scene.new_code(PPLNS, &failing.build()).await?;
        let (block, _) = mine_through(&scene.node, &mut miner).await?;
        let hash = block.block_hash();
        is_held(&scene, &hash).await?;
        // It waits through the end of the pool, too.
        scene.pool.kill()?;
        scene.pool.restart().await?;
        is_held(&scene, &hash).await?;
        let mended = scene.new_code(PPLNS, &variant(PPLNS, 1)?).await?;
        shown(&scene.pool, &hash, "immature", 1).await?;
        ensure!(ledger::booked(&scene.pool.data(), &hash)?.transactions == 1);
        let decisions = ledger::decisions(&scene.pool.data())?;
        ensure!(decisions.len() == 1 && decisions[0].policy_hash == mended, "{decisions:?}");
        let free = |money: &Value| (money["held_rounds"] == 0).then_some(());
        http::json_until(scene.pool.http, "/api/v1/money", SOON, free).await?;
        ensure!(http::metric(scene.pool.http, "sluice_rounds_held").await? == 0.0);
        scene.holds().await
    })
    .await
}

async fn is_held(scene: &Scene, hash: &BlockHash) -> Result<()> {
    let at = scene.pool.http;
    http::json_until(at, "/api/v1/money", SOON, |money| (money["held_rounds"] == 1).then_some(())).await?;
    http::metric_reaches(at, "sluice_rounds_held", 1.0).await?;
    let waits = |blocks: &Value| {
        let block = blocks.as_array()?.iter().find(|block| block["hash"] == hash.to_string())?;
        (block["settled"] == false && block["state"] == "immature").then_some(())
    };
    http::json_until(at, "/api/v1/blocks", SOON, waits).await?;
    ensure!(scene.balances()?.is_empty() && scene.credits().await?.is_empty(), "{:?}", scene.balances()?);
    let (code, said) = scene.audit()?;
    ensure!(code == Some(1) && said.contains("held     1 blocks that count are not settled"), "{said}");
    Ok(())
}

#[tokio::test]
async fn an_account_without_an_address_of_this_network_is_owed_and_never_paid_elsewhere() -> Result<()> {
    // The example of BIP 173 again, on the main network.
    const FOREIGN: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    let (alice, bob) = (address(311), address(312));
    let table = format!(
        "{{ alice = {{ payout-address = \"{alice}\" }}, bob = {{}}, mallory = {{ payout-address = \"{FOREIGN}\" }} }}"
    );
    limited(async {
        let setup = |node: &Bitcoind| setup(node).accounts(&table);
        let Some(scene) = Scene::open("accounts without an address", 20, setup).await? else { return Ok(()) };
        let mut mallory = Miner::connect(scene.pool.sv1).await?;
        mallory.subscribe(None).await?;
        let reply = mallory.call("mining.authorize", serde_json::json!(["mallory", "x"])).await?;
        ensure!(reply["result"] != true && reply.to_string().contains("network"), "{reply}");

        let mut first = Miner::working(scene.pool.sv1, "alice").await?;
        let mut second = Miner::working(scene.pool.sv1, "bob").await?;
        scene.work(&mut first, 1).await?;
        scene.work(&mut second, 1).await?;
        let rest = SUBSIDY / 100 * 99;
        let expected =
            [(alice.script_pubkey(), rest / 2), (house()?, SUBSIDY - rest / 2)].into_iter().collect();
        let block = scene.block_paying(&mut first, &expected).await?;
        let bobs = scene.credits_of(&block.block_hash()).await?["bob"];
        ensure!(bobs > 0 && scene.balances()?["bob"] == bobs, "{:?}", scene.balances()?);

        let desk = Cashier::of(&scene.pool.config())?;
        ensure!(desk.standing("bob")?["standing"] == "nothing", "{}", desk.standing("bob")?);
        scene.mature(&block.block_hash()).await?;
        let due = desk.standing("bob")?;
        ensure!(due["standing"] == "no_address" && due["amount_sat"] == bobs, "{due}");
        let table = desk.done("list")?;
        ensure!(table.contains("bob  gave no address"), "{table}");
        let second = scene.block(&mut first).await?;
        ensure!(!outputs(&second)?.contains_key(&bob.script_pubkey()), "{:?}", outputs(&second)?);

        // Once he names one, the next login has it.
        let named = format!("bob = {{ payout-address = \"{bob}\" }}");
        scene.new_settings("auth", "bob = {}", &named).await?;
        Miner::working(scene.pool.sv1, "bob").await?;
        let due = desk.standing("bob")?;
        ensure!(due["standing"] == "payable" && due["address"] == bob.to_string(), "{due}");
        scene.holds().await
    })
    .await
}

#[tokio::test]
async fn of_two_blocks_at_one_height_the_one_in_the_chain_counts() -> Result<()> {
    limited(async {
        let Some(scene) = Scene::open("two blocks at one height", 20, setup).await? else { return Ok(()) };
        let (alice, bob) = (address(321), address(322));
        let (mut first, mut second) = (scene.miner(&alice).await?, scene.miner(&bob).await?);
        let (one, other) = (first.job().await?, second.job().await?);
        ensure!(one.previous == other.previous, "not the same template");
        let shares = [mine_block(&mut first, &one)?, mine_block(&mut second, &other)?];
        first.submit_good(&shares[0]).await?;
        second.submit_good(&shares[1]).await?;
        let [mine, late] = shares.map(|share| bitcoin::hashes::Hash::from_byte_array(share.hash));
        shown(&scene.pool, &mine, "immature", 1).await?;
        lost(&scene, &late).await?;
        let pays = |block: &BlockHash| {
            Ok::<_, anyhow::Error>(ledger::booked(&scene.pool.data(), block)?.reward != 0)
        };
        ensure!(pays(&mine)? && !pays(&late)?, "both count");
        let before = scene.balances()?;

        // The node changes its mind: the other one counts, and is settled only now.
        scene.node.invalidate(&mine)?;
        ensure!(scene.node.best()? == late, "the node does not have the other block");
        shown(&scene.pool, &late, "immature", 1).await?;
        shown(&scene.pool, &mine, "orphaned", 0).await?;
        ensure!(!pays(&mine)? && pays(&late)?, "not exactly one counts");
        scene.holds().await?;
        // And back.
        scene.node.reconsider(&mine)?;
        scene.node.invalidate(&late)?;
        shown(&scene.pool, &mine, "immature", 1).await?;
        shown(&scene.pool, &late, "orphaned", 0).await?;
        ensure!(pays(&mine)? && !pays(&late)?, "not exactly one counts");
        ensure!(scene.balances()? == before, "{before:?} became {:?}", scene.balances()?);
        scene.holds().await
    })
    .await
}

/// The node keeps it and does not build on it.
async fn lost(scene: &Scene, hash: &BlockHash) -> Result<()> {
    let is = |blocks: &Value| {
        let block = blocks.as_array()?.iter().find(|block| block["hash"] == hash.to_string())?;
        let reason = block["state"] == "rejected" && block["reason"] == "inconclusive";
        (reason || block["state"] == "orphaned").then_some(())
    };
    http::json_until(scene.pool.http, "/api/v1/blocks", SOON, is).await.context("the late block")
}
