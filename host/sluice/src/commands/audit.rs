//! `sluice audit`: the books computed again.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bitcoin::Network;
use sluice_core::policy::PolicyKind;
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Round, Tally};
use sluice_ledger::{Judge, MissingPolicy, NoAnswer, PolicyRecord, Progress, Report, UnsettledBlock};
use sluice_policy::{KeptError, Limits, Loader, SlotConfig, kept};

use super::ticker::{Ticker, grouped};
use crate::cli::{Audit, exit};
use crate::{app, files};

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
    let database = args.ledger.clone().unwrap_or_else(|| files::database(&args.data));
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
        Progress::Accruals { done, of } => ticker.tick("accruals", done, of),
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
    let config = SlotConfig { settings, limits, ..SlotConfig::new(PolicyKind::Payout, "") };
    loader.payout(&wasm, &config).map_err(|error| NoAnswer::Failed(error.to_string()))
}

impl Judge for Components {
    fn plan(&mut self, policy: &PolicyRecord) -> Result<Plan, NoAnswer> {
        self.ask(policy, |payout| payout.plan())
    }

    fn settle(&mut self, policy: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer> {
        self.ask(policy, |payout| payout.settle(round))
    }

    fn accrue(&mut self, policy: &PolicyRecord, tallies: &[Tally]) -> Result<Vec<Accrued>, NoAnswer> {
        self.ask(policy, |payout| payout.accrue(tallies))
    }
}

fn render(report: &Report, database: &Path, took: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "ledger   {}", database.display())?;
    for line in counts(report, took).into_iter().chain(unequal(report)) {
        // Names of policies, accounts and whatever else the file holds.
        writeln!(out, "{}", super::printable(&line))?;
    }
    writeln!(out, "{}", verdict(report))?;
    Ok(())
}

/// What there is.
fn counts(report: &Report, took: Duration) -> Vec<String> {
    let Report { rounds, accruals, payouts, .. } = report;
    let left = report.shares.saturating_sub(report.folded_through);
    let seconds = took.as_secs_f64();
    let rate = left as f64 / seconds.max(1e-3);
    let missing = |of: fn(&MissingPolicy) -> u64| report.missing.iter().map(of).sum::<u64>();
    let (no_rounds, no_accruals) = (missing(|one| one.rounds), missing(|one| one.accruals));
    let again = |all: u64, not: u64| all.saturating_sub(not);
    let mut lines = vec![
        format!("shares   {} in {seconds:.1} s, {} a second", grouped(left), grouped(rate as u64)),
        format!("rounds   {rounds} settled, {} of them again", again(*rounds, no_rounds)),
        format!("entries  {} compared, {} others added up", report.entries, report.other_entries),
    ];
    if *accruals > 0 {
        let between = match report.between_accruals {
            0 => String::new(),
            shares => format!("; {} shares between them credited by no accrual", grouped(shares)),
        };
        let again = again(*accruals, no_accruals);
        lines.push(format!("accruals {accruals} credited, {again} of them again{between}"));
    }
    if *payouts > 0 {
        lines.push(format!("payouts  {payouts} compared with their lines and fees"));
    }
    if report.folded > 0 {
        let (folded, through) = (report.folded, grouped(report.folded_through));
        lines.push(format!(
            "folded   {folded} rounds and accruals count shares up to {through}, of which only hours are left: \
             their work is taken as recorded"
        ));
    }
    lines
}

/// What is not there, and what differs.
fn unequal(report: &Report) -> Vec<String> {
    let missing = report.missing.iter().map(|missing| {
        let PolicyRecord { name, version, hash, .. } = &missing.policy;
        let MissingPolicy { rounds, accruals, why, .. } = missing;
        let answered = match (rounds, accruals) {
            (rounds, 0) => format!("settled {rounds} rounds"),
            (0, accruals) => format!("credited {accruals} accruals"),
            _ => format!("settled {rounds} rounds and credited {accruals} accruals"),
        };
        format!("missing  policy {name} {version} ({hash}), which {answered}: {why}")
    });
    let held = report.unsettled.first().map(|first| {
        let (held, UnsettledBlock { block, height }) = (report.held, first);
        format!("held     {held} blocks that count are not settled, the first {block} at {height}")
    });
    let differs = report.findings.iter().map(|finding| {
        let more = match finding.count {
            1 => String::new(),
            count => format!(" ({} more of this kind)", count - 1),
        };
        format!("differs  {}{more}", finding.first)
    });
    missing.chain(held).chain(differs).collect()
}

fn verdict(report: &Report) -> &'static str {
    match (report.findings.as_slice(), report.missing.as_slice()) {
        ([], []) if report.held > 0 => "unknown  nothing differs, but not every block's round is settled",
        ([], []) if report.folded > 0 => {
            "equal    as far as the log reaches; every answer, division, entry and balance is what it has to be"
        }
        ([], []) => "equal    every round, entry and balance is what the share log and its policies give",
        ([], _) => "unknown  nothing differs, but not everything could be computed again",
        _ => "the books are not what the share log and its policies give",
    }
}
