//! What a share costs in the log, and what a window costs to ask for.
//!
//! `cargo bench -p sluice-ledger` prints, beside criterion's figures, the processor time of all threads for one share and
//! the bytes it takes on disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::ids::{AccountName, Protocol, ShareSeq, TemplateId, WorkerName};
use sluice_core::policy::payout::Window;
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{Durability, Ledger, LedgerConfig, QUEUE_LIMIT, TemplateFacts};
use tokio::runtime::{Builder, Runtime};

/// Accounts that shares come from, two workers each.
const ACCOUNTS: u32 = 50;
/// Shares handed in at once: what a connection with 16 in flight does.
const APPEND: usize = 16;
/// Shares of the log that windows are asked of.
const LOG: usize = 1_000_000;

fn opened(dir: &Path, durability: Durability) -> Ledger {
    let config = LedgerConfig { dir: dir.into(), durability, queue_limit: QUEUE_LIMIT };
    let ledger = Ledger::open(&config).expect("a ledger");
    ledger.template(TemplateFacts {
        id: TemplateId(1),
        height: 900_000,
        previous: BlockHash::all_zeros(),
        network_difficulty: Difficulty::saturating(1e14),
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::ZERO,
        at: Timestamp(0),
    });
    ledger
}

/// Shares as a busy pool gets them: mixed workers, difficulties of their own, random hashes.
fn shares(ledger: &Ledger, count: usize) -> Vec<ShareRecord> {
    let workers: Vec<_> = (0..ACCOUNTS * 2)
        .map(|number| {
            let account = AccountName::new(&format!("bc1qaccount{}", number / 2)).expect("a name");
            let worker = WorkerName::new(&format!("rig{}", number % 2)).expect("a name");
            ledger.worker(&account, &worker).expect("room")
        })
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    };
    (0..count as u64)
        .map(|number| {
            let (account, worker) = workers[(random() >> 33) as usize % workers.len()];
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&random().to_le_bytes());
            hash[8..16].copy_from_slice(&random().to_le_bytes());
            ShareRecord {
                at: Timestamp(1_800_000_000_000 + number / 200),
                account,
                worker,
                protocol: Protocol::StratumV1,
                template: TemplateId(1),
                difficulty: Difficulty::saturating(f64::from(worker.0 % 7 + 1) * 1024.5),
                hash: BlockHash::from_byte_array(hash),
            }
        })
        .collect()
}

/// Appends everything with at most `in_flight` shares unacknowledged, and waits for the last to be committed.
async fn feed(ledger: &Ledger, shares: &[ShareRecord], in_flight: u64) {
    let mut committed = ledger.committed();
    let mut last = ShareSeq(0);
    for chunk in shares.chunks(APPEND) {
        last = ledger.append(chunk).await.expect("open");
        if last.0 > committed.borrow().0 + in_flight {
            committed.wait_for(|seq| seq.0 + in_flight >= last.0).await.expect("open");
        }
    }
    committed.wait_for(|seq| *seq >= last).await.expect("open");
}

/// Processor time of this process so far, in hundredths of a second.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn report(runtime: &Runtime, durability: Durability, in_flight: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = opened(dir.path(), durability);
    let shares = shares(&ledger, LOG);
    let (start, busy) = (Instant::now(), processor_time());
    runtime.block_on(feed(&ledger, &shares, in_flight));
    let (wall, busy) = (start.elapsed(), processor_time() - busy);
    let size = |file| fs::metadata(dir.path().join(file)).map_or(0, |data| data.len());
    let wal = size("ledger.db-wal");
    runtime.block_on(ledger.close());
    let bytes = size("ledger.db");
    let start = Instant::now();
    runtime.block_on(opened(dir.path(), durability).close());
    println!(
        "{durability:?}, {in_flight} in flight: {:.0} shares/s, {:.2} us of processor time and {:.1} bytes a share; \
         write-ahead log {} MiB; reopened in {:?}",
        LOG as f64 / wall.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / LOG as f64,
        bytes as f64 / LOG as f64,
        wal >> 20,
        start.elapsed(),
    );
}

fn commit(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    for in_flight in [64, 1600, 16_000] {
        report(&runtime, Durability::Process, in_flight);
    }
    report(&runtime, Durability::Power, 1600);
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(10).throughput(Throughput::Elements(100_000));
    for in_flight in [64, 1600, 16_000] {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = opened(dir.path(), Durability::Process);
        let shares = shares(&ledger, 100_000);
        group.bench_function(BenchmarkId::new("in_flight", in_flight), |bencher| {
            bencher.iter(|| runtime.block_on(feed(&ledger, &shares, in_flight)));
        });
        runtime.block_on(ledger.close());
    }
    group.finish();
}

fn window(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = opened(dir.path(), Durability::Process);
    let shares = shares(&ledger, LOG);
    runtime.block_on(feed(&ledger, &shares, 16_000));
    // About half of the log.
    let (window, network) = (Window::Work(2.0), Difficulty::saturating(1e9));
    let ask = |window| runtime.block_on(ledger.contributions(window, network)).expect("readable");
    let mut group = criterion.benchmark_group("window");
    group.sample_size(10);
    group.bench_function("sums_of_50_accounts", |bencher| bencher.iter(|| ask(window)));
    group.throughput(Throughput::Elements(LOG as u64));
    let mut days = 0;
    group.bench_function("read_from_the_log", |bencher| {
        bencher.iter(|| {
            // A window nobody asked for yet, as long as the log.
            days += 1;
            ask(Window::DurationMs(86_400_000 + days))
        });
    });
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("moved_by_10000_shares", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds).fold(Duration::ZERO, |sum, _| {
                runtime.block_on(feed(&ledger, &shares[..10_000], 16_000));
                let start = Instant::now();
                ask(window);
                sum + start.elapsed()
            })
        });
    });
    group.finish();
    runtime.block_on(ledger.close());
}

criterion_group!(benches, commit, window);
criterion_main!(benches);
