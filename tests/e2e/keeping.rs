//! What is kept, and for how long: old shares that become hours, credits on a full disk and through a change of the scheme,
//! one pool to a ledger.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use serde_json::Value;
use sluice_tests::miner::{Miner, address};
use sluice_tests::payouts::Cashier;
use sluice_tests::plugins::{FPPS, PPLNS, shipped};
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup, exit_of};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{POLL, SOON, binary, http, ledger};
use tempfile::TempDir;

use crate::accounts::{find_block, next_block, quietly};
use crate::audit::{python, sluice, table, text};
use crate::damage::SmallDisk;
use crate::scene::{limited, work};

const LOAD: Load = Load { connections: 4, accounts: 2, in_flight: 8, protocols: Protocols::Sv1 };
const FEE_BPS: u32 = 150;
/// Four units of work; the network's difficulty below is about a thousand.
pub(crate) const SHARE: f64 = 1e-9;
pub(crate) const NETWORK: f64 = 2.4e-7;
const RETENTION: &str = "[ledger]\nretention_days = 1\naccrue_interval_s = 1";

fn setup(payout: Payout, transactions: u32, data: &Path) -> Setup {
    let chain = Chain::Simulated { difficulty: NETWORK, transactions, block_interval: None };
    let setup = Setup { payout, ..Setup::new(chain, Difficulty::fixed(SHARE)) };
    Setup { data: Some(data.to_owned()), ..setup }.tables("[ledger]\naccrue_interval_s = 1")
}

/// Loads `pool` until so many more shares are in its log, and all blocks among them in its books.
async fn load(pool: &Pool, shares: u64) -> Result<()> {
    const DONE: &str = "SELECT count(*) FROM blocks WHERE id IN (SELECT block FROM rounds) \
                        OR state IN ('rejected', 'orphaned')";
    let mut stress = Stress::start(pool, LOAD).await?;
    stress.acknowledged(shares).await?;
    stress.finish().await?;
    // A share that is a block is acknowledged once that is in the journal.
    let journal = fs::read_dir(pool.data().join("blocks"))?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = journal.filter(|path| path.extension().is_some_and(|ending| ending == "block")).count();
    reaches(&pool.data(), DONE, u64::try_from(found)?).await
}

/// Loads `pool` until so many rounds are settled: luck decides how long that takes.
async fn load_until(pool: &Pool, rounds: u64) -> Result<()> {
    while u64::from(ledger::rounds(&pool.data())?) < rounds {
        load(pool, 200).await?;
    }
    Ok(())
}

/// A stopped pool's ledger as it would be had all of it happened three days earlier: blocks are confirmed since, and those
/// that lost a race can not come back.
fn age(data: &Path) -> Result<()> {
    let connection = Connection::open(ledger::file(data)?)?;
    connection.execute_batch(
        "UPDATE shares SET at_ms = at_ms - 3 * 24 * 3600 * 1000;
         UPDATE blocks SET state = 'mature', confirmations = 100 WHERE state IN ('accepted', 'immature');
         UPDATE blocks SET state = 'rejected', reason = 'stale' WHERE id NOT IN (SELECT block FROM rounds)",
    )?;
    Ok(())
}

fn number(data: &Path, query: &str) -> Result<u64> {
    let connection = Connection::open(ledger::file(data)?)?;
    connection.busy_timeout(SOON)?;
    let number: i64 = connection.query_row(query, [], |row| row.get(0))?;
    Ok(u64::try_from(number)?)
}

/// Waits until a query gives at least so much.
pub(crate) async fn reaches(data: &Path, query: &str, wanted: u64) -> Result<()> {
    let wait = async {
        while number(data, query)? < wanted {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, wait).await.with_context(|| format!("{query} does not reach {wanted}"))?
}

pub(crate) const ACCRUED: &str = "SELECT coalesce(max(through), 0) FROM accruals";
const FOLDED: &str = "SELECT through FROM folded";

/// Shares and work of each account and of each of its workers, as they are shown.
async fn statistics(pool: &Pool) -> Result<Vec<Value>> {
    let mut shown = Vec::new();
    for account in 0..LOAD.accounts {
        let account = http::json(pool.http, &format!("/api/v1/accounts/{}", address(account))).await?;
        shown.push(account["shares"].clone());
        shown.push(account["work"].clone());
        let mut workers = account["workers"].as_array().context("no workers")?.clone();
        workers.sort_by_key(|worker| worker["worker"].to_string());
        shown.extend(workers.iter().flat_map(|one| [one["shares"].clone(), one["work"].clone()]));
    }
    Ok(shown)
}

fn audit(data: &Path, verdict: &str) -> Result<String> {
    let output = sluice(&["audit"], &[("--data", data)])?;
    let said = text(&output);
    ensure!(output.status.code() == Some(0) && said.contains(verdict), "{}: {said}", output.status);
    Ok(said)
}

const FOLDED_EQUAL: &str = "equal    as far as the log reaches";

fn export(data: &Path, out: &Path, format: &str) -> Result<()> {
    let output = sluice(&["ledger", "export", "--format", format], &[("--data", data), ("--out", out)])?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_shares_become_hours_and_windows_statistics_and_books_stay_right() -> Result<()> {
    limited(async {
        let (home, out) = (TempDir::new()?, TempDir::new()?);
        let data = home.path();
        let payout = Payout::Pplns { fee_bps: FEE_BPS, window: 0.5 };
        let mut pool = Pool::ready(setup(payout, 10, data)).await?;
        load(&pool, 1_500).await?;
        load_until(&pool, 3).await?;
        let before = statistics(&pool).await?;
        ensure!(pool.stop().await?.success());
        drop(pool);
        age(data)?;
        let (balances, all) = (ledger::balances(data)?, number(data, "SELECT count(*) FROM shares")?);

        let mut pool = Pool::ready(setup(payout, 10, data).tables(RETENTION)).await?;
        http::metric_reaches(pool.http, "sluice_shares_folded_total", 1.0).await?;
        reaches(data, FOLDED, all / 4).await?;
        // Twice the window stays, and what came before is in hours.
        let (folded, left) = (number(data, FOLDED)?, number(data, "SELECT count(*) FROM shares")?);
        ensure!(folded + left == all && left >= 240, "{folded} of {all} shares folded, {left} left");
        ensure!(number(data, "SELECT min(seq) FROM shares")? == folded + 1);
        ensure!(number(data, "SELECT sum(shares) FROM share_hours")? == folded);
        ensure!(http::metric(pool.http, "sluice_shares_folded_total").await? == folded as f64);
        ensure!(statistics(&pool).await? == before, "{before:?} became {:?}", statistics(&pool).await?);
        ensure!(ledger::balances(data)? == balances);
        audit(data, FOLDED_EQUAL)?;

        // The next round counts what is left, and what comes.
        let rounds = u64::from(ledger::rounds(data)?);
        load_until(&pool, rounds + 1).await?;
        first_window_is_right(data, rounds)?;
        ensure!(pool.stop().await?.success());
        let said = audit(data, FOLDED_EQUAL)?;
        let gone = number(data, &format!("SELECT count(*) {COUNTS_SHARES_UP_TO} {folded}"))?;
        ensure!(
            gone >= 1 && said.contains(&format!("folded   {gone} rounds and accruals")),
            "{gone}: {said}"
        );
        let books = out.path().join("books");
        export(data, &books, "csv")?;
        let hours = table(&books.join("share_hours.csv"))?;
        let shares = hours.iter().map(|hour| hour["shares"].parse::<u64>()).sum::<Result<u64, _>>()?;
        ensure!(shares == folded && table(&books.join("shares.csv"))?[0]["seq"] == (folded + 1).to_string());
        Ok(())
    })
    .await
}

/// Rounds whose first share is not behind a number.
const COUNTS_SHARES_UP_TO: &str = "FROM rounds JOIN blocks ON block = id WHERE through < \
    (SELECT sum(json_extract(value, '$.shares')) FROM json_each(input, '$.contributions')) +";

/// The question of the round after the first so many, against the log: half a network difficulty of work.
fn first_window_is_right(data: &Path, after: u64) -> Result<()> {
    let connection = Connection::open(ledger::file(data)?)?;
    let (through, network, input): (i64, f64, String) = connection.query_row(
        "SELECT through, blocks.network_difficulty, input FROM blocks JOIN rounds ON block = id \
         ORDER BY id LIMIT 1 OFFSET ?",
        [i64::try_from(after)?],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let target = (network * 0.5 * 2f64.powi(32)).round();
    let mut statement = connection.prepare(
        "SELECT accounts.name, difficulty FROM shares JOIN workers ON workers.id = worker \
         JOIN accounts ON accounts.id = workers.account WHERE seq <= ? ORDER BY seq DESC",
    )?;
    let mut rows = statement.query([through])?;
    let (mut expected, mut total) = (BTreeMap::<String, u64>::new(), 0.0);
    while let (true, Some(row)) = (total < target, rows.next()?) {
        *expected.entry(row.get(0)?).or_default() += 1;
        total += (row.get::<_, f64>(1)? * 2f64.powi(32)).round();
    }
    let input: Value = serde_json::from_str(&input)?;
    let told: Option<BTreeMap<String, u64>> = input["contributions"]
        .as_array()
        .context("no contributions")?
        .iter()
        .map(|one| Some((one["account"].as_str()?.to_owned(), one["shares"].as_u64()?)))
        .collect();
    ensure!(told.as_ref() == Some(&expected), "{told:?}, and not {expected:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pps_pays_the_subsidy_by_the_formula_and_folded_shares_stay_paid() -> Result<()> {
    const TEST: &str = "pps_pays_the_subsidy_by_the_formula_and_folded_shares_stay_paid";
    limited(async {
        let (home, out) = (TempDir::new()?, TempDir::new()?);
        let data = home.path();
        let payout = Payout::Pps { fee_bps: FEE_BPS };
        let mut pool = Pool::ready(setup(payout, 20, data)).await?;
        load(&pool, 200).await?;
        reaches(data, ACCRUED, 200).await?;
        load(&pool, 200).await?;
        ensure!(pool.stop().await?.success());
        // The end of the pool credits what came last.
        let all = number(data, "SELECT max(seq) FROM shares")?;
        ensure!(number(data, ACCRUED)? == all, "{all} shares are not all credited");
        let desk = Cashier::of(&pool.config())?;
        ensure!(desk.done("prepare")?.contains("batch 1 prepared"));

        let (csv, parquet) = (out.path().join("csv"), out.path().join("parquet"));
        export(data, &csv, "csv")?;
        Exported::read(&csv)?.is_paid_by_the_formula()?;
        if let Some(python) = python(TEST)? {
            export(data, &parquet, "parquet")?;
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/tables.py");
            let output = Command::new(python).arg(script).args([&csv, &parquet]).output()?;
            ensure!(output.status.success(), "{}", text(&output));
            let rows: Value = serde_json::from_slice(&output.stdout)?;
            for table in ["accruals", "carries", "payouts", "payout_lines"] {
                ensure!(rows[table].as_u64() > Some(0), "no {table}: {rows}");
            }
        }
        drop(pool);
        age(data)?;
        let pool = Pool::ready(setup(payout, 20, data).tables(RETENTION)).await?;
        // Nothing needs them but the newest, which always stays.
        reaches(data, FOLDED, all - 1).await?;
        audit(data, FOLDED_EQUAL)?;
        let desk = Cashier::of(&pool.config())?;
        ensure!(desk.done("prepare")?.contains("batch 1 was prepared before"));
        ensure!(desk.done("cancel 1")?.contains("batch 1 cancelled"));
        load(&pool, 50).await?;
        reaches(data, ACCRUED, all + 50).await?;
        let batch = desk.done("prepare")?;
        ensure!(batch.contains("batch 2 prepared"), "{batch}");
        let paid = |desk: &Cashier, number| {
            anyhow::Ok(desk.batch(number)?["lines"].as_array().context("no lines")?.len())
        };
        ensure!(paid(&desk, 2)? == LOAD.accounts as usize, "{batch}");
        audit(data, FOLDED_EQUAL)?;
        Ok(())
    })
    .await
}

/// An export, for the formula as docs/payout-schemes.md has it and arithmetic that shares no line with the pool's.
struct Exported {
    shares: Vec<HashMap<String, String>>,
    templates: HashMap<String, HashMap<String, String>>,
    entries: Vec<HashMap<String, String>>,
    carries: Vec<HashMap<String, String>>,
    accruals: Vec<Value>,
}

impl Exported {
    fn read(dir: &Path) -> Result<Self> {
        let accruals = fs::read_to_string(dir.join("accruals.jsonl"))?;
        let templates = table(&dir.join("templates.csv"))?;
        Ok(Self {
            shares: table(&dir.join("shares.csv"))?,
            templates: templates.into_iter().map(|one| (one["template"].clone(), one)).collect(),
            entries: table(&dir.join("entries.csv"))?,
            carries: table(&dir.join("carries.csv"))?,
            accruals: accruals.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?,
        })
    }

    fn is_paid_by_the_formula(&self) -> Result<()> {
        ensure!(self.accruals.len() >= 2, "{} accruals", self.accruals.len());
        ensure!(self.templates.values().any(|one| one["fees_sat"] != "0"), "no template has fees");
        let mut carried: BTreeMap<String, u128> = BTreeMap::new();
        let mut next = 1;
        for accrual in &self.accruals {
            let bound = |name: &str| accrual[name].as_u64().with_context(|| format!("no {name}"));
            let (first, through) = (bound("first")?, bound("through")?);
            ensure!(first == next, "an accrual from {first} on, and not from {next}");
            next = through + 1;
            for (account, microsats) in self.worth(first, through)? {
                *carried.entry(account).or_default() += microsats;
            }
            let number = accrual["accrual"].to_string();
            let booked = self.booked(&number)?;
            let mut expected: BTreeMap<String, u128> =
                carried.iter().map(|(account, microsats)| (account.clone(), microsats / 1_000_000)).collect();
            expected.retain(|_, sats| *sats > 0);
            ensure!(booked == expected, "accrual {number}: {booked:?}, and not {expected:?}");
            carried.values_mut().for_each(|microsats| *microsats %= 1_000_000);
        }
        for row in &self.carries {
            ensure!(row["microsats"].parse::<u128>()? == carried[&row["account"]], "{row:?} and {carried:?}");
        }
        Ok(())
    }

    /// Millionths of a satoshi that the shares of a stretch bring each account: subsidy times work over D, less the fee,
    /// template by template.
    fn worth(&self, first: u64, through: u64) -> Result<BTreeMap<String, u128>> {
        let mut tallies: BTreeMap<&str, BTreeMap<&str, u128>> = BTreeMap::new();
        for share in &self.shares[usize::try_from(first - 1)?..usize::try_from(through)?] {
            let units = (share["difficulty"].parse::<f64>()? * 2f64.powi(32)).round() as u128;
            *tallies.entry(&share["template"]).or_default().entry(&share["account"]).or_default() += units;
        }
        let mut worth = BTreeMap::new();
        for (template, accounts) in tallies {
            let template = &self.templates[template];
            let subsidy: u128 = template["subsidy_sat"].parse()?;
            let network = (template["network_difficulty"].parse::<f64>()? * 2f64.powi(32)).round() as u128;
            for (account, work) in accounts {
                let rest = u128::from(10_000 - FEE_BPS);
                let microsats = subsidy * 1_000_000 * work * rest / (10_000 * network);
                *worth.entry(account.to_owned()).or_default() += microsats;
            }
        }
        Ok(worth)
    }

    fn booked(&self, accrual: &str) -> Result<BTreeMap<String, u128>> {
        let lines = self.entries.iter();
        let lines = lines.filter(|entry| entry["accrual"] == accrual && entry["book"] == "account");
        lines.map(|entry| Ok((entry["account"].clone(), entry["amount_sat"].parse()?))).collect()
    }
}

#[tokio::test]
async fn a_second_pool_on_one_ledger_is_refused_and_its_readers_are_not() -> Result<()> {
    limited(async {
        let mut pool = Pool::ready(Setup::without_blocks(2.4e-10)).await?;
        // The same configuration, which takes free ports.
        let mut second = Command::new(binary::sluice()?)
            .args(["run", "--config"])
            .arg(pool.config())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let status = exit_of(&mut second).await?;
        let said = text(&second.wait_with_output()?);
        ensure!(status.code() == Some(1), "{status}: {said}");
        let (data, out) = (pool.data(), TempDir::new()?);
        ensure!(
            said.contains("is open in another process") && said.contains(&data.display().to_string()),
            "{said}"
        );
        ensure!(!said.contains("panicked"), "{said}");
        ensure!(pool.is_running()?, "the first pool has ended");
        let mut miner = Miner::working(pool.sv1, &address(1).to_string()).await?;
        let job = miner.job().await?;
        let share = miner.mine(&job)?;
        miner.submit_good(&share).await?;
        for command in ["audit", "ledger check"] {
            let args: Vec<&str> = command.split(' ').collect();
            let output = sluice(&args, &[("--data", &data)])?;
            ensure!(output.status.success(), "{command}: {}", text(&output));
        }
        export(&data, &out.path().join("books"), "csv")?;
        let copy = out.path().join("copy.db");
        let output = sluice(&["ledger", "backup"], &[("--data", &data), ("", &copy)])?;
        ensure!(output.status.success(), "{}", text(&output));
        Cashier::of(&pool.config())?.list()?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_change_of_scheme_leaves_no_seam_at_a_restart_and_tells_of_it_at_a_reload() -> Result<()> {
    let (fpps, pplns) = (Payout::Fpps { fee_bps: 0 }, Payout::Pplns { fee_bps: 0, window: 1000.0 });
    limited(async {
        let (home, alice) = (TempDir::new()?, address(631));
        let data = home.path();
        let on_data = |payout| Setup { data: Some(data.to_owned()), ..quietly(payout, 600) };
        let mut pool = Pool::ready(on_data(fpps)).await?;
        work(&mut Miner::working(pool.sv1, &alice.to_string()).await?, 3).await?;
        ensure!(pool.stop().await?.success());
        ensure!(number(data, ACCRUED)? == 3, "the end of the pool leaves shares behind");
        drop(pool);
        // What was paid as it came is in the window all the same.
        let pool = Pool::ready(on_data(pplns)).await?;
        let mut miner = Miner::working(pool.sv1, &alice.to_string()).await?;
        work(&mut miner, 2).await?;
        let next =
            next_block(&pool, &alice.to_string(), |next| next["credit_sat"].as_u64() > Some(0)).await?;
        let sats = next["output_sat"].as_u64().context("no output")?;
        find_block(&pool, &mut miner, alice.script_pubkey(), sats).await?;
        reaches(data, "SELECT count(*) FROM rounds", 1).await?;
        let counted = "SELECT json_extract(input, '$.contributions[0].shares') FROM rounds";
        ensure!(number(data, counted)? == 6 && number(data, ACCRUED)? == 3);
        audit(data, "equal    every round")?;

        let mut pool = Pool::ready(quietly(fpps, 600)).await?;
        let data = pool.data();
        work(&mut Miner::working(pool.sv1, &alice.to_string()).await?, 3).await?;
        pool.plugins.replace(FPPS, &shipped(PPLNS)?)?;
        let says = |line: &str| {
            let left =
                line.contains("no longer credits work as it comes").then(|| line.split_once("shares="))?;
            left?.1.trim().parse::<u64>().ok()
        };
        let left = pool.output().find(2 * SOON, says).await?;
        ensure!(pool.stop().await?.success());
        // The look at the start may have met the first of them.
        ensure!(left >= 2 && number(&data, ACCRUED)? + left == 3, "{left} are left");
        Ok(())
    })
    .await
}

/// Submits so many shares of its newest job.
async fn submit(miner: &mut Miner, shares: u32) -> Result<()> {
    for _ in 0..shares {
        let job = miner.job().await?;
        let share = miner.mine(&job)?;
        miner.submit_good(&share).await?;
    }
    Ok(())
}

/// Shares that are acknowledged right after an accrual, and then no room for the next one.
async fn no_room_to_credit(pool: &Pool, disk: &SmallDisk, user: &str, shares: u64) -> Result<()> {
    let data = pool.data();
    let mut miner = Miner::working(pool.sv1, user).await?;
    submit(&mut miner, 1).await?;
    reaches(&data, ACCRUED, shares - 4).await?;
    submit(&mut miner, 4).await?;
    disk.fill()?;
    let alarm = async {
        loop {
            let ready = http::get(pool.http, "/readyz").await?;
            if ready.status == 503 {
                return anyhow::Ok(ready.body);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let reason = tokio::time::timeout(SOON, alarm).await.context("no alarm on a full disk")??;
    ensure!(reason.contains("ledger"), "{reason}");
    ensure!(number(&data, ACCRUED)? == shares - 4, "credited on a full disk");
    Ok(())
}

#[tokio::test]
async fn credits_that_a_full_disk_refuses_are_booked_once_there_is_room() -> Result<()> {
    limited(async {
        let Some(disk) = SmallDisk::mount("credits on a full disk")? else { return Ok(()) };
        let account = address(621).to_string();
        let setup = setup(Payout::Fpps { fee_bps: 0 }, 5, &disk.path().join("data"));
        let mut pool = Pool::ready(setup.tables("[ledger]\naccrue_interval_s = 4")).await?;
        let data = pool.data();
        no_room_to_credit(&pool, &disk, &account, 5).await?;
        disk.make_room()?;
        pool.wait_ready().await?;
        reaches(&data, ACCRUED, 5).await?;
        audit(&data, "equal    every round")?;

        no_room_to_credit(&pool, &disk, &account, 10).await?;
        pool.kill()?;
        disk.make_room()?;
        pool.restart().await?;
        reaches(&data, ACCRUED, 10).await?;
        ensure!(number(&data, "SELECT sum(through - first + 1) FROM accruals")? == 10);
        ensure!(ledger::imbalance(&data)? == (0, 0) && ledger::balances(&data)?[&account] > 0);
        audit(&data, "equal    every round")?;
        Ok(())
    })
    .await
}
