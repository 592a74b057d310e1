//! `sluice backtest`: loads the policies, lets [`crate::backtest`] try them, and shows what came of it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bitcoin::Network;
use serde::Serialize;
use sluice_core::policy::PolicyKind;
use sluice_ledger::Recorded;
use sluice_policy::config::Settings;
use sluice_policy::{Limits, Loader, SlotConfig};

use super::printable;
use super::ticker::Ticker;
use crate::backtest::report::{self, PayoutBacktest, Policy, Tried, VardiffBacktest};
use crate::backtest::scenario::Scenario;
use crate::backtest::{self, Miners};
use crate::cli::{BacktestCommand, BacktestPayout, BacktestVardiff, Shown, Source, exit};
use crate::demo::SHIPPED;
use crate::{app, files};

/// Stack for the guests' calls.
const STACK: usize = 8 << 20;
/// Nobody waits for an answer here; the fuel is what the pool allows.
const DEADLINE: Duration = Duration::from_secs(60);
/// Lines of the table of accounts; the JSON has all.
const ACCOUNTS: usize = 25;
/// The largest scenario or settings, in bytes.
const FILE_LIMIT: u64 = 1 << 20;
/// What a payout policy on a simulated chain is compared with.
const SHIPPED_PAYOUT: &str = "payout-pplns.wasm";

/// Does what was asked. Returns 1 where the policy gave no usable answer at least once.
///
/// # Errors
/// A policy, a scenario or a ledger that cannot be read; a report that cannot be written.
pub fn run(command: &BacktestCommand, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (BacktestCommand::Vardiff(BacktestVardiff { shown, .. })
    | BacktestCommand::Payout(BacktestPayout { shown, .. })) = command;
    if let Some(path) = &shown.report {
        writable(path)?;
    }
    match command {
        BacktestCommand::Vardiff(args) => {
            let result = aside(|| vardiff(args))?;
            let sound = result.candidate.trial.failures == 0;
            show(&args.shown, &result, report::vardiff, vardiff_lines(&result), out)?;
            Ok(if sound { exit::OK } else { exit::FAILED })
        }
        BacktestCommand::Payout(args) => {
            let result = aside(|| payout(args))?;
            let sound = result.comparison.held == 0;
            show(&args.shown, &result, report::payout, payout_lines(&result), out)?;
            Ok(if sound { exit::OK } else { exit::FAILED })
        }
    }
}

/// Nobody wants to hear at the end that the report has no place.
fn writable(path: &Path) -> anyhow::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    anyhow::ensure!(dir.is_dir(), "{} is no directory: the report cannot be written there", dir.display());
    anyhow::ensure!(!path.is_dir(), "{} is a directory; name a file for the report", path.display());
    Ok(())
}

/// On a thread with stack enough for guests.
fn aside<R: Send>(work: impl FnOnce() -> anyhow::Result<R> + Send) -> anyhow::Result<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("backtest".to_owned()).stack_size(STACK);
        let handle = thread.spawn_scoped(scope, work).context("failed to start a thread")?;
        handle.join().map_err(|_| anyhow!("the backtest stopped by a fault of its own"))?
    })
}

/// Compiles and runs; what it compiles is removed at the end.
struct Workshop {
    dir: PathBuf,
    loader: Loader,
}

impl Workshop {
    fn open() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("sluice-backtest-{}", std::process::id()));
        let loader = Loader::new(&dir, app::compiler()?, Network::Bitcoin)?;
        Ok(Self { dir, loader })
    }

    fn policy(&self, file: &str, wasm: &[u8]) -> Policy {
        let found = sluice_policy::inspect(wasm, &self.loader);
        let said = found.descriptor.unwrap_or_default();
        Policy { file: file.to_owned(), name: said.name, version: said.version, sha256: found.sha256 }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn config(kind: PolicyKind, settings: Option<&Path>) -> anyhow::Result<SlotConfig> {
    let settings = match settings {
        Some(path) => toml::from_str(&text(path)?).with_context(|| format!("{} is wrong", path.display()))?,
        None => Settings::new(),
    };
    let limits = Limits { deadline: DEADLINE, ..Limits::of(kind) };
    Ok(SlotConfig { settings, limits, ..SlotConfig::new(kind, "") })
}

fn text(path: &Path) -> anyhow::Result<String> {
    let failed = || format!("failed to read {}", path.display());
    let size = fs::metadata(path).with_context(failed)?.len();
    anyhow::ensure!(
        size <= FILE_LIMIT,
        "{} has {size} bytes; at most {FILE_LIMIT} are allowed",
        path.display()
    );
    fs::read_to_string(path).with_context(failed)
}

fn component(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

fn scenario(path: &Path) -> anyhow::Result<Scenario> {
    Scenario::parse(&text(path)?).with_context(|| format!("{} is no scenario", path.display()))
}

/// A scenario, a ledger, and what they are called.
enum Past {
    Scenario(Box<Scenario>),
    Ledger(Box<Recorded>),
}

fn past(source: &Source) -> anyhow::Result<(String, Past)> {
    match (&source.scenario, &source.data) {
        (Some(path), _) => Ok((path.display().to_string(), Past::Scenario(Box::new(scenario(path)?)))),
        (None, Some(dir)) => {
            let ledger = Recorded::open(&files::database(dir))?;
            Ok((dir.display().to_string(), Past::Ledger(Box::new(ledger))))
        }
        (None, None) => Err(anyhow!("--data or --scenario is required")),
    }
}

fn vardiff(args: &BacktestVardiff) -> anyhow::Result<VardiffBacktest> {
    let workshop = Workshop::open()?;
    let (source, past) = past(&args.source)?;
    let miners = match past {
        Past::Scenario(scenario) => Miners::Made(scenario),
        Past::Ledger(ledger) => Miners::Recorded(ledger),
    };
    let target = args.target.unwrap_or_else(|| backtest::target(&miners));
    let tried = |file: &Path, settings: Option<&Path>| -> anyhow::Result<Tried> {
        let wasm = component(file)?;
        let loaded = workshop.loader.vardiff(&wasm, &config(PolicyKind::Vardiff, settings)?);
        let mut policy = loaded.with_context(|| format!("{} does not load", file.display()))?;
        let mut ticker = Ticker::new();
        let trial = backtest::vardiff(&miners, target, policy.as_mut(), &mut |what, done, of| {
            ticker.tick(what, done, of);
        })?;
        Ok(Tried { policy: workshop.policy(&file.display().to_string(), &wasm), trial })
    };
    let candidate = tried(&args.file, args.settings.as_deref())?;
    let against = args.against.as_deref().map(|file| tried(file, args.against_settings.as_deref()));
    let against = against.transpose()?;
    Ok(VardiffBacktest { source, target_per_minute: target, candidate, against })
}

fn payout(args: &BacktestPayout) -> anyhow::Result<PayoutBacktest> {
    let workshop = Workshop::open()?;
    let (source, past) = past(&args.source)?;
    let load = |file: &str, wasm: &[u8], settings: Option<&Path>| {
        let loaded = workshop.loader.payout(wasm, &config(PolicyKind::Payout, settings)?);
        let policy = loaded.with_context(|| format!("{file} does not load"))?;
        anyhow::Ok((workshop.policy(file, wasm), policy))
    };
    let (candidate, mut policy) =
        load(&args.file.display().to_string(), &component(&args.file)?, args.settings.as_deref())?;
    let against = match (&args.against, &past) {
        (Some(file), _) => {
            Some(load(&file.display().to_string(), &component(file)?, args.against_settings.as_deref())?)
        }
        (None, Past::Scenario(_)) => {
            let shipped = SHIPPED.iter().find(|(file, _)| *file == SHIPPED_PAYOUT);
            let (file, wasm) = shipped.context("the program carries it")?;
            Some(load(file, wasm, None)?)
        }
        (None, Past::Ledger(_)) => None,
    };
    let (against, mut other) = against.unzip();
    let mut ticker = Ticker::new();
    let mut progress = |what: &'static str, done, of| ticker.tick(what, done, of);
    let comparison = match (&past, &mut other) {
        (Past::Scenario(scenario), Some(other)) => {
            backtest::payout_simulated(scenario, policy.as_mut(), other.as_mut())?
        }
        (Past::Scenario(_), None) => anyhow::bail!("--against is required"),
        (Past::Ledger(ledger), Some(other)) => {
            backtest::payout_recorded(ledger, policy.as_mut(), Some(other.as_mut()), &mut progress)?
        }
        (Past::Ledger(ledger), None) => {
            backtest::payout_recorded(ledger, policy.as_mut(), None, &mut progress)?
        }
    };
    Ok(PayoutBacktest { source, candidate, against, comparison })
}

fn show<T: Serialize>(
    shown: &Shown,
    result: &T,
    page: impl FnOnce(&T) -> String,
    lines: Vec<String>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if let Some(path) = &shown.report {
        fs::write(path, page(result)).with_context(|| format!("failed to write {}", path.display()))?;
    }
    if shown.json {
        serde_json::to_writer_pretty(&mut *out, result)?;
        writeln!(out)?;
        return Ok(());
    }
    for line in lines {
        writeln!(out, "{}", printable(&line))?;
    }
    Ok(())
}

fn vardiff_lines(result: &VardiffBacktest) -> Vec<String> {
    let mut lines =
        vec![format!("miners: {}; target: {} shares a minute", result.source, result.target_per_minute)];
    for (what, tried) in [("candidate", Some(&result.candidate)), ("against", result.against.as_ref())] {
        let Some(Tried { policy, trial }) = tried else { continue };
        lines.push(format!("{what}: {} ({})", policy.title(), policy.sha256));
        lines.extend(aligned(&report::COLUMNS, trial.groups.iter().map(report::cells).collect()));
        if trial.left_out > 0 {
            lines.push(format!("{} workers left out, of all sizes", trial.left_out));
        }
        if trial.failures > 0 {
            let said = trial.failed.join("; ");
            lines.push(format!("{} of {} calls failed: {said}", trial.failures, trial.calls));
        }
    }
    lines
}

fn payout_lines(result: &PayoutBacktest) -> Vec<String> {
    let against = result.against.as_ref().map_or_else(|| "as recorded".to_owned(), Policy::title);
    let mut lines = vec![
        format!("questions: {}", result.source),
        format!("candidate: {} ({})", result.candidate.title(), result.candidate.sha256),
        format!("current: {against}"),
    ];
    lines.extend(report::facts(&result.comparison));
    if result.comparison.is_equal() {
        lines.push("every account gets the same".to_owned());
        return lines;
    }
    let accounts = &result.comparison.accounts;
    lines.extend(aligned(
        &report::ACCOUNT_COLUMNS,
        accounts.iter().take(ACCOUNTS).map(report::account_cells).collect(),
    ));
    if accounts.len() > ACCOUNTS {
        lines.push(format!("and {} more; --json has all", accounts.len() - ACCOUNTS));
    }
    lines
}

/// Columns below each other, the first to the left.
fn aligned<const N: usize>(titles: &[&str; N], rows: Vec<[String; N]>) -> Vec<String> {
    let titles = titles.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate().map(|(index, (cell, width))| {
            if index == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}
