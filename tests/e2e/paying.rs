//! Balances become coins: `sluice payouts` beside a pool and without one, with a real node, a signer and a miner's eye on
//! the chain. Done twice, killed in between, cancelled: paid once.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bitcoin::{Address, Amount, OutPoint, Transaction, Txid};
use serde_json::{Value, json};
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::ledger;
use sluice_tests::miner::address;
use sluice_tests::payouts::Cashier;
use sluice_tests::pool::{Payout, Setup};
use sluice_tests::{SOON, http, psbt, spend, sv2};

use crate::regtest::house;
use crate::scene::{SHARES_PER_BLOCK, SUBSIDY, Scene, limited};

const FEE_BPS: u64 = 200;
/// What a share brings.
const SHARE: u64 = SUBSIDY / SHARES_PER_BLOCK * (10_000 - FEE_BPS) / 10_000;
/// Batches that are paid while their commands are killed.
const ROUNDS: u32 = 5;

fn setup(node: &Bitcoind) -> Setup {
    Setup::on_nodes(vec![node.access()], Payout::Fpps { fee_bps: 200 })
        .with("refresh_s = 1")
        .tables("[ledger]\naccrue_interval_s = 1\n[payouts]\nconfirmations = 6")
}

fn coins(transaction: &Transaction) -> BTreeSet<OutPoint> {
    transaction.input.iter().map(|input| input.previous_output).collect()
}

/// What a transaction gives to miners, by the node's prices of its coins.
fn fee_of(node: &Bitcoind, transaction: &Transaction) -> Result<u64> {
    let mut spent = 0;
    for coin in coins(transaction) {
        let found = node.call("gettxout", &[json!(coin.txid.to_string()), json!(coin.vout), json!(false)])?;
        spent += Amount::from_btc(found["value"].as_f64().context("the coin is spent")?)?.to_sat();
    }
    Ok(spent - transaction.output.iter().map(|output| output.value.to_sat()).sum::<u64>())
}

fn refused_by(node: &Bitcoind, transaction: &Transaction) -> Result<()> {
    ensure!(node.send(transaction).is_err(), "the node takes {} as well", transaction.compute_txid());
    Ok(())
}

/// Each account and what the batch pays it.
fn lines(batch: &Value) -> Vec<(&str, u64)> {
    let lines = batch["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.iter().filter_map(|line| Some((line["account"].as_str()?, line["amount_sat"].as_u64()?))).collect()
}

/// Signs, broadcasts and writes it down.
fn send(node: &Bitcoind, desk: &Cashier, batch: u32, draft: &[u8]) -> Result<Txid> {
    let transaction = psbt::sign(draft)?;
    let txid = transaction.compute_txid();
    node.send(&transaction)?;
    let said = desk.done(&format!("sent {batch} {txid}"))?;
    ensure!(said.contains(&format!("batch {batch} is sent as {txid}")), "{said}");
    Ok(txid)
}

#[tokio::test]
async fn balances_are_paid_once_whatever_is_repeated_or_taken_back() -> Result<()> {
    limited(async {
        let Some(scene) = Scene::open("paying beside a pool", 20, setup).await? else { return Ok(()) };
        let accounts = [address(201), address(202), address(203)];
        let [alice, bob, carol] = accounts.each_ref().map(ToString::to_string);
        let mut last = None;
        for (account, blocks) in accounts.iter().zip([2, 1, 1]) {
            let mut miner = scene.miner(account).await?;
            for _ in 0..blocks {
                last = Some(scene.block(&mut miner).await?.block_hash());
            }
        }
        scene.accrued(4).await?;
        let desk = Cashier::of(&scene.pool.config())?;
        let names = [alice.as_str(), &bob, &carol];
        terms_decide_who_is_paid(&desk, names)?;
        let early = desk.done("prepare")?;
        ensure!(
            early.contains("batch 1 prepared") && lines(&desk.batch(1)?) == [(alice.as_str(), 2 * SHARE)],
            "{early}"
        );
        let said = desk.refused("psbt 1 --fee-rate 5")?;
        ensure!(said.contains("there are no others that are mature and unspent"), "{said}");
        scene.mature(&last.context("four blocks")?).await?;

        // A first batch is drafted, signed, and taken back.
        let withdrawn = psbt::sign(&desk.psbt("1 --fee-rate 5")?)?;
        let said = desk.done("cancel 1")?;
        ensure!(said.contains("batch 1 cancelled; what it paid is due again"), "{said}");
        ensure!(desk.done("cancel 1")?.contains("cancelled before"));
        desk.done(&format!("release {carol}"))?;
        desk.done(&format!("minimum {bob} default"))?;

        prepared_twice_it_is_one_batch(&desk, names)?;
        let slow = desk.psbt("2 --fee-rate 5")?;
        ensure!(desk.psbt("2 --fee-rate 5")? == slow, "the same draft is another transaction");
        let fast = desk.psbt("2 --fee-rate 9.5")?;
        formats_agree(&scene.node, &desk, &fast)?;
        let (slow, final_one) = (psbt::sign(&slow)?, psbt::sign(&fast)?);
        ensure!(coins(&final_one).is_superset(&coins(&slow)) && slow != final_one, "both could be paid");
        ensure!(!coins(&slow).is_disjoint(&coins(&withdrawn)), "the cancelled batch could be paid as well");
        let fee = fee_of(&scene.node, &final_one)?;
        let rate = fee as f64 / final_one.vsize() as f64;
        ensure!((9.4..9.8).contains(&rate), "{rate} sat/vB");

        let txid = send(&scene.node, &desk, 2, &fast)?;
        let again = desk.done(&format!("sent 2 {txid}"))?;
        ensure!(again.contains("as was written down before"), "{again}");
        refused_by(&scene.node, &slow)?;
        refused_by(&scene.node, &withdrawn)?;
        confirmed_after_six(&scene.node, &desk, 2)?;
        let batch = desk.batch(2)?;
        ensure!(batch["fee_sat"] == fee && batch["txid"] == txid.to_string(), "{batch}");
        refused_by(&scene.node, &slow)?;
        refused_by(&scene.node, &withdrawn)?;
        for (account, shares) in accounts.iter().zip([2, 1, 1]) {
            ensure!(scene.on_chain(account)? == shares * SHARE, "{account} has {}", scene.on_chain(account)?);
        }
        nothing_is_left(&scene, &desk, fee).await?;

        another_batch_spends_other_coins(&scene, &desk, &accounts[0], &final_one).await?;
        let shown = http::json(scene.pool.http, &format!("/api/v1/accounts/{alice}")).await?;
        let states: Vec<_> =
            shown["payouts"].as_array().into_iter().flatten().map(|one| one["state"].clone()).collect();
        ensure!(states == ["confirmed", "confirmed", "cancelled"] && shown["balance_sat"] == 0, "{shown}");
        scene.holds().await
    })
    .await
}

/// Carol is held, Bob wants more at a time.
fn terms_decide_who_is_paid(desk: &Cashier, [alice, bob, carol]: [&str; 3]) -> Result<()> {
    let due = |account: &str| {
        desk.standing(account).map(|due| (due["standing"].clone(), due["amount_sat"].clone()))
    };
    ensure!(due(alice)? == (json!("payable"), json!(2 * SHARE)), "{:?}", due(alice)?);
    desk.done(&format!("hold {carol} --reason dispute-7"))?;
    desk.done(&format!("minimum {bob} {}", SHARE + 1))?;
    ensure!(due(bob)? == (json!("below_minimum"), json!(SHARE)), "{:?}", due(bob)?);
    let held = desk.standing(carol)?;
    ensure!(held["standing"] == "held" && held["reason"] == "dispute-7", "{held}");
    let table = desk.done("list")?;
    ensure!(
        table.contains("held: dispute-7") && table.contains("below its minimum of 2,450,000,001 sat"),
        "{table}"
    );
    Ok(())
}

/// All three are in it, and nothing is due any more.
fn prepared_twice_it_is_one_batch(desk: &Cashier, [alice, bob, carol]: [&str; 3]) -> Result<()> {
    let said = desk.done("prepare")?;
    ensure!(said.contains("batch 2 prepared"), "{said}");
    let batch = desk.batch(2)?;
    let mut expected = vec![(bob, SHARE), (carol, SHARE)];
    expected.sort_unstable();
    expected.insert(0, (alice, 2 * SHARE));
    ensure!(lines(&batch) == expected, "{batch}");
    let again = desk.done("prepare")?;
    ensure!(again.contains("batch 2 was prepared before") && desk.batch(2)? == batch, "{again}");
    let csv = desk.done("csv 2")?;
    ensure!(
        csv.lines().count() == 4 && csv.contains(&format!("2,{alice},{alice},{},49.00000000", 2 * SHARE)),
        "{csv}"
    );
    let due = desk.list()?;
    ensure!(due["payable_sat"] == 0 && due["due_sat"] == 0, "{due}");
    Ok(())
}

/// Both versions of the format, in binary and as text, say the same transaction; the node reads it too.
fn formats_agree(node: &Bitcoind, desk: &Cashier, draft: &[u8]) -> Result<()> {
    let transaction = psbt::unsigned(draft)?;
    let second = desk.psbt("2 --fee-rate 9.5 --psbt-version 2")?;
    ensure!(psbt::unsigned_2(&second)? == transaction, "version 2 is another transaction");
    let text = desk.done("psbt 2 --fee-rate 9.5")?;
    let decoded = node.call("decodepsbt", &[json!(text.trim())])?;
    ensure!(decoded["tx"]["txid"] == transaction.compute_txid().to_string(), "{decoded}");
    Ok(())
}

fn confirmed_after_six(node: &Bitcoind, desk: &Cashier, batch: u32) -> Result<()> {
    let state = || Ok::<_, anyhow::Error>(desk.batch(batch)?["state"].clone());
    for (blocks, wanted) in [(0, "sent"), (5, "sent"), (1, "confirmed")] {
        node.generate(blocks, &spend::anyones_address())?;
        let said = desk.done("confirm")?;
        ensure!(
            said.contains("of 6 wanted") == (wanted == "sent") && state()? == wanted,
            "{said}: {}",
            state()?
        );
    }
    Ok(())
}

/// All that was owed is paid, and every step once more changes nothing.
async fn nothing_is_left(scene: &Scene, desk: &Cashier, fee: u64) -> Result<()> {
    let books = scene.balances()?;
    let spent = -i64::try_from(4 * SHARE + fee)?;
    ensure!(books.len() == 1 && books.get("") == Some(&spent), "{books:?}");
    let batch = desk.batch(2)?;
    let txid = batch["txid"].as_str().context("no txid")?;
    let (_, sent) = (desk.refused("psbt 2 --fee-rate 20")?, desk.run(&format!("sent 2 {txid}"))?);
    ensure!(sent.code != Some(2), "{sent:?}");
    ensure!(desk.done("prepare")?.contains("nothing is payable"));
    ensure!(
        desk.done("confirm")?.contains("no batch waits")
            && desk.done("confirm 2")?.contains("confirmed before")
    );
    desk.refused("cancel 2")?;
    ensure!(desk.batch(2)? == batch && scene.balances()? == books, "something changed");
    let lists =
        |payouts: &Value| (payouts[0]["state"] == "confirmed" && payouts[0]["txid"] == txid).then_some(());
    http::json_until(scene.pool.http, "/api/v1/payouts", SOON, lists).await?;
    scene.holds().await
}

/// After more work: from other coins, or the change.
async fn another_batch_spends_other_coins(
    scene: &Scene,
    desk: &Cashier,
    account: &Address,
    before: &Transaction,
) -> Result<()> {
    let mut miner = scene.miner(account).await?;
    scene.block(&mut miner).await?;
    scene.accrued(5).await?;
    ensure!(desk.done("prepare")?.contains("batch 3 prepared"));
    let draft = desk.psbt("3 --fee-rate 2")?;
    ensure!(coins(&psbt::unsigned(&draft)?).is_disjoint(&coins(before)));
    send(&scene.node, desk, 3, &draft)?;
    confirmed_after_six(&scene.node, desk, 3)?;
    ensure!(scene.on_chain(account)? == 3 * SHARE, "{}", scene.on_chain(account)?);
    Ok(())
}

/// A pool with two blocks of one account's, both mature, and what they brought credited.
async fn owing(test: &str, account: &Address) -> Result<Option<Scene>> {
    let Some(scene) = Scene::open(test, 20, setup).await? else { return Ok(None) };
    let mut miner = scene.miner(account).await?;
    scene.block(&mut miner).await?;
    let last = scene.block(&mut miner).await?;
    scene.accrued(2).await?;
    scene.mature(&last.block_hash()).await?;
    Ok(Some(scene))
}

#[tokio::test]
async fn a_pool_that_is_stopped_pays_as_well() -> Result<()> {
    limited(async {
        let account = address(211);
        let Some(mut scene) = owing("paying without a pool", &account).await? else { return Ok(()) };
        ensure!(scene.pool.stop().await?.success());
        let desk = Cashier::of(&scene.pool.config())?;
        ensure!(desk.done("prepare")?.contains("batch 1 prepared"));
        let draft = desk.psbt("1 --fee-rate 1")?;
        send(&scene.node, &desk, 1, &draft)?;
        confirmed_after_six(&scene.node, &desk, 1)?;
        scene.audited()?;
        ensure!(scene.on_chain(&account)? == 2 * SHARE, "{}", scene.on_chain(&account)?);

        // The block that has it leaves the chain, and the next one has it again.
        let block = scene.node.call("getblockhash", &[desk.batch(1)?["height"].clone()])?;
        scene.node.invalidate(&serde_json::from_value(block)?)?;
        let said = desk.refused("confirm 1")?;
        ensure!(said.contains("confirmed before") && said.contains("in the mempool"), "{said}");
        // To somebody else: the same block again would be as invalid as the one that was taken away.
        scene.node.generate(7, &address(299))?;
        ensure!(desk.done("confirm 1")?.contains("confirmed before"));

        scene.pool.restart().await?;
        let paid = |view: &Value| {
            (view["balance_sat"] == 0 && view["payouts"][0]["amount_sat"] == 2 * SHARE).then_some(())
        };
        http::json_until(scene.pool.http, &format!("/api/v1/accounts/{account}"), SOON, paid).await?;
        scene.holds().await
    })
    .await
}

#[tokio::test]
async fn a_fee_is_raised_and_what_was_written_down_wrong_is_put_right() -> Result<()> {
    limited(async {
        let account = address(212);
        let Some(scene) = owing("raising a fee", &account).await? else { return Ok(()) };
        let desk = Cashier::of(&scene.pool.config())?;
        desk.done("prepare")?;
        let slow = send(&scene.node, &desk, 1, &desk.psbt("1 --fee-rate 1")?)?;
        let fast = psbt::sign(&desk.psbt("1 --fee-rate 20")?)?;
        let txid = fast.compute_txid();
        // Not without a word about the one before.
        let said = desk.refused(&format!("sent 1 {txid}"))?;
        ensure!(said.contains(&slow.to_string()), "{said}");
        scene.node.send(&fast)?;
        let said = desk.refused("confirm")?;
        ensure!(said.contains(&format!("sluice payouts sent 1 {txid} --replaces {slow}")), "{said}");
        desk.done(&format!("sent 1 {txid} --replaces {slow}"))?;
        confirmed_after_six(&scene.node, &desk, 1)?;
        ensure!(desk.batch(1)?["txid"] == txid.to_string(), "{}", desk.batch(1)?);
        ensure!(scene.on_chain(&account)? == 2 * SHARE, "{}", scene.on_chain(&account)?);
        scene.holds().await
    })
    .await
}

#[tokio::test]
async fn a_batch_whose_coins_went_elsewhere_is_taken_back_and_paid_by_the_next() -> Result<()> {
    limited(async {
        let account = address(213);
        let Some(scene) = owing("coins that went elsewhere", &account).await? else { return Ok(()) };
        let desk = Cashier::of(&scene.pool.config())?;
        desk.done("prepare")?;
        let draft = desk.psbt("1 --fee-rate 1")?;
        let lost = psbt::sign(&draft)?;
        desk.done(&format!("sent 1 {}", lost.compute_txid()))?;
        let said = desk.refused("cancel 1")?;
        ensure!(said.contains("may still confirm"), "{said}");
        // Back to the house, so that the next batch has coins: not all of them are the books' to know.
        let elsewhere = psbt::divert(&draft, house()?, Amount::from_sat(5_000))?;
        scene.node.send(&elsewhere)?;
        scene.node.generate(5, &spend::anyones_address())?;
        let said = desk.refused("confirm")?;
        ensure!(
            said.contains(&elsewhere.compute_txid().to_string()) && said.contains("does not pay it"),
            "{said}"
        );
        let said = desk.refused("cancel 1")?;
        ensure!(said.contains("once that has 6 confirmations"), "{said}");
        ensure!(desk.list()?["due_sat"] == 0, "{}", desk.list()?);
        scene.node.generate(1, &spend::anyones_address())?;
        let said = desk.done("cancel 1")?;
        ensure!(said.contains("batch 1 cancelled") && said.contains("can never be paid"), "{said}");
        ensure!(desk.list()?["due_sat"] == 2 * SHARE, "{}", desk.list()?);

        ensure!(desk.done("prepare")?.contains("batch 2 prepared"));
        let own = format!("2 --fee-rate 1 --coin {}:0", elsewhere.compute_txid());
        send(&scene.node, &desk, 2, &desk.psbt(&own)?)?;
        confirmed_after_six(&scene.node, &desk, 2)?;
        refused_by(&scene.node, &lost)?;
        ensure!(desk.done("prepare")?.contains("nothing is payable"));
        ensure!(scene.on_chain(&account)? == 2 * SHARE, "{}", scene.on_chain(&account)?);
        scene.holds().await
    })
    .await
}

#[tokio::test]
async fn commands_that_are_killed_and_run_again_pay_once() -> Result<()> {
    limited(async {
        let Some(scene) = Scene::open("killed payouts", 10, setup).await? else { return Ok(()) };
        let accounts = [address(221), address(222)];
        let mut miners = Vec::new();
        for account in &accounts {
            miners.push(scene.miner(account).await?);
        }
        let mut shares = 0;
        // As many as pay for all that follows.
        let mut last = None;
        for index in [0, 1, 0, 1, 0, 1] {
            last = Some(scene.block(&mut miners[index]).await?.block_hash());
            shares += 1;
        }
        scene.mature(&last.context("six blocks")?).await?;
        let desk = Cashier::of(&scene.pool.config())?;
        let mut killer = Killer::default();
        for batch in 1..=ROUNDS {
            scene.block(&mut miners[usize::from(batch % 2 == 0)]).await?;
            shares += 1;
            scene.accrued(shares).await?;
            killer.pays(&scene.node, &desk, batch)?;
        }
        let Killer { kills, running } = killer;
        ensure!(kills >= 20 && running * 2 > kills, "only {running} of {kills} were still running");
        ensure!(desk.batches()?.len() == usize::try_from(ROUNDS)?, "{:?}", desk.batches()?);
        ensure!(desk.done("prepare")?.contains("nothing is payable"));
        let credited = ledger::credits(&scene.pool.data())?;
        for account in &accounts {
            let (owed, has) = (credited[&account.to_string()], scene.on_chain(account)?);
            ensure!(i64::try_from(has)? == owed, "{account} has {has} of {owed}");
        }
        scene.holds().await
    })
    .await
}

/// Runs commands that it kills, and then again.
#[derive(Debug, Default)]
struct Killer {
    kills: u32,
    /// Of them, those that had not ended by themselves.
    running: u32,
}

impl Killer {
    /// At a moment of its run, whatever it is doing then.
    fn kill(&mut self, desk: &Cashier, line: &str) -> Result<()> {
        let begin = Instant::now();
        desk.list()?;
        let usual = begin.elapsed();
        let byte = sv2::entropy()?[0];
        self.kills += 1;
        self.running += u32::from(desk.killed(line, usual.mul_f64(f64::from(byte) / 255.0))?);
        Ok(())
    }

    /// All steps of a batch, each killed and then done.
    fn pays(&mut self, node: &Bitcoind, desk: &Cashier, batch: u32) -> Result<()> {
        self.kill(desk, "prepare")?;
        desk.done("prepare")?;
        self.kill(desk, &format!("psbt {batch} --fee-rate 3"))?;
        let draft = desk.psbt(&format!("{batch} --fee-rate 4"))?;
        let transaction = psbt::sign(&draft)?;
        node.send(&transaction)?;
        let sent = format!("sent {batch} {}", transaction.compute_txid());
        self.kill(desk, &sent)?;
        desk.done(&sent)?;
        node.generate(6, &spend::anyones_address())?;
        self.kill(desk, "confirm")?;
        desk.done(&format!("confirm {batch}"))?;
        let state = desk.batch(batch)?["state"].clone();
        ensure!(state == "confirmed", "batch {batch} is {state}");
        Ok(())
    }
}
