//! What it costs to compute the books again: the log, the windows of its blocks, the work by template of its accruals, the
//! division and the entries. The policy is native here; what WebAssembly adds is the policy host's to measure.
//!
//! `cargo bench -p sluice-ledger --bench audit` prints shares per second, and those of window sums by themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::ids::{AccountName, Protocol, TemplateId, WorkerName};
use sluice_core::policy::payout::{Accrued, Entitlement, Plan, Portion, Round, Tally, Window};
use sluice_core::policy::split::split;
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{
    AccrualSettlement, BlockRow, Durability, Judge, Ledger, LedgerConfig, NoAnswer, PolicyRecord,
    QUEUE_LIMIT, Settlement, TemplateFacts, Verdict, audit, database_in,
};
use tokio::runtime::Builder;

const SHARES: u64 = 1_000_000;
const BLOCKS: u64 = 20;
const ACCOUNTS: u64 = 1000;
/// Shares in a window: twice those between two blocks, as with a pool's PPLNS over two network difficulties.
const WINDOW: Window = Window::Work((SHARES / BLOCKS * 2) as f64);
const REWARD: Amount = Amount::from_sat(312_500_000);

struct ByWork;

fn answer(round: &Round) -> Vec<Entitlement> {
    let one = |account: &str, work| Entitlement {
        account: account.to_owned(),
        portion: Portion::Weight(work),
        reason: "work".to_owned(),
    };
    round.contributions.iter().map(|part| one(&part.account, part.work)).collect()
}

/// To the millionth of a satoshi; half of what the work is expected to bring.
fn credited(tallies: &[Tally]) -> Vec<Accrued> {
    let mut sums = BTreeMap::<&str, u64>::new();
    for tally in tallies {
        let reward = (tally.subsidy + tally.fees).to_sat() as f64 * 5e5;
        let unit = tally.work_unit / tally.network_difficulty;
        for one in &tally.contributions {
            *sums.entry(&one.account).or_default() += (reward * one.work as f64 * unit) as u64;
        }
    }
    let accrued = |(account, microsats): (&str, u64)| Accrued {
        account: account.to_owned(),
        microsats,
        reason: "work".into(),
    };
    sums.into_iter().map(accrued).collect()
}

fn policy() -> PolicyRecord {
    PolicyRecord {
        name: "by-work".into(),
        version: "1.0.0".into(),
        hash: "ab".repeat(32),
        settings: "{}".into(),
    }
}

impl Judge for ByWork {
    fn plan(&mut self, _: &PolicyRecord) -> Result<Plan, NoAnswer> {
        Ok(Plan { window: WINDOW, per_finder: false, accrues: false, pays_balances: false })
    }

    fn settle(&mut self, _: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer> {
        Ok(answer(round))
    }

    fn accrue(&mut self, _: &PolicyRecord, tallies: &[Tally]) -> Result<Vec<Accrued>, NoAnswer> {
        Ok(credited(tallies))
    }
}

fn difficulty(value: f64) -> Difficulty {
    Difficulty::saturating(value)
}

/// A pool's history: twenty blocks, each settled, a new template for each, and all work credited as it came.
async fn fill(dir: &Path) {
    let config = LedgerConfig { dir: dir.into(), durability: Durability::Process, queue_limit: QUEUE_LIMIT };
    let ledger = Ledger::open(&config).expect("a ledger");
    let workers: Vec<_> = (0..ACCOUNTS)
        .map(|number| {
            let account = AccountName::new(&format!("bc1qaccount{number}")).expect("a name");
            ledger.worker(&account, &WorkerName::new("rig").expect("a name")).expect("room")
        })
        .collect();
    ledger.accruing(true).await.expect("written");
    for block in 0..BLOCKS {
        ledger.template(template(block + 1));
        let first = block * (SHARES / BLOCKS);
        for number in first..first + SHARES / BLOCKS {
            let (account, worker) =
                workers[(number.wrapping_mul(2_654_435_761) >> 8) as usize % workers.len()];
            let share = ShareRecord {
                at: Timestamp(1_800_000_000_000 + number),
                account,
                worker,
                protocol: Protocol::StratumV1,
                template: TemplateId(block + 1),
                difficulty: difficulty(1.0 + (number % 5) as f64 / 100.0),
                hash: BlockHash::all_zeros(),
            };
            ledger.append(&[share]).await.expect("open");
        }
        settle(&ledger, block, workers[0].1).await;
        accrue(&ledger).await;
    }
    ledger.close().await;
}

fn template(number: u64) -> TemplateFacts {
    TemplateFacts {
        id: TemplateId(number),
        height: 900_000,
        previous: BlockHash::all_zeros(),
        network_difficulty: difficulty(1e6),
        subsidy: REWARD,
        fees: Amount::from_sat(number),
        at: Timestamp(1_800_000_000_000),
    }
}

/// A found block comes after every share before it, so all of them are there.
async fn accrue(ledger: &Ledger) {
    let Some(open) = ledger.open_accrual().await.expect("readable") else { return };
    let answer = credited(&open.tallies);
    let (first, through, input) = (open.first, open.through, open.tallies);
    let settlement = AccrualSettlement { policy: policy(), first, through, input, answer };
    assert!(ledger.accrue(settlement).await.expect("booked"));
}

async fn settle(ledger: &Ledger, block: u64, finder: sluice_core::ids::WorkerId) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&block.to_le_bytes());
    let hash = BlockHash::from_byte_array(bytes);
    let row = BlockRow {
        hash,
        height: 900_000,
        template: TemplateId(1),
        at: Timestamp(1_800_000_000_000 + block),
        finder,
        difficulty: difficulty(1.0),
        network_difficulty: difficulty(1.0),
        reward: REWARD,
        payments: Vec::new(),
        window: WINDOW,
    };
    ledger.block_found(row).await.expect("written");
    ledger.block_verdict(hash, Verdict::Accepted).await.expect("known");
    let open = ledger.open_rounds().await.expect("rounds").remove(0);
    let input = Round { finder: String::new(), ..open.round };
    let answer = answer(&input);
    let credits = split(REWARD, &answer, &|_| true).expect("a split");
    let PolicyRecord { name, version, hash: policy_hash, settings } = policy();
    let settlement = Settlement {
        policy_name: name,
        policy_version: version,
        policy_hash,
        settings,
        input,
        answer,
        credits,
    };
    ledger.settle_round(hash, settlement).await.expect("settled");
}

fn whole(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    Builder::new_current_thread().build().expect("a runtime").block_on(fill(dir.path()));
    let database = database_in(dir.path());
    let run = || {
        let report = audit(&database, &mut ByWork, &mut |_| {}).expect("readable");
        assert!(report.is_clean(), "{report:?}");
    };
    let start = Instant::now();
    run();
    let took = start.elapsed();
    println!(
        "{SHARES} shares, {BLOCKS} rounds and accruals of {ACCOUNTS} accounts: {took:?}, {:.0} shares/s, ten million in {:.0} s",
        SHARES as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e7 / SHARES as f64
    );
    sums(dir.path());
    let mut group = criterion.benchmark_group("audit");
    group.sample_size(10).throughput(criterion::Throughput::Elements(SHARES));
    group.bench_function("a_million_shares", |bencher| bencher.iter(run));
    group.finish();
}

/// The sums of a window read from the log, as after a restart.
fn sums(dir: &Path) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let config =
            LedgerConfig { dir: dir.into(), durability: Durability::Process, queue_limit: QUEUE_LIMIT };
        let ledger = Ledger::open(&config).expect("a ledger");
        let everything = Window::Work(2.0 * SHARES as f64);
        let start = Instant::now();
        let sums = ledger.contributions(everything, difficulty(1.0)).await.expect("readable");
        let took = start.elapsed();
        assert_eq!(sums.list.len() as u64, ACCOUNTS);
        println!(
            "window sums of {SHARES} shares: {took:?}, {:.0} shares/s",
            SHARES as f64 / took.as_secs_f64()
        );
        ledger.close().await;
    });
}

criterion_group!(benches, whole);
criterion_main!(benches);
