//! `sluice backtest` from outside: the shipped vardiff at every size of miner, and reports in a real browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_core::policy::PolicyKind;
use sluice_tests::browser::Browser;
use sluice_tests::miner::address;
use sluice_tests::plugins::{PPLNS, SOLO, TIDES, VARDIFF};
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup};
use sluice_tests::stress::{Load, Protocols, Stress};
use sluice_tests::{POLL, SOON, binary, ledger};
use tempfile::TempDir;

use crate::guest::Guest;

/// Groups of config/backtest/decades.toml.
const DECADES: usize = 14;

fn repository(path: &str) -> PathBuf {
    binary::workspace().join(path)
}

fn dist(name: &str) -> PathBuf {
    repository("plugins/dist").join(name)
}

/// Runs `sluice backtest`; its exit code and both of what it prints.
async fn backtest(
    kind: &'static str,
    file: &Path,
    options: &[(&'static str, PathBuf)],
) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(binary::sluice()?);
    command.args(["backtest", kind]).arg(file).env("NO_COLOR", "1");
    for (option, value) in options {
        command.arg(option);
        if !value.as_os_str().is_empty() {
            command.arg(value);
        }
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok((output.status.code(), said, complained))
}

/// The same, where it is to succeed.
async fn tried(kind: &'static str, file: &Path, options: &[(&'static str, PathBuf)]) -> Result<String> {
    let (code, said, complained) = backtest(kind, file, options).await?;
    ensure!(code == Some(0), "{kind} {}: {said}{complained}", file.display());
    Ok(said)
}

/// Within what docs/backtest.md says.
fn settles(group: &Value) -> Result<()> {
    let number =
        |path: &str| group.pointer(path).and_then(Value::as_f64).with_context(|| format!("no {path}"));
    ensure!(group["within_2"]["never"] == 0 && group["within_1_5"]["never"] == 0, "some never settle");
    let (is_large, is_seen) = (number("/hashrate")? >= 1e12, number("/hashrate")? >= 1e13);
    let minutes = if is_large { 12.0 } else { 25.0 };
    ensure!(number("/within_2/worst_s")? <= minutes * 60.0, "the slowest takes more than {minutes} min");
    ensure!(!is_seen || number("/within_2/median_s")? <= 90.0, "the median takes more than 90 s");
    ensure!(number("/within_2/stayed_worst")? >= 0.99, "one does not stay within a factor of 2");
    ensure!(number("/within_1_5/stayed_worst")? >= 0.95, "one does not stay within a factor of 1.5");
    ensure!((15.0..=21.0).contains(&number("/shares_per_minute")?), "the target is missed");
    ensure!(number("/variance")? <= 2.0, "shares scatter");
    ensure!(number("/changes_per_hour")? <= 0.5, "the difficulty does not rest");
    ensure!(number("/swing")? <= 10.0, "the difficulty swings");
    ensure!(group["lost_shares"] == 0, "shares are lost");
    Ok(())
}

#[tokio::test]
async fn the_shipped_vardiff_settles_from_half_a_megahash_to_an_exahash_and_stays() -> Result<()> {
    let options = [("--scenario", repository("config/backtest/decades.toml")), ("--json", PathBuf::new())];
    let said = tried("vardiff", &dist(VARDIFF), &options).await?;
    let result: Value = serde_json::from_str(&said)?;
    let groups = result["candidate"]["groups"].as_array().context("no groups")?;
    let rates: Vec<f64> = groups.iter().filter_map(|group| group["hashrate"].as_f64()).collect();
    ensure!(rates.len() == DECADES && rates[0] == 5e5 && rates[DECADES - 1] == 1e18, "{rates:?}");
    for group in groups {
        settles(group).with_context(|| {
            let mut group = group.clone();
            group["points"] = Value::Null;
            group.to_string()
        })?;
    }
    ensure!(result["candidate"]["failures"] == 0, "calls failed");
    // The same seed, the same result.
    ensure!(tried("vardiff", &dist(VARDIFF), &options).await? == said, "another run has another result");
    Ok(())
}

/// What a report looks like to who opens it.
const LOOK: &str = r#"{
  title: document.title,
  background: getComputedStyle(document.body).backgroundColor,
  overflow: document.documentElement.scrollWidth - innerWidth,
  resources: performance.getEntriesByType("resource").length,
  rows: document.querySelectorAll("tbody tr").length,
  plots: [...document.querySelectorAll(".plot")].map(plot => ({
    title: plot.querySelector("h3").textContent,
    labels: plot.querySelectorAll(".y span").length,
    width: plot.getBoundingClientRect().width,
    series: [...plot.querySelectorAll("path.one, path.two")].map(path => {
      const { x, y, width, height } = path.getBBox();
      return { points: path.getAttribute("d").split("L").length, length: path.getTotalLength(), x, y, width, height };
    }),
  })),
  bars: [...document.querySelectorAll(".bar rect")].map(bar => bar.getBBox().width),
}"#;

/// Opens a report as it is, and once more to look at it, in a wide window and in one of a phone.
async fn opened(browser: &Browser, report: &Path) -> Result<Value> {
    let text = fs::read_to_string(report)?;
    for outside in ["http:", "https:", "//", "@import", "url(", "src=", "href="] {
        ensure!(!text.contains(outside), "the report names {outside}");
    }
    let page = browser.open(&format!("file://{}", report.display()), 1280).await?;
    ensure!(page.console.is_empty(), "the browser complains: {:?}", page.console);
    let (page, narrow) = browser.look(report, 500, LOOK).await?;
    ensure!(page.console.is_empty(), "the browser complains: {:?}", page.console);
    ensure!(
        narrow["overflow"].as_i64().is_some_and(|pixels| pixels <= 0),
        "it is too wide for a phone: {narrow}"
    );
    let (page, wide) = browser.look(report, 1280, LOOK).await?;
    ensure!(page.console.is_empty(), "the browser complains: {:?}", page.console);
    ensure!(wide["resources"] == 0, "it loads something");
    ensure!(wide["background"] != "rgba(0, 0, 0, 0)", "it has no style: {wide}");
    Ok(wide)
}

/// Three plots for each group: share rate, difficulty, variance; with so many lines each, that are within their frame.
fn plots(seen: &Value, groups: usize, lines: usize) -> Result<()> {
    let plots = seen["plots"].as_array().context("no plots")?;
    ensure!(plots.len() == 3 * groups, "{} plots for {groups} groups", plots.len());
    for plot in plots {
        let title = plot["title"].as_str().context("no title")?;
        let series = plot["series"].as_array().context("no series")?;
        ensure!(series.len() == lines, "{title} has {} lines", series.len());
        ensure!(plot["labels"].as_u64() >= Some(1) && plot["width"].as_f64() > Some(100.0), "{plot}");
        for line in series {
            let number = |key: &str| line[key].as_f64().with_context(|| format!("{title}: {key} in {line}"));
            let (right, bottom) = (number("x")? + number("width")?, number("y")? + number("height")?);
            ensure!(
                number("x")? >= 0.0 && right <= 600.5 && number("y")? >= -0.5 && bottom <= 150.5,
                "{title}: {line}"
            );
            ensure!(number("points")? >= 2.0 && number("length")? > 0.0, "{title}: {line}");
        }
    }
    Ok(())
}

/// Three bars for each account: now, then, and what changes.
fn bars(seen: &Value) -> Result<usize> {
    let rows = seen["rows"].as_u64().context("no rows")? as usize;
    let bars: Vec<f64> =
        seen["bars"].as_array().context("no bars")?.iter().filter_map(Value::as_f64).collect();
    ensure!(bars.len() == 3 * rows, "{} bars for {rows} accounts", bars.len());
    ensure!(bars.iter().all(|width| (0.0..=100.0).contains(width)), "{bars:?}");
    ensure!(bars.iter().any(|width| *width > 99.0), "none is as wide as can be: {bars:?}");
    Ok(rows)
}

#[tokio::test]
async fn a_browser_opens_the_reports_on_simulated_miners() -> Result<()> {
    let test = "a_browser_opens_the_reports_on_simulated_miners";
    let Some(browser) = Browser::find_or_skip(test)? else { return Ok(()) };
    let home = TempDir::new()?;
    let report = home.path().join("report.html");
    let settings = home.path().join("wide.toml");
    fs::write(&settings, "band = 2.0\n")?;
    let options = [
        ("--scenario", repository("config/backtest/decades.toml")),
        ("--against", dist(VARDIFF)),
        ("--against-settings", settings),
        ("--report", report.clone()),
    ];
    tried("vardiff", &dist(VARDIFF), &options).await?;
    let seen = opened(&browser, &report).await?;
    ensure!(seen["title"] == "Vardiff backtest" && seen["rows"] == 2 * DECADES, "{}", seen["rows"]);
    plots(&seen, DECADES, 2)?;

    let options = [("--scenario", repository("config/backtest/payout.toml")), ("--report", report.clone())];
    tried("payout", &dist(TIDES), &options).await?;
    let seen = opened(&browser, &report).await?;
    ensure!(seen["title"] == "Payout backtest" && bars(&seen)? == 60, "{seen}");
    Ok(())
}

/// A pool on which so many blocks were found and settled, and that runs.
async fn pool_with_blocks(rounds: u32) -> Result<(Pool, Stress)> {
    let chain = Chain::Simulated { difficulty: 2.4e-7, transactions: 3, block_interval: None };
    let payout = Payout::Pplns { fee_bps: 100, window: 2.0 };
    let pool = Pool::ready(Setup { payout, ..Setup::new(chain, Difficulty::fixed(2.4e-10)) }).await?;
    let load = Load { connections: 6, accounts: 3, in_flight: 8, protocols: Protocols::Sv1 };
    let stress = Stress::start(&pool, load).await?;
    let settled = async {
        while ledger::rounds(&pool.data())? < rounds {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SOON, settled).await.context("no rounds are settled")??;
    Ok((pool, stress))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_opens_the_reports_on_a_running_pool_and_its_own_pages() -> Result<()> {
    let test = "a_browser_opens_the_reports_on_a_running_pool_and_its_own_pages";
    let Some(browser) = Browser::find_or_skip(test)? else { return Ok(()) };
    let (pool, mut stress) = pool_with_blocks(3).await?;
    let home = TempDir::new()?;
    let report = home.path().join("report.html");
    let options = || [("--data", pool.data()), ("--report", report.clone())];

    let said = tried("payout", &dist(PPLNS), &options()).await?;
    // The fee goes: the pool takes one percent, the shipped default takes none.
    ensure!(said.contains("as recorded") && said.contains("(the house)"), "{said}");
    let seen = opened(&browser, &report).await?;
    ensure!(bars(&seen)? == 4, "three accounts and the house: {seen}");

    let options = [options().as_slice(), &[("--target", PathBuf::from("600"))]].concat();
    tried("vardiff", &dist(VARDIFF), &options).await?;
    let seen = opened(&browser, &report).await?;
    let groups = seen["rows"].as_u64().context("no rows")? as usize;
    let plots = seen["plots"].as_array().context("no plots")?;
    let has_line = |plot: &&Value| plot["series"].as_array().is_some_and(|series| series.len() == 1);
    let drawn = plots.iter().filter(|plot| plot["title"] == "Difficulty").filter(has_line);
    ensure!(groups >= 1 && plots.len() == 3 * groups && drawn.count() == groups, "{seen}");

    // Nobody was held up, and nothing was written.
    stress.acknowledged(200).await?;
    let first = format!("/accounts/{}", address(0));
    for path in ["/", first.as_str()] {
        let page = browser.open(&format!("http://{}{path}", pool.http), 1280).await?;
        ensure!(page.console.is_empty(), "{path}: the browser complains: {:?}", page.console);
        ensure!(page.dom.contains("</main>"), "{path} is empty: {}", page.dom);
    }
    let tally = stress.finish().await?;
    // Blocks are found meanwhile: a share that comes late is stale (21).
    let refused: Vec<i64> = tally.refused.iter().map(|(code, _)| *code).filter(|code| *code != 21).collect();
    ensure!(refused.is_empty() && tally.disconnects == 0 && tally.unanswered.is_empty(), "{refused:?}");
    tally.compare(&ledger::shares(&pool.data())?)
}

#[tokio::test]
async fn what_a_page_does_wrong_is_noticed() -> Result<()> {
    let Some(browser) = Browser::find_or_skip("what_a_page_does_wrong_is_noticed")? else { return Ok(()) };
    let home = TempDir::new()?;
    let page = home.path().join("page.html");
    for (body, complaint) in [
        ("<script>nobody.home()</script>", "nobody is not defined"),
        ("<script>setTimeout(() => { throw new Error('late') }, 3000)</script>", "late"),
        ("<svg><path d=\"MNaN 1\"/></svg>", "Expected number"),
    ] {
        fs::write(&page, format!("<!DOCTYPE html><html><body>{body}</body></html>"))?;
        let opened = browser.open(&format!("file://{}", page.display()), 800).await?;
        ensure!(opened.console.iter().any(|line| line.contains(complaint)), "{body}: {:?}", opened.console);
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_tried_is_named_with_what_is_allowed() -> Result<()> {
    let home = TempDir::new()?;
    let scenario = |text: &str| -> Result<PathBuf> {
        let path = home.path().join("scenario.toml");
        fs::write(&path, text)?;
        Ok(path)
    };
    let good = || repository("config/backtest/home.toml");
    let bad = "duration = \"1h\"\n[[group]]\nname = \"a\"\nhashrate = \"1TH/s\"\njitter = 7\n";
    let nowhere = home.path().join("no/report.html");
    type Options = Vec<(&'static str, PathBuf)>;
    let cases: [(&'static str, &str, Options, &[&str]); 6] = [
        ("vardiff", SOLO, vec![("--scenario", good())], &["no vardiff policy", "of kind payout"]),
        ("payout", VARDIFF, vec![("--scenario", good())], &["no payout policy", "of kind vardiff"]),
        ("vardiff", VARDIFF, vec![("--scenario", scenario(bad)?)], &["line 5", "group[0].jitter", "0 to 1"]),
        ("vardiff", VARDIFF, vec![("--data", home.path().to_owned())], &["there is no ledger", "has run"]),
        (
            "vardiff",
            VARDIFF,
            vec![("--scenario", home.path().join("none.toml"))],
            &["failed to read", "none.toml"],
        ),
        ("payout", SOLO, vec![("--scenario", good()), ("--report", nowhere)], &["is no directory", "report"]),
    ];
    for (kind, file, options, expected) in cases {
        let (code, said, complained) = backtest(kind, &dist(file), &options).await?;
        let all_there = expected.iter().all(|words| complained.contains(words));
        ensure!(code == Some(1) && all_there, "{file}: {code:?} {said}{complained}");
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_that_traps_keeps_the_difficulty_and_is_told_so() -> Result<()> {
    let home = TempDir::new()?;
    let file = home.path().join("trap.wasm");
    fs::write(&file, Guest::new(PolicyKind::Vardiff, "trap").body("review-all", "(unreachable)").build())?;
    let scenario = home.path().join("short.toml");
    fs::write(&scenario, "duration = \"20m\"\n[[group]]\nname = \"a\"\nhashrate = \"5TH/s\"\n")?;
    let (code, said, _) = backtest("vardiff", &file, &[("--scenario", scenario)]).await?;
    // Opened once with an answer; every review is a trap, and the miner works on.
    ensure!(code == Some(1) && said.contains("calls failed") && said.contains("was stopped"), "{said}");
    Ok(())
}
