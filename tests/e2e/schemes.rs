//! Each payout scheme on a real node: what its coinbases pay, what its credits are, and what becomes of both when a block
//! is buried or leaves the chain.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Address, Block, ScriptBuf};
use serde_json::json;
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::{Miner, address};
use sluice_tests::plugins::{FPPS, PPLNS, shipped, variant};
use sluice_tests::pool::{Payout, Setup};
use sluice_tests::{ledger, spend};

use crate::regtest::house;
use crate::reorg::shown;
use crate::scene::{SHARES_PER_BLOCK, SUBSIDY, Scene, limited, outputs};

fn setup(payout: Payout) -> impl FnOnce(&Bitcoind) -> Setup {
    move |node| {
        Setup::on_nodes(vec![node.access()], payout)
            .with("refresh_s = 1")
            .tables("[ledger]\naccrue_interval_s = 1")
    }
}

/// A reward after the pool's fee, and that fee.
fn less_fee(reward: u64, payout: Payout) -> (u64, u64) {
    let fee = reward * u64::from(payout.fee_bps()) / 10_000;
    (reward - fee, fee)
}

/// Whole satoshis in proportion to work, the largest remainders first.
fn split(sats: u64, work: &[u64]) -> Vec<u64> {
    let total: u64 = work.iter().sum();
    let mut parts: Vec<u64> = work.iter().map(|own| sats * own / total).collect();
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(sats * work[*index] % total));
    let left = usize::try_from(sats - parts.iter().sum::<u64>()).unwrap_or(usize::MAX);
    order.into_iter().take(left).for_each(|index| parts[index] += 1);
    parts
}

fn signed(sats: u64) -> i64 {
    i64::try_from(sats).unwrap_or(i64::MAX)
}

/// A block is buried for good; the next one is replaced by others', and all that it brought is taken back.
async fn buried_and_replaced(scene: &Scene, miner: &mut Miner, first: &Block) -> Result<()> {
    scene.mature(&first.block_hash()).await?;
    let before = scene.balances()?;
    let second = scene.block(miner).await?.block_hash();
    let booked = ledger::booked(&scene.pool.data(), &second)?;
    ensure!((booked.transactions, booked.reward) == (1, -signed(SUBSIDY)), "the books have {booked:?}");
    scene.orphan(&second).await?;
    ensure!(scene.balances()? == before, "{before:?} became {:?}", scene.balances()?);
    let hash = second.to_string();
    let credits = scene.credits().await?;
    let mut of_second = credits.iter().filter(|credit| credit["block"] == *hash).peekable();
    ensure!(
        of_second.peek().is_some() && of_second.all(|credit| credit["state"] == "orphaned"),
        "{credits:?}"
    );
    ensure!(ledger::booked(&scene.pool.data(), &first.block_hash())?.state == "mature");
    scene.holds().await
}

#[tokio::test]
async fn solo_pays_the_finder_and_owes_nothing() -> Result<()> {
    let payout = Payout::Solo { fee_bps: 150 };
    limited(async {
        let Some(scene) = Scene::open("solo, buried and orphaned", 20, setup(payout)).await? else {
            return Ok(());
        };
        let (alice, bob) = (address(101), address(102));
        let (mut finder, mut other) = (scene.miner(&alice).await?, scene.miner(&bob).await?);
        scene.work(&mut other, 3).await?;
        let (rest, fee) = less_fee(SUBSIDY, payout);
        let expected = BTreeMap::from([(alice.script_pubkey(), rest), (house()?, fee)]);
        let block = scene.block_paying(&mut finder, &expected).await?;
        let credits = scene.credits_of(&block.block_hash()).await?;
        ensure!(credits == BTreeMap::from([(alice.to_string(), signed(rest))]), "{credits:?}");
        ensure!(scene.balances()?.is_empty(), "{:?}", scene.balances()?);
        buried_and_replaced(&scene, &mut finder, &block).await?;
        scene.names(payout).await
    })
    .await
}

/// Three shares of Alice's to one of Bob's and a block on top: paid in its coinbase as it was before that block.
async fn shared_by_work(test: &str, payout: Payout) -> Result<()> {
    let Some(scene) = Scene::open(test, 20, setup(payout)).await? else { return Ok(()) };
    let (alice, bob) = (address(111), address(112));
    let (mut first, mut second) = (scene.miner(&alice).await?, scene.miner(&bob).await?);
    scene.work(&mut first, 9).await?;
    scene.work(&mut second, 3).await?;
    let (rest, fee) = less_fee(SUBSIDY, payout);
    let preview = split(rest, &[9, 3]);
    let expected = BTreeMap::from([
        (alice.script_pubkey(), preview[0]),
        (bob.script_pubkey(), preview[1]),
        (house()?, fee),
    ]);
    let block = scene.block_paying(&mut first, &expected).await?;
    // The share that is the block counts as well: the difference is a balance.
    let credit = split(rest, &[10, 3]);
    let credits = scene.credits_of(&block.block_hash()).await?;
    let names = [alice.to_string(), bob.to_string()];
    let expected: BTreeMap<_, _> = names.iter().cloned().zip(credit.iter().copied().map(signed)).collect();
    ensure!(credits == expected, "{credits:?}, not {expected:?}");
    let owed = |index: usize| (names[index].clone(), signed(credit[index]) - signed(preview[index]));
    ensure!(scene.balances()? == BTreeMap::from([owed(0), owed(1)]), "{:?}", scene.balances()?);
    buried_and_replaced(&scene, &mut first, &block).await?;
    scene.names(payout).await
}

#[tokio::test]
async fn pplns_pays_by_work_and_keeps_the_difference_as_balances() -> Result<()> {
    limited(shared_by_work("pplns, buried and orphaned", Payout::Pplns { fee_bps: 150, window: 1000.0 }))
        .await
}

#[tokio::test]
async fn tides_pays_by_work_and_keeps_the_difference_as_balances() -> Result<()> {
    limited(shared_by_work("tides, buried and orphaned", Payout::Tides { fee_bps: 150, window: 8.0 })).await
}

#[tokio::test]
async fn fpps_pays_every_share_whatever_becomes_of_the_blocks() -> Result<()> {
    let payout = Payout::Fpps { fee_bps: 150 };
    limited(async {
        let Some(scene) = Scene::open("fpps, buried and orphaned", 20, setup(payout)).await? else {
            return Ok(());
        };
        let (alice, bob) = (address(121), address(122));
        let (mut first, mut second) = (scene.miner(&alice).await?, scene.miner(&bob).await?);
        scene.work(&mut first, 3).await?;
        scene.work(&mut second, 2).await?;
        let block = scene.block_paying(&mut first, &BTreeMap::from([(house()?, SUBSIDY)])).await?;
        ensure!(scene.credits_of(&block.block_hash()).await?.is_empty(), "a block is not shared out");
        let share = signed(less_fee(SUBSIDY / SHARES_PER_BLOCK, payout).0);
        let paid = |alices: i64, bobs: i64| {
            BTreeMap::from([
                (alice.to_string(), alices * share),
                (bob.to_string(), bobs * share),
                (String::new(), -(alices + bobs) * share),
            ])
        };
        scene.accrued(6).await?;
        ensure!(scene.balances()? == paid(4, 2), "{:?}", scene.balances()?);
        scene.mature(&block.block_hash()).await?;
        let second = scene.block(&mut first).await?.block_hash();
        scene.accrued(7).await?;
        scene.orphan(&second).await?;
        ensure!(scene.balances()? == paid(5, 2), "{:?}", scene.balances()?);
        let gone = ledger::booked(&scene.pool.data(), &second)?;
        ensure!((gone.state.as_str(), gone.reward, gone.moved) == ("orphaned", 0, 0), "{gone:?}");
        // What work brought has no block whose state could matter.
        let credits = scene.credits().await?;
        let mut by_work = credits.iter().filter(|credit| credit["shares"].is_array());
        ensure!(by_work.all(|credit| credit["block"].is_null() && credit["state"].is_null()), "{credits:?}");
        scene.holds().await?;
        scene.names(payout).await
    })
    .await
}

/// One share of the smallest of six accounts is dust on a chain this long.
const LONG: u32 = 2850;
const SMALL_SUBSIDY: u64 = SUBSIDY >> 19;
const CLASS: &str = "[[pool.coinbase_class]]\nname = \"roomy\"\nagents = [\"roomy\"]\nbytes = 6500\n";

#[tokio::test]
async fn tides_carries_dust_and_what_has_no_room_until_a_coinbase_pays_it() -> Result<()> {
    let payout = Payout::Tides { fee_bps: 5000, window: 1000.0 };
    // Room for two accounts and the house.
    let setup = |node: &Bitcoind| {
        let mut setup = setup(payout)(node);
        setup.tables += "\n";
        setup.tables += CLASS;
        Setup { pool: "coinbase_bytes = 250".to_owned(), ..setup }
    };
    limited(async {
        let Some(scene) = Scene::open("tides carries", LONG, setup).await? else { return Ok(()) };
        let accounts: Vec<Address> = (131..137).map(address).collect();
        let mut works: Vec<u64> = (1..7).collect();
        for (account, shares) in accounts.iter().zip(1..) {
            scene.work(&mut scene.miner(account).await?, shares).await?;
        }
        let (rest, _) = less_fee(SMALL_SUBSIDY, payout);
        let preview = split(rest, &works);
        let mut expected: BTreeMap<ScriptBuf, u64> =
            (4..6).map(|index| (accounts[index].script_pubkey(), preview[index])).collect();
        expected.insert(house()?, SMALL_SUBSIDY - preview[4] - preview[5]);
        let mut finder = scene.miner(&accounts[5]).await?;
        let first = scene.block_paying(&mut finder, &expected).await?;
        works[5] += 1;
        let credits = split(rest, &works);
        ensure!(
            credits[0] < 294 && 2 * credits[0] >= 294,
            "{credits:?}: the first must be dust, and twice that not"
        );
        // What was not paid is owed, all of it.
        let owed = scene.balances()?;
        for index in 0..6 {
            let paid = if index < 4 { 0 } else { preview[index] };
            let balance = owed.get(&accounts[index].to_string()).copied().unwrap_or(0);
            ensure!(balance == signed(credits[index]) - signed(paid), "account {index}: {owed:?}");
        }
        scene.mature(&first.block_hash()).await?;

        // Somebody with room finds the next: everybody's credit, and what each is owed, out of the house's part.
        let mut expected = BTreeMap::new();
        for (account, credit) in accounts.iter().zip(&credits) {
            let owed = owed.get(&account.to_string()).copied().unwrap_or(0);
            expected.insert(account.script_pubkey(), credit + u64::try_from(owed).unwrap_or(0));
        }
        expected.insert(house()?, SMALL_SUBSIDY - expected.values().sum::<u64>());
        let mut roomy = Miner::working_as(scene.pool.sv1, &accounts[5].to_string(), "roomy/1").await?;
        let second = scene.block_paying(&mut roomy, &expected).await?;
        let blocks = [outputs(&first)?, outputs(&second)?];
        let (credited, balances) = (ledger::credits(&scene.pool.data())?, scene.balances()?);
        for (index, account) in accounts.iter().enumerate() {
            let name = account.to_string();
            let paid: u64 = blocks.iter().filter_map(|paid| paid.get(&account.script_pubkey())).sum();
            let balance = balances.get(&name).copied().unwrap_or(0);
            ensure!(credited[&name] == signed(paid) + balance, "account {index}: {credited:?} {balances:?}");
            // Only the last share's difference is left.
            ensure!(index == 4 || balance.abs() < signed(credits[0]), "account {index}: {balances:?}");
        }
        scene.holds().await?;
        scene.names(payout).await
    })
    .await
}

#[tokio::test]
async fn fpps_reloads_take_effect_at_once_and_each_credit_names_its_code_and_settings() -> Result<()> {
    let payout = Payout::Fpps { fee_bps: 200 };
    // Reloads alone make credits, and the end of the pool.
    let rarely = |node: &Bitcoind| setup(payout)(node).tables("[ledger]\naccrue_interval_s = 600");
    limited(async {
        let Some(mut scene) = Scene::open("fpps reloads", 20, rarely).await? else { return Ok(()) };
        let account = address(141);
        let mut miner = scene.miner(&account).await?;
        scene.work(&mut miner, 3).await?;
        let shipped = sha256::Hash::hash(&shipped(FPPS)?).to_string();
        let code = scene.new_code(FPPS, &variant(FPPS, 1)?).await?;
        scene.accrued(3).await?;
        scene.work(&mut miner, 2).await?;
        scene.new_settings("payout", "fee-bps = 200", "fee-bps = 300").await?;
        scene.accrued(5).await?;
        let other = scene.new_code(FPPS, &variant(FPPS, 2)?).await?;
        scene.work(&mut miner, 1).await?;
        ensure!(scene.pool.stop().await?.success());
        // By share: who credited it, with what fee. The pool's first round of credits may have had some of the first three.
        let mut made = Vec::new();
        for decision in ledger::decisions(&scene.pool.data())? {
            let (first, through) = decision.shares.context("a round under fpps")?;
            ensure!(usize::try_from(first)? == made.len() + 1, "{first} comes after {}", made.len());
            let by = (decision.policy_hash, decision.settings["fee-bps"].as_u64().unwrap_or(0));
            made.extend((first..=through).map(|_| by.clone()));
        }
        let expected = [(code.clone(), 300), (code.clone(), 300), (other, 300)];
        ensure!(made.len() == 6 && made[3..] == expected, "{made:?}");
        ensure!(made[..3].iter().all(|(by, fee)| *fee == 200 && [&code, &shipped].contains(&by)), "{made:?}");
        let worth = |fee| signed(less_fee(SUBSIDY / SHARES_PER_BLOCK, Payout::Fpps { fee_bps: fee }).0);
        let owed = scene.balances()?.get(&account.to_string()).copied();
        ensure!(owed == Some(3 * worth(200) + 3 * worth(300)), "{owed:?}");
        scene.audited()
    })
    .await
}

#[tokio::test]
async fn blocks_name_the_code_of_their_time_also_when_they_come_back_after_a_reload() -> Result<()> {
    let payout = Payout::Pplns { fee_bps: 150, window: 1000.0 };
    limited(async {
        let Some(scene) = Scene::open("pplns reloads and a reorganisation", 20, setup(payout)).await? else {
            return Ok(());
        };
        let mut miner = scene.miner(&address(151)).await?;
        scene.work(&mut miner, 2).await?;
        let first = scene.block(&mut miner).await?.block_hash();
        scene.names(payout).await?;
        let old = scene.credits().await?[0]["policy_hash"].as_str().context("no hash")?.to_owned();
        // In the middle of the second round, and of the third.
        scene.work(&mut miner, 1).await?;
        let code = scene.new_code(PPLNS, &variant(PPLNS, 1)?).await?;
        let second = scene.block(&mut miner).await?.block_hash();
        scene.work(&mut miner, 1).await?;
        scene.new_settings("payout", "fee-bps = 150", "fee-bps = 77").await?;
        let third = scene.block(&mut miner).await?.block_hash();
        let expected = [(old.as_str(), 150), (code.as_str(), 150), (code.as_str(), 77)];
        named(&scene, &expected).await?;
        let booked = scene.balances()?;
        let credits = scene.credits().await?;

        // All three leave, other code comes, all three come back.
        scene.orphan(&first).await?;
        scene.node.generate(1, &spend::anyones_address())?;
        for block in [&second, &third] {
            shown(&scene.pool, block, "orphaned", 0).await?;
        }
        ensure!(scene.balances()?.is_empty(), "{:?}", scene.balances()?);
        let newest = scene.new_code(PPLNS, &variant(PPLNS, 2)?).await?;
        let others = scene.node.call("getblockhash", &[json!(21)])?;
        scene.node.invalidate(&serde_json::from_value(others)?)?;
        scene.node.reconsider(&first)?;
        ensure!(scene.node.best()? == third, "the node is elsewhere");
        for (block, confirmations) in [(&first, 3), (&second, 2), (&third, 1)] {
            shown(&scene.pool, block, "immature", confirmations).await?;
        }
        ensure!(scene.balances()? == booked, "{booked:?} came back as {:?}", scene.balances()?);
        let back = scene.credits().await?;
        ensure!(back == credits, "{credits:?} came back as {back:?}");
        // Another connection: to the first one, work on this tip is what it dropped long ago.
        scene.block(&mut scene.miner(&address(152)).await?).await?;
        named(&scene, &[expected.as_slice(), &[(newest.as_str(), 77)]].concat()).await?;
        scene.holds().await
    })
    .await
}

/// The rounds were settled by this code with these fees, and the house has exactly these.
async fn named(scene: &Scene, expected: &[(&str, u64)]) -> Result<()> {
    let decisions = ledger::decisions(&scene.pool.data())?;
    let made: Vec<_> = decisions
        .iter()
        .map(|one| (one.policy_hash.as_str(), one.settings["fee-bps"].as_u64().unwrap_or(0)))
        .collect();
    ensure!(made == expected, "{made:?}");
    let fees: u64 = expected.iter().map(|(_, fee)| SUBSIDY * fee / 10_000).sum();
    let credits = scene.credits().await?;
    let of_house = credits.iter().filter(|credit| credit["account"] == "");
    let credited: u64 = of_house.filter_map(|credit| credit["amount_sat"].as_u64()).sum();
    ensure!(credited == fees, "the house is credited with {credited}, not {fees}");
    Ok(())
}
