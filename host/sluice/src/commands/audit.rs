//! `sluice audit`: the books computed again.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bitcoin::Network;
use sluice_core::policy::PolicyKind;
use sluice_core::policy::payout::{Entitlement, PayoutPolicy, Plan, Round};
use sluice_ledger::{Judge, NoAnswer, PolicyRecord, Progress, Report};
use sluice_policy::{KeptError, Limits, Loader, SlotConfig, kept};

use super::ticker::{Ticker, grouped};
use crate::app;
use crate::cli::{Audit, exit};

/// Policies with their settings that are kept ready; beyond it all are loaded anew.
const READY_LIMIT: usize = 32;
/// Stack for the guests' calls.
const STACK: usize = 8 << 20;
/// Nobody waits for an answer here, and the limits of the time are not recorded: whatever a pool may have allowed.
const FUEL_FACTOR: u64 = 100;
const DEADLINE: Duration = Duration::from_secs(600);
const MEMORY: usize = 4 << 30;

/// Audits what `args` name. Returns 1 where something differs or could not be computed.
///
/// # Errors
/// There is no ledger, or it cannot be read.
pub fn run(args: &Audit, out: &mut dyn Write) -> anyhow::Result<u8> {
    let database =
        args.ledger.clone().unwrap_or_else(|| sluice_ledger::database_in(&args.data.join("ledger")));
    let start = Instant::now();
    let report = audit(&database, &args.data.join("policies"))?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        render(&report, &database, start.elapsed(), out)?;
    }
    Ok(if report.is_clean() { exit::OK } else { exit::FAILED })
}

fn audit(database: &Path, cache: &Path) -> anyhow::Result<Report> {
    // What is compiled goes to a directory of its own: the pool's is not written.
    let scratch = std::env::temp_dir().join(format!("sluice-audit-{}", std::process::id()));
    // A payout policy knows no network.
    let loader = Loader::new(&scratch, app::compiler()?, Network::Bitcoin)?;
    let mut judge = Components { loader, cache: cache.to_owned(), ready: HashMap::new() };
    let mut ticker = Ticker::new();
    let report = thread::scope(|scope| {
        thread::Builder::new()
            .name("audit".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || {
                sluice_ledger::audit(database, &mut judge, &mut |at| tell(&mut ticker, at))
            })
            .context("failed to start a thread")?
            .join()
            .map_err(|_| anyhow!("the audit stopped by a fault of its own"))?
            .map_err(anyhow::Error::from)
    });
    // What cannot be removed is the system's to clean.
    let _ = std::fs::remove_dir_all(&scratch);
    report
}

fn tell(ticker: &mut Ticker, at: Progress) {
    match at {
        Progress::Shares { done, of } => ticker.tick("shares", done, of),
        Progress::Rounds { done, of } => ticker.tick("rounds", done, of),
    }
}

type Ready = Result<Box<dyn PayoutPolicy>, NoAnswer>;

/// The components that the data directory keeps.
struct Components {
    loader: Loader,
    cache: PathBuf,
    ready: HashMap<(String, String), Ready>,
}

impl Components {
    fn ask<R>(
        &mut self,
        policy: &PolicyRecord,
        question: impl FnOnce(&mut dyn PayoutPolicy) -> Result<R, sluice_core::policy::PolicyFailure>,
    ) -> Result<R, NoAnswer> {
        let key = (policy.hash.clone(), policy.settings.clone());
        if self.ready.len() >= READY_LIMIT && !self.ready.contains_key(&key) {
            self.ready.clear();
        }
        let (loader, cache) = (&self.loader, &self.cache);
        match self.ready.entry(key).or_insert_with(|| load(loader, cache, policy)) {
            Ok(ready) => question(ready.as_mut()).map_err(|failure| NoAnswer::Failed(failure.to_string())),
            Err(why) => Err(why.clone()),
        }
    }
}

fn load(loader: &Loader, cache: &Path, policy: &PolicyRecord) -> Ready {
    let wasm = kept(cache, &policy.hash).map_err(|error| match error {
        KeptError::Changed { .. } => NoAnswer::Failed(error.to_string()),
        _ => NoAnswer::Missing(error.to_string()),
    })?;
    let settings = serde_json::from_str(&policy.settings)
        .map_err(|error| NoAnswer::Failed(format!("its settings cannot be read: {error}")))?;
    let common = Limits::of(PolicyKind::Payout);
    let limits = Limits {
        fuel: common.fuel.saturating_mul(FUEL_FACTOR),
        fuel_per_item: common.fuel_per_item.saturating_mul(FUEL_FACTOR),
        deadline: DEADLINE,
        memory: MEMORY,
        ..common
    };
    let config = SlotConfig { file: String::new(), settings, limits };
    loader.payout(&wasm, &config).map_err(|error| NoAnswer::Failed(error.to_string()))
}

impl Judge for Components {
    fn plan(&mut self, policy: &PolicyRecord) -> Result<Plan, NoAnswer> {
        self.ask(policy, |payout| payout.plan())
    }

    fn settle(&mut self, policy: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer> {
        self.ask(policy, |payout| payout.settle(round))
    }
}

fn render(report: &Report, database: &Path, took: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    let rate = report.shares as f64 / took.as_secs_f64().max(1e-3);
    writeln!(out, "ledger   {}", database.display())?;
    writeln!(
        out,
        "shares   {} in {:.1} s, {} a second",
        grouped(report.shares),
        took.as_secs_f64(),
        grouped(rate as u64)
    )?;
    let unjudged: u64 = report.missing.iter().map(|missing| missing.rounds).sum();
    writeln!(
        out,
        "rounds   {} settled, {} of them again",
        report.rounds,
        report.rounds.saturating_sub(unjudged)
    )?;
    writeln!(out, "entries  {} compared, {} others added up", report.entries, report.other_entries)?;
    for missing in &report.missing {
        let PolicyRecord { name, version, hash, .. } = &missing.policy;
        let (rounds, why) = (missing.rounds, &missing.why);
        writeln!(out, "missing  policy {name} {version} ({hash}), which settled {rounds} rounds: {why}")?;
    }
    for finding in &report.findings {
        let more = match finding.count {
            1 => String::new(),
            count => format!(" ({} more of this kind)", count - 1),
        };
        writeln!(out, "differs  {}{more}", super::printable(&finding.first.to_string()))?;
    }
    let verdict = match (report.findings.len(), report.missing.len()) {
        (0, 0) => "equal    every round, entry and balance is what the share log and its policies give",
        (0, _) => "unknown  nothing differs, but not everything could be computed again",
        _ => "the books are not what the share log and its policies give",
    };
    writeln!(out, "{verdict}")?;
    Ok(())
}
