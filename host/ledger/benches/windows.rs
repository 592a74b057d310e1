//! A long log: how long a start and the first look at a window take, in what memory, and how fast old shares are folded.
//!
//! `cargo bench -p sluice-ledger --bench windows`, with `SHARES=10000000` for ten million shares (about 430 MB on disk, in
//! the temporary directory). Prints once; a run of ten million takes minutes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{AccountId, AccountName, Protocol, ShareSeq, TemplateId, WorkerId, WorkerName};
use sluice_core::policy::payout::Window;
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{Durability, Ledger, LedgerConfig, Needed, QUEUE_LIMIT};
use tokio::runtime::{Builder, Runtime};

const WORKERS: u64 = 100;
const ACCOUNTS: u64 = 50;
/// Shares handed over at once, and the most that wait.
const APPEND: u64 = 4_000;
/// Between two shares: about 33 a second.
const PAUSE_MS: u64 = 30;

fn shares_wanted() -> u64 {
    std::env::var("SHARES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

fn opened(dir: &Path) -> Ledger {
    let config =
        LedgerConfig { dir: dir.to_owned(), durability: Durability::Process, queue_limit: QUEUE_LIMIT };
    Ledger::open(&config).expect("a ledger")
}

fn workers(ledger: &Ledger) -> Vec<(AccountId, WorkerId)> {
    let name = |index: u64| format!("account-{:04}", index % ACCOUNTS);
    (0..WORKERS)
        .map(|index| {
            let account = AccountName::new(&name(index)).expect("a name");
            let worker = WorkerName::new(&format!("rig{index}")).expect("a name");
            ledger.worker(&account, &worker).expect("room")
        })
        .collect()
}

fn share((account, worker): (AccountId, WorkerId), number: u64) -> ShareRecord {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    hash[8..16].copy_from_slice(&number.wrapping_mul(0xd6e8_feb8_6659_fd93).to_le_bytes());
    ShareRecord {
        at: Timestamp(1_700_000_000_000 + number * PAUSE_MS),
        account,
        worker,
        protocol: Protocol::StratumV1,
        template: TemplateId(1),
        difficulty: Difficulty::saturating(f64::from(worker.0 % 7 + 1) * 1024.5),
        hash: BlockHash::from_byte_array(hash),
    }
}

async fn feed(ledger: &Ledger, from: u64, to: u64) {
    let workers = workers(ledger);
    let mut committed = ledger.committed();
    for first in (from..to).step_by(APPEND as usize) {
        let numbers = first..to.min(first + APPEND);
        let shares: Vec<_> =
            numbers.map(|number| share(workers[(number % WORKERS) as usize], number)).collect();
        let last = ledger.append(&shares).await.expect("open");
        committed.wait_for(|seq| seq.0 + APPEND >= last.0).await.expect("open");
    }
    committed.wait_for(|seq| *seq >= ShareSeq(to)).await.expect("open");
}

/// Memory of this process in KiB: what is resident and belongs to no file.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn size(dir: &Path) -> u64 {
    ["ledger.db", "ledger.db-wal"]
        .iter()
        .map(|name| fs::metadata(dir.join(name)).map_or(0, |data| data.len()))
        .sum()
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// One share at a time, each timed from its append to its commit, until told to stop; the longest.
async fn probe(ledger: &Ledger, from: u64, done: &tokio::sync::watch::Receiver<bool>) -> (u64, Duration) {
    let mut committed = ledger.committed();
    let worker = workers(ledger)[0];
    let (mut longest, mut number) = (Duration::ZERO, from);
    while !*done.borrow() {
        let start = Instant::now();
        let last = ledger.append(&[share(worker, number)]).await.expect("open");
        committed.wait_for(|seq| *seq >= last).await.expect("open");
        longest = longest.max(start.elapsed());
        number += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (number - from, longest)
}

fn measure_window(runtime: &Runtime, ledger: &Ledger, count: u64) {
    // More work than there is: every share is in it.
    let ask = || {
        let window = ledger.contributions(Window::Work(1000.0), Difficulty::saturating(1e15));
        let start = Instant::now();
        let window = runtime.block_on(window).expect("readable");
        assert_eq!(window.list.iter().map(|part| part.shares).sum::<u64>(), count);
        start.elapsed()
    };
    let before = memory();
    let first = ask();
    println!(
        "a window of {count} shares, first look: {first:.2?}, {:.0} shares/s; {} KiB more memory, {} KiB in all; again: {:.2?}",
        rate(count, first),
        memory().saturating_sub(before),
        memory(),
        ask(),
    );
}

fn measure_fold(runtime: &Runtime, ledger: &Ledger, count: u64) {
    let needed = Needed { window: Window::None, network_difficulty: Difficulty::ONE };
    let (end, done) = tokio::sync::watch::channel(false);
    let start = Instant::now();
    let fold = async {
        let folded = ledger.fold(Timestamp(u64::MAX / 2), needed).await.expect("readable");
        end.send_replace(true);
        folded
    };
    let (folded, (probes, longest)) =
        runtime.block_on(async { tokio::join!(fold, probe(ledger, count, &done)) });
    let took = start.elapsed();
    println!(
        "folded {} shares in {took:.2?}, {:.0} shares/s; {probes} shares committed meanwhile, the slowest in {longest:.2?}",
        folded.shares,
        rate(folded.shares, took),
    );
}

fn main() {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (count, dir) = (shares_wanted(), tempfile::tempdir().expect("a directory"));
    let ledger = opened(dir.path());
    let start = Instant::now();
    runtime.block_on(feed(&ledger, 0, count));
    println!("{count} shares written, {:.0} shares/s", rate(count, start.elapsed()));
    runtime.block_on(ledger.close());
    println!("{:.1} bytes a share on disk", size(dir.path()) as f64 / count as f64);
    let (start, before) = (Instant::now(), memory());
    let ledger = opened(dir.path());
    println!("opened in {:.2?}, {} KiB of memory", start.elapsed(), memory().saturating_sub(before));
    measure_window(&runtime, &ledger, count);
    measure_fold(&runtime, &ledger, count);
    runtime.block_on(ledger.close());
    let connection = rusqlite::Connection::open(dir.path().join("ledger.db")).expect("the database");
    let number = |text| connection.query_row(text, [], |row| row.get::<_, i64>(0)).expect("a number");
    let (rows, free) = (number("SELECT count(*) FROM share_hours"), number("PRAGMA freelist_count"));
    let used = number("PRAGMA page_count") - free;
    println!("{rows} rows of hours; {} KiB in use, {} KiB free within the file", used * 4, free * 4);
}
