//! Whether the ledger keeps up, in one run on one machine: what a core of listeners can judge, what the log takes, what a
//! start and a window cost, what an audit with the shipped policies costs, and the ratios between them.
//!
//! `cargo bench -p sluice-tests --bench ledger`; `SHARES=10000000` for ten million shares (a minute or two, a GB in the
//! temporary directory). Prints once. Times of a shared machine mean little, the ratios are what counts.

mod books;
mod listener;
mod shares;

use std::path::Path;
use std::time::{Duration, Instant};

use sluice_core::policy::payout::Window;
use sluice_core::units::Difficulty;
use sluice_ledger::Ledger;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use books::Components;
use listener::{Wire, submissions_per_second};

/// That of a block with 4,000 transactions.
const FULL_BRANCH: u32 = 12;
/// The listeners and the log take turns so often; the best of each counts, which noise can only worsen.
const TURNS: usize = 3;
const TEN_MILLION: f64 = 1e7;

fn shares_wanted() -> u64 {
    std::env::var("SHARES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// What a core of listeners does, and how fast at best.
struct Listeners {
    what: &'static str,
    wire: Wire,
    branch: u32,
    rate: f64,
}

impl Listeners {
    fn all() -> [Self; 4] {
        let one = |what, wire, branch| Self { what, wire, branch, rate: 0.0 };
        [
            one("over sockets, branch of 12", Wire::Sockets, FULL_BRANCH),
            one("over sockets, no branch", Wire::Sockets, 0),
            one("in memory, branch of 12", Wire::Memory, FULL_BRANCH),
            one("in memory, no branch", Wire::Memory, 0),
        ]
    }

    fn measure(&mut self) {
        self.rate = self.rate.max(submissions_per_second(self.wire, self.branch));
    }
}

/// Shares committed in a second, and the log.
fn measure_commit(runtime: &Runtime, shares: u64) -> (f64, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = shares::opened(dir.path());
    let workers = shares::workers(&ledger);
    let start = Instant::now();
    runtime.block_on(shares::feed(&ledger, &workers, (0, shares)));
    let rate = rate(shares, start.elapsed());
    runtime.block_on(ledger.close());
    (rate, dir)
}

fn measure_start(runtime: &Runtime, dir: &Path, shares: u64) {
    let before = shares::memory();
    let start = Instant::now();
    let ledger = shares::opened(dir);
    let took = start.elapsed();
    println!("start      {took:.2?}, {} KiB more memory", shares::memory().saturating_sub(before));
    measure_window(runtime, &ledger, shares);
    runtime.block_on(ledger.close());
}

/// All shares there are, as a window that was never asked for.
fn measure_window(runtime: &Runtime, ledger: &Ledger, shares: u64) {
    let before = shares::memory();
    let start = Instant::now();
    let asked = ledger.contributions(Window::Work(1000.0), Difficulty::saturating(1e15));
    let sums = runtime.block_on(asked).expect("readable");
    let took = start.elapsed();
    assert_eq!(sums.list.iter().map(|part| part.shares).sum::<u64>(), shares);
    println!(
        "window     {took:.2?} for all of them, {:.0} shares/s, {} KiB more memory",
        rate(shares, took),
        shares::memory().saturating_sub(before)
    );
}

/// Shares audited in a second.
fn measure_audit(runtime: &Runtime, shares: u64) -> f64 {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = dir.path().join("ledger");
    books::fill(runtime, &ledger, &mut Components::load(&dir.path().join("pool")), shares);
    let start = Instant::now();
    let report = books::audit(&ledger, &dir.path().join("audit"));
    let took = start.elapsed();
    let rate = rate(shares, took);
    println!(
        "audit      {took:.2?}, {rate:.0} shares/s, ten million in {:.0} s (wanted: minutes); {} rounds, {} accruals, {} entries",
        TEN_MILLION / rate,
        report.rounds,
        report.accruals,
        report.entries,
    );
    rate
}

fn main() {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let shares = shares_wanted();
    println!("{shares} shares of {} accounts", shares::ACCOUNTS);
    let mut listeners = Listeners::all();
    let turns = (0..TURNS).map(|_| {
        listeners.iter_mut().for_each(Listeners::measure);
        measure_commit(&runtime, shares)
    });
    let (committed, log) = turns.max_by(|one, other| one.0.total_cmp(&other.0)).expect("turns");
    let bytes = shares::bytes_on_disk(log.path()) as f64 / shares as f64;
    println!("commit     {committed:.0} shares/s, {bytes:.1} bytes a share");
    measure_start(&runtime, log.path(), shares);
    drop(log);
    let audited = measure_audit(&runtime, shares);
    println!("\na core of listeners          submissions/s   commit is (wanted: 2)   audit is");
    for Listeners { what, rate, .. } in listeners {
        println!("{what:<28} {rate:>13.0} {:>17.2} times {:>8.2} times", committed / rate, audited / rate);
    }
}
