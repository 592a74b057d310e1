//! What an account is told: its money, and what the next block would bring it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_tests::miner::{Miner, address};
use sluice_tests::payouts::Cashier;
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup};
use sluice_tests::{SOON, http, ledger};

use crate::keeping::{ACCRUED, NETWORK, SHARE, reaches};
use crate::regtest::mine_block;
use crate::scene::{limited, work};

/// Whole satoshis in proportion to work, for the first of two accounts; no remainder is a tie here.
fn part(sats: u64, own: u64, other: u64) -> u64 {
    let (total, exact) = (own + other, sats * own);
    exact / total + u64::from(2 * (exact % total) > total)
}

pub(crate) async fn next_block(pool: &Pool, account: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let pick = |shown: &Value| Some(shown["next_block"].clone()).filter(|next| is(next));
    http::json_until(pool.http, &format!("/api/v1/accounts/{account}"), SOON, pick).await
}

/// What each account was credited with for the block, once it is settled.
async fn credits_of(pool: &Pool, height: u32) -> Result<BTreeMap<String, u64>> {
    let of_block = |credits: &Value| {
        let credits = credits.as_array()?.iter().filter(|one| one["height"] == height);
        let credits: Option<BTreeMap<_, _>> = credits
            .map(|one| Some((one["account"].as_str()?.to_owned(), one["amount_sat"].as_u64()?)))
            .collect();
        credits.filter(|credits| !credits.is_empty())
    };
    http::json_until(pool.http, "/api/v1/credits", SOON, of_block).await
}

/// A chain without transactions: every block brings the subsidy.
pub(crate) fn quietly(payout: Payout, accrue_interval_s: u32) -> Setup {
    let chain = Chain::Simulated { difficulty: 1e-8, transactions: 0, block_interval: None };
    let setup = Setup { payout, ..Setup::new(chain, Difficulty::fixed(3e-10)) };
    setup.with("refresh_s = 1").tables(&format!("[ledger]\naccrue_interval_s = {accrue_interval_s}"))
}

async fn quiet(payout: Payout) -> Result<Pool> {
    Pool::ready(quietly(payout, 1)).await
}

/// A block on the first job that pays `account` so much; its height.
pub(crate) async fn find_block(
    pool: &Pool,
    miner: &mut Miner,
    script: bitcoin::ScriptBuf,
    sats: u64,
) -> Result<u32> {
    let subscription = miner.subscription()?.clone();
    let pays = |job: &sluice_tests::share::Job| {
        let outputs = job.outputs(&subscription.extranonce1, subscription.extranonce2_size);
        outputs.is_ok_and(|outputs| outputs.contains(&(script.clone(), sats)))
    };
    let job = match miner.job().await? {
        job if pays(&job) => job,
        _ => miner.next_job(pays).await?,
    };
    let shown = http::json(pool.http, "/api/v1/pool").await?;
    let height = shown["job"]["height"].as_u64().context("no height")?;
    let share = mine_block(miner, &job)?;
    miner.submit_good(&share).await?;
    Ok(u32::try_from(height)?)
}

#[tokio::test]
async fn an_account_is_told_what_the_next_block_then_brings_it_under_pplns() -> Result<()> {
    limited(async {
        let pool = quiet(Payout::Pplns { fee_bps: 100, window: 1000.0 }).await?;
        let (alice, bob) = (address(601), address(602));
        let mut first = Miner::working(pool.sv1, &alice.to_string()).await?;
        let mut second = Miner::working(pool.sv1, &bob.to_string()).await?;
        work(&mut first, 9).await?;
        work(&mut second, 4).await?;
        let reward = next_block(&pool, &alice.to_string(), Value::is_object).await?;
        let reward = reward["reward_sat"].as_u64().context("no reward")?;
        let rest = reward - reward / 100;
        let [alices, bobs] = [part(rest, 9, 4), part(rest, 4, 9)];
        for (account, sats) in [(&alice, alices), (&bob, bobs)] {
            let next = next_block(&pool, &account.to_string(), |next| next["credit_sat"] == sats).await?;
            ensure!(next["output_sat"] == sats && next["accrues"] == false, "{next}");
            ensure!(next["policy"]["name"] == "payout-pplns", "{next}");
        }
        // Its output is what the coinbase has. Its share counts as well, and then nothing but the subsidy is divided anew.
        let height = find_block(&pool, &mut first, alice.script_pubkey(), alices).await?;
        let credits = credits_of(&pool, height).await?;
        let expected = [(&alice, part(rest, 10, 4)), (&bob, part(rest, 4, 10))];
        for (account, sats) in expected {
            let name = account.to_string();
            ensure!(credits.get(&name) == Some(&sats), "{credits:?}, and not {sats} for {name}");
            next_block(&pool, &name, |next| next["credit_sat"] == sats).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_account_is_told_what_the_next_block_then_brings_it_under_solo_and_fpps() -> Result<()> {
    limited(async {
        let pool = quiet(Payout::Solo { fee_bps: 100 }).await?;
        let alice = address(611);
        let mut miner = Miner::working(pool.sv1, &alice.to_string()).await?;
        work(&mut miner, 1).await?;
        let next = next_block(&pool, &alice.to_string(), Value::is_object).await?;
        let reward = next["reward_sat"].as_u64().context("no reward")?;
        let sats = reward - reward / 100;
        ensure!(next["credit_sat"] == sats && next["output_sat"] == sats, "{next}");
        let height = find_block(&pool, &mut miner, alice.script_pubkey(), sats).await?;
        let credits = credits_of(&pool, height).await?;
        ensure!(credits.get(&alice.to_string()) == Some(&sats), "{credits:?}");

        let pool = quiet(Payout::Fpps { fee_bps: 100 }).await?;
        let mut miner = Miner::working(pool.sv1, &alice.to_string()).await?;
        work(&mut miner, 1).await?;
        let next = next_block(&pool, &alice.to_string(), |next| next["policy"].is_object()).await?;
        ensure!(next["accrues"] == true && next["credit_sat"] == 0 && next["output_sat"] == 0, "{next}");
        let missing = http::get(pool.http, "/api/v1/accounts/nobody").await?;
        ensure!(missing.status == 404 && missing.body.contains("unknown_account"), "{}", missing.body);
        Ok(())
    })
    .await
}

fn bitcoins(sat: &Value) -> Result<String> {
    let sat = sat.as_u64().with_context(|| format!("{sat} is no amount"))?;
    Ok(format!("{}.{:08}", sat / 100_000_000, sat % 100_000_000))
}

#[tokio::test]
async fn pages_show_an_accounts_money_and_let_no_word_of_others_become_markup() -> Result<()> {
    const NAME: &str = "a/b?c=1#d%e;(f)`g";
    const PATH: &str = "a%2Fb%3Fc%3D1%23d%25e%3B%28f%29%60g";
    const REASON: &str = "<img/src=x/onerror=alert(1)>";
    limited(async {
        let chain = Chain::Simulated { difficulty: NETWORK, transactions: 5, block_interval: None };
        let setup =
            Setup { payout: Payout::Fpps { fee_bps: 0 }, ..Setup::new(chain, Difficulty::fixed(SHARE)) };
        let setup = setup.accounts(&format!("{{ \"{NAME}\" = {{}} }}"));
        let pool = Pool::ready(setup.tables("[ledger]\naccrue_interval_s = 1")).await?;
        let mut miner = Miner::working(pool.sv1, NAME).await?;
        work(&mut miner, 3).await?;
        let data = pool.data();
        reaches(&data, ACCRUED, 3).await?;
        let desk = Cashier::of(&pool.config())?;
        desk.done(&format!("hold {NAME} --reason {REASON}"))?;
        let known = |shown: &Value| {
            (shown["held"] == REASON && shown["balance_sat"].as_u64() > Some(0)).then(|| shown.clone())
        };
        let shown = http::json_until(pool.http, &format!("/api/v1/accounts/{PATH}"), SOON, known).await?;
        ensure!(shown["account"] == NAME && shown["address"].is_null() && shown["shares"] == 3, "{shown}");
        ensure!(shown["balance_sat"] == ledger::balances(&data)?[NAME], "{shown}");

        let page = http::get(pool.http, &format!("/accounts/{PATH}")).await?;
        let page = (page.status == 200).then_some(page.body).context("no page")?;
        for words in [
            bitcoins(&shown["balance_sat"])?.as_str(),
            bitcoins(&shown["due_sat"])?.as_str(),
            NAME,
            &format!("/api/v1/accounts/{PATH}"),
            "no payout address is known",
            "&lt;img/src=x/onerror=alert(1)&gt;",
            "fpps, fee 0%",
        ] {
            ensure!(page.contains(words), "{words} is not on the page:\n{page}");
        }
        ensure!(!page.contains("<img") && !page.contains("<script"), "{page}");

        let money = http::json(pool.http, "/api/v1/money").await?;
        let page = http::get(pool.http, "/").await?.body;
        ensure!(page.contains("Owed to 1 accounts"), "{page}");
        ensure!(page.contains(&bitcoins(&money["accounts"]["balance_sat"])?), "{money}\n{page}");
        ensure!(page.contains(&format!("/accounts/{PATH}")) && !page.contains("<img"), "{page}");

        let stranger = http::get(pool.http, "/accounts/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await?;
        ensure!(stranger.status == 404 && !stranger.body.contains("<script"), "{}", stranger.body);
        Ok(())
    })
    .await
}
