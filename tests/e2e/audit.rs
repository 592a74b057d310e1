//! Anyone can compute the books again: the audit, copies of the ledger, and arithmetic of our own.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sluice_tests::plugins::{PPLNS as PPLNS_FILE, variant};
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{POLL, SOON, binary, ledger};
use tempfile::TempDir;

const LOAD: Load = Load { connections: 8, accounts: 5, in_flight: 8, protocols: Protocols::Sv1 };
const FEE_BPS: u32 = 150;
/// Times the network difficulty.
const WINDOW: f64 = 2.0;

/// A pool whose blocks are about a thousand shares apart.
fn setup(payout: Payout) -> Setup {
    let chain = Chain::Simulated { difficulty: 2.4e-7, transactions: 10, block_interval: None };
    Setup { payout, ..Setup::new(chain, Difficulty::fixed(2.4e-10)) }
}

const PPLNS: Payout = Payout::Pplns { fee_bps: FEE_BPS, window: WINDOW };

/// Loads `pool` until so many rounds are settled.
async fn settle(pool: &Pool, rounds: u32) -> Result<Stress> {
    let mut stress = Stress::start(pool, LOAD).await?;
    stress.acknowledged(500).await?;
    let wait = async {
        while ledger::rounds(&pool.data())? < rounds {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, wait).await.context("no rounds are settled")??;
    Ok(stress)
}

pub(crate) fn sluice(args: &[&str], paths: &[(&str, &Path)]) -> Result<Output> {
    let mut command = Command::new(binary::sluice()?);
    command.args(args).env("NO_COLOR", "1");
    for (option, path) in paths {
        if !option.is_empty() {
            command.arg(option);
        }
        command.arg(path);
    }
    command.output().context("sluice does not run")
}

pub(crate) fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// The audit of a data directory says that all is equal.
fn ensure_equal(paths: &[(&str, &Path)]) -> Result<String> {
    let output = sluice(&["audit"], paths)?;
    let said = text(&output);
    ensure!(output.status.code() == Some(0), "{}: {said}", output.status);
    ensure!(said.contains("equal    every round"), "{said}");
    Ok(said)
}

/// Nothing differs. Of a moment at which a block waits for its settlement that is all that can be said.
fn ensure_nothing_differs(paths: &[(&str, &Path)]) -> Result<()> {
    let output = sluice(&["audit"], paths)?;
    let said = text(&output);
    let waits = output.status.code() == Some(1) && said.contains("unknown  nothing differs");
    ensure!(output.status.success() || waits, "{}: {said}", output.status);
    ensure!(!said.contains("differs  "), "{said}");
    Ok(())
}

/// Says what differs, with exit code 1.
fn differs(paths: &[(&str, &Path)]) -> Result<String> {
    let output = sluice(&["audit"], paths)?;
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, text(&output));
    ensure!(!text(&output).contains("panicked"), "{}", text(&output));
    Ok(text(&output))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pplns_audits_equal_while_it_runs_and_copies_of_it_do_too() -> Result<()> {
    let mut pool = Pool::ready(setup(PPLNS)).await?;
    let stress = settle(&pool, 3).await?;
    let (data, place) = (pool.data(), TempDir::new()?);
    let (copy, books) = (place.path().join("copy.db"), place.path().join("books"));
    // Under load, all of it.
    ensure_nothing_differs(&[("--data", &data)])?;
    let output = sluice(&["ledger", "backup"], &[("--data", &data), ("", &copy)])?;
    ensure!(output.status.success() && text(&output).contains("checked"), "{}", text(&output));
    let output = sluice(&["ledger", "export"], &[("--data", &data), ("--out", &books)])?;
    ensure!(output.status.success(), "{}", text(&output));
    let tally = stress.finish().await?;
    ensure!(tally.disconnects == 0 && tally.unanswered.is_empty(), "somebody noticed the copies");
    ensure_nothing_differs(&[("--data", &data), ("--ledger", &copy)])?;
    ensure!(Books::read(&books)?.check()? >= 3, "too few rounds were computed");
    let again = sluice(&["ledger", "backup"], &[("--data", &data), ("", &copy)])?;
    ensure!(again.status.code() == Some(1) && text(&again).contains("exists already"), "{}", text(&again));
    ensure!(pool.stop().await?.success());
    let said = ensure_equal(&[("--data", &data)])?;
    ensure!(said.contains("0 others"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_says_the_same_as_csv_to_a_reader_that_is_not_ours() -> Result<()> {
    let Some(python) = python("parquet_says_the_same_as_csv_to_a_reader_that_is_not_ours")? else {
        return Ok(());
    };
    let mut pool = Pool::ready(setup(PPLNS)).await?;
    settle(&pool, 2).await?.finish().await?;
    ensure!(pool.stop().await?.success());
    let (data, place) = (pool.data(), TempDir::new()?);
    let (text, typed) = (place.path().join("text"), place.path().join("typed"));
    for (out, format) in [(&text, "csv"), (&typed, "parquet")] {
        let output = sluice(&["ledger", "export", "--format", format], &[("--data", &data), ("--out", out)])?;
        ensure!(output.status.success(), "{}", self::text(&output));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/tables.py");
    let output = Command::new(python).arg(script).args([&text, &typed]).output()?;
    ensure!(output.status.success(), "{}", self::text(&output));
    let rows: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(rows["shares"].as_u64() >= Some(500) && rows["rounds"].as_u64() >= Some(2), "{rows}");
    Ok(())
}

/// A Python with pyarrow; `None`, and a line that says how to get it, where there is none.
pub(crate) fn python(test: &str) -> Result<Option<PathBuf>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pyarrow/bin/python");
    let has_pyarrow = |python: &PathBuf| {
        let command = Command::new(python).args(["-c", "import pyarrow.parquet"]).output();
        command.is_ok_and(|output| output.status.success())
    };
    let found = [own, PathBuf::from("python3")].into_iter().find(has_pyarrow);
    if found.is_none() {
        let how = "python3 -m venv target/pyarrow && target/pyarrow/bin/pip install pyarrow";
        ensure!(std::env::var_os("CI").is_none(), "{test} needs pyarrow: {how}");
        println!("skipped: {test}: needs pyarrow: {how}");
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn solo_audits_equal_and_what_is_changed_is_named() -> Result<()> {
    let mut pool = Pool::ready(setup(Payout::Solo { fee_bps: FEE_BPS })).await?;
    settle(&pool, 3).await?.finish().await?;
    let data = pool.data();
    ensure_equal(&[("--data", &data)])?;
    ensure!(pool.stop().await?.success());
    let solo = sluice(&["audit", "--json"], &[("--data", &data)])?;
    let report: Value = serde_json::from_slice(&solo.stdout)?;
    ensure!(
        report["findings"] == Value::Array(Vec::new()) && report["rounds"].as_u64() >= Some(3),
        "{report}"
    );
    let forged = [
        (
            "UPDATE entries SET amount = amount + CASE book WHEN 'house' THEN -1 ELSE 1 END \
          WHERE journal = (SELECT min(id) FROM journal) AND cause = 'credit'",
            "credits, block",
        ),
        ("UPDATE shares SET difficulty = difficulty * 3 WHERE seq = 7", "totals, account"),
        (
            "UPDATE rounds SET answer = replace(answer, '\"account\":\"bcrt1', '\"account\":\"bcrt2') WHERE block = (SELECT min(block) FROM rounds)",
            "policy payout-solo",
        ),
        (
            "UPDATE rounds SET input = replace(input, '\"fees\":', '\"fees\":1') WHERE block = (SELECT min(block) FROM rounds)",
            "input, block",
        ),
        (
            "UPDATE rounds SET policy_hash = printf('%064d', 7) WHERE block = (SELECT min(block) FROM rounds)",
            "missing  policy payout-solo",
        ),
    ];
    for (statement, words) in forged {
        let place = TempDir::new()?;
        let copy = place.path().join("forged.db");
        let output = sluice(&["ledger", "backup"], &[("--data", &data), ("", &copy)])?;
        ensure!(output.status.success(), "{}", text(&output));
        forge(&copy, statement)?;
        let said = differs(&[("--data", &data), ("--ledger", &copy)])?;
        ensure!(said.contains(words), "{statement}:\n{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_share_a_lost_component_and_a_damaged_one_are_named() -> Result<()> {
    let mut pool = Pool::ready(setup(PPLNS)).await?;
    settle(&pool, 2).await?.finish().await?;
    ensure!(pool.stop().await?.success());
    let (data, place) = (pool.data(), TempDir::new()?);
    let copy = place.path().join("forged.db");
    ensure!(sluice(&["ledger", "backup"], &[("--data", &data), ("", &copy)])?.status.success());
    // A share within the window of the newest settled block.
    let through = "(SELECT max(through) FROM blocks WHERE id IN (SELECT block FROM rounds))";
    forge(&copy, &format!("UPDATE shares SET difficulty = difficulty * 3 WHERE seq = {through} - 1"))?;
    let said = differs(&[("--data", &data), ("--ledger", &copy)])?;
    ensure!(said.contains("input, block") && said.contains(", account bcrt1"), "{said}");

    let hash: String = Connection::open(ledger::file(&data)?)?.query_row(
        "SELECT policy_hash FROM rounds LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    let kept = data.join("policies/wasm").join(format!("{hash}.wasm"));
    let bytes = fs::read(&kept).context("the component that settled is not kept")?;
    fs::remove_file(&kept)?;
    let said = differs(&[("--data", &data)])?;
    ensure!(said.contains("missing  policy payout-pplns") && said.contains(&hash), "{said}");
    ensure!(said.contains("unknown"), "{said}");
    fs::write(&kept, &bytes[..bytes.len() - 1])?;
    let said = differs(&[("--data", &data)])?;
    ensure!(said.contains("holds something else now"), "{said}");
    fs::write(&kept, &bytes)?;
    ensure_equal(&[("--data", &data)])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_round_is_computed_with_the_component_and_settings_of_its_time() -> Result<()> {
    let mut pool = Pool::ready(setup(PPLNS)).await?;
    let stress = settle(&pool, 2).await?;
    pool.plugins.replace(PPLNS_FILE, &variant(PPLNS_FILE, 1)?)?;
    until_policies(&pool, "policy_hash", 2).await?;
    let config = fs::read_to_string(pool.config())?;
    fs::write(pool.config(), config.replace(&format!("fee-bps = {FEE_BPS}"), "fee-bps = 77"))?;
    until_policies(&pool, "settings", 2).await?;
    ensure_equal(&[("--data", &pool.data())])?;
    stress.finish().await?;
    ensure!(pool.stop().await?.success());
    ensure_equal(&[("--data", &pool.data())])?;
    Ok(())
}

/// Waits until rounds were settled with so many different ones.
async fn until_policies(pool: &Pool, column: &str, wanted: u32) -> Result<()> {
    let query = format!("SELECT count(DISTINCT {column}) FROM rounds");
    let file = ledger::file(&pool.data())?;
    let wait = async {
        loop {
            let connection = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection.busy_timeout(SOON)?;
            if connection.query_row(&query, [], |row| row.get::<_, u32>(0))? >= wanted {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(SOON * 2, wait).await.with_context(|| format!("no round with another {column}"))?
}

#[test]
fn a_directory_without_a_ledger_is_refused() -> Result<()> {
    let place = TempDir::new()?;
    for command in [&["audit"][..], &["ledger", "export", "--out", "/nonexistent/books"]] {
        let output = sluice(command, &[("--data", place.path())])?;
        ensure!(output.status.code() == Some(1), "{}: {}", output.status, text(&output));
        ensure!(text(&output).contains("there is no ledger at"), "{}", text(&output));
    }
    ensure!(fs::read_dir(place.path())?.next().is_none(), "something was written");
    Ok(())
}

/// Changes a ledger behind its own back.
fn forge(database: &Path, statement: &str) -> Result<()> {
    let connection = Connection::open(database)?;
    let names: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in names {
        connection.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    ensure!(connection.execute(statement, [])? > 0, "{statement} changes nothing");
    Ok(())
}

/// The exported files, for arithmetic that shares no line with the pool's.
struct Books {
    shares: Vec<HashMap<String, String>>,
    blocks: HashMap<String, HashMap<String, String>>,
    entries: Vec<HashMap<String, String>>,
    rounds: Vec<Value>,
    accounts: Vec<HashMap<String, String>>,
}

/// The fields of a line; no field of these tests has a line break in it.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

pub(crate) fn table(path: &Path) -> Result<Vec<HashMap<String, String>>> {
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines().map(fields);
    let header = lines.next().context("no header")?;
    Ok(lines.map(|cells| header.iter().cloned().zip(cells).collect()).collect())
}

impl Books {
    fn read(dir: &Path) -> Result<Self> {
        let rounds = fs::read_to_string(dir.join("rounds.jsonl"))?;
        let blocks = table(&dir.join("blocks.csv"))?;
        Ok(Self {
            shares: table(&dir.join("shares.csv"))?,
            blocks: blocks.into_iter().map(|block| (block["block"].clone(), block)).collect(),
            entries: table(&dir.join("entries.csv"))?,
            rounds: rounds.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?,
            accounts: table(&dir.join("accounts.csv"))?,
        })
    }

    /// Computes every round's credits and every balance; returns the number of rounds.
    fn check(&self) -> Result<usize> {
        for round in &self.rounds {
            let hash = round["block"].as_str().context("no block")?;
            self.check_question(round, &self.blocks[hash])?;
            let expected = self.credits(&self.blocks[hash])?;
            let booked = self.sums(|entry| entry["block"] == hash && entry["cause"] == "credit")?;
            ensure!(expected == booked, "block {hash}: {expected:?} is booked as {booked:?}");
        }
        let balances = self.sums(|entry| entry["book"] == "account")?;
        for account in &self.accounts {
            let balance = balances.get(&account["account"]).copied().unwrap_or(0);
            ensure!(account["balance_sat"].parse::<i64>()? == balance, "{account:?} has {balance}");
        }
        ensure!(self.sums(|_| true)?.values().sum::<i64>() == 0, "the books do not sum to zero");
        Ok(self.rounds.len())
    }

    fn sums(&self, of: impl Fn(&HashMap<String, String>) -> bool) -> Result<BTreeMap<String, i64>> {
        let mut sums = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| of(entry)) {
            *sums.entry(entry["account"].clone()).or_default() += entry["amount_sat"].parse::<i64>()?;
        }
        Ok(sums)
    }

    /// The newest shares whose work reaches twice the network's: work by account and number of shares, in 2^-32 of
    /// difficulty.
    fn window(&self, block: &HashMap<String, String>) -> Result<BTreeMap<String, (u128, u64)>> {
        let units = |difficulty: &str| {
            Ok::<_, anyhow::Error>((difficulty.parse::<f64>()? * 2f64.powi(32)).round() as u128)
        };
        let target = (block["network_difficulty"].parse::<f64>()? * WINDOW * 2f64.powi(32)).round() as u128;
        let through: usize = block["through"].parse()?;
        let (mut work, mut total) = (BTreeMap::<String, (u128, u64)>::new(), 0);
        for share in self.shares[..through].iter().rev() {
            let one = units(&share["difficulty"])?.max(1);
            let own = work.entry(share["account"].clone()).or_default();
            *own = (own.0 + one, own.1 + 1);
            total += one;
            if total >= target {
                break;
            }
        }
        Ok(work)
    }

    /// What the policy was asked is what the log says.
    fn check_question(&self, round: &Value, block: &HashMap<String, String>) -> Result<()> {
        let (hash, input) = (&round["block"], &round["input"]);
        for (field, column) in [("height", "height"), ("subsidy", "subsidy_sat"), ("fees", "fees_sat")] {
            ensure!(
                input[field].as_u64() == Some(block[column].parse()?),
                "{hash}: {field} is {}",
                input[field]
            );
        }
        let unit = input["work_unit"].as_f64().context("no unit")? * 2f64.powi(32);
        let told = input["contributions"].as_array().context("no contributions")?;
        let told: Option<BTreeMap<String, (u128, u64)>> = told
            .iter()
            .map(|one| {
                let (work, shares) = (one["work"].as_u64()?, one["shares"].as_u64()?);
                Some((one["account"].as_str()?.to_owned(), (u128::from(work), shares)))
            })
            .collect();
        let in_units = |(account, (work, shares))| (account, (work / unit as u128, shares));
        let expected: BTreeMap<_, _> = self.window(block)?.into_iter().map(in_units).collect();
        ensure!(told.as_ref() == Some(&expected), "{hash}: {told:?}, and not {expected:?}");
        Ok(())
    }

    /// PPLNS as its documentation has it: the fee off the top, the rest by work, the largest remainders first.
    fn credits(&self, block: &HashMap<String, String>) -> Result<BTreeMap<String, i64>> {
        let work = self.window(block)?;
        let total: u128 = work.values().map(|own| own.0).sum();
        let reward = block["subsidy_sat"].parse::<u128>()? + block["fees_sat"].parse::<u128>()?;
        let fee = reward * u128::from(FEE_BPS) / 10_000;
        let rest = reward - fee;
        let mut parts: Vec<(String, u128, u128)> = work
            .into_iter()
            .map(|(account, (own, _))| (account, rest * own / total, rest * own % total))
            .collect();
        let left = rest - parts.iter().map(|part| part.1).sum::<u128>();
        parts.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(&b.0)));
        let mut credits = BTreeMap::from([(String::new(), i64::try_from(fee)?)]);
        for (index, (account, sats, _)) in parts.into_iter().enumerate() {
            let more = u128::from((index as u128) < left);
            credits.insert(account, i64::try_from(sats + more)?);
        }
        Ok(credits)
    }
}
