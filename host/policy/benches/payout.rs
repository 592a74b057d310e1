//! What a large pool's money costs through WebAssembly: a block over 100,000 accounts, an accrual of 64 templates.
//!
//! Run with `cargo bench -p sluice-policy --bench payout`. A component that is not built is skipped by name.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_core::bitcoin::{Amount, Network};
use sluice_core::policy::PolicyKind;
use sluice_core::policy::payout::{Contribution, PayoutPolicy, Round, Tally};
use sluice_core::units::Timestamp;
use sluice_policy::{Compiler, Loader, SlotConfig};

/// Names as long as addresses are.
fn contributions(accounts: u64) -> Vec<Contribution> {
    let one = |index| Contribution { account: format!("bc1q{index:038}"), work: 1000 + index, shares: 10 };
    (0..accounts).map(one).collect()
}

fn round(accounts: u64) -> Round {
    Round {
        found: true,
        height: 900_000,
        at: Timestamp(1),
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::from_sat(2_000_000),
        network_difficulty: 1e14,
        finder: String::new(),
        work_unit: 1e6,
        contributions: contributions(accounts),
    }
}

fn tallies(count: u64, accounts: u64) -> Vec<Tally> {
    let tally = |index| Tally {
        height: 900_000,
        subsidy: Amount::from_sat(312_500_000),
        fees: Amount::from_sat(2_000_000 + index),
        network_difficulty: 1e14,
        work_unit: 1.0,
        contributions: contributions(accounts),
    };
    (0..count).map(tally).collect()
}

/// A shipped component, or why it is not measured. With the default limits.
fn shipped(loader: &Loader, name: &str) -> Option<Box<dyn PayoutPolicy>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist").join(format!("{name}.wasm"));
    let wasm = std::fs::read(&path).inspect_err(|error| eprintln!("{name} is skipped: {error}")).ok()?;
    Some(loader.payout(&wasm, &SlotConfig::new(PolicyKind::Payout, "")).expect("it loads"))
}

fn settle(c: &mut Criterion, name: &str, policy: &mut dyn PayoutPolicy) {
    for accounts in [1_000, 100_000] {
        let round = round(accounts);
        let mut group = c.benchmark_group("settle");
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        group.throughput(Throughput::Elements(accounts));
        group.bench_function(format!("{name}/{accounts} accounts"), |b| {
            b.iter(|| policy.settle(black_box(&round)).expect("it settles"));
        });
        group.finish();
    }
}

fn accrue(c: &mut Criterion, name: &str, policy: &mut dyn PayoutPolicy) {
    for (count, accounts) in [(1, 1_000), (64, 1_000)] {
        let tallies = tallies(count, accounts);
        let mut group = c.benchmark_group("accrue");
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        group.throughput(Throughput::Elements(count * accounts));
        group.bench_function(format!("{name}/{count} templates of {accounts} accounts"), |b| {
            b.iter(|| policy.accrue(black_box(&tallies)).expect("it accrues"));
        });
        group.finish();
    }
}

fn payout(c: &mut Criterion) {
    let root = tempfile::tempdir().expect("a directory");
    let loader =
        Loader::new(&root.path().join("cache"), Compiler::InProcess, Network::Regtest).expect("a loader");
    if let Some(mut policy) = shipped(&loader, "payout-pplns") {
        settle(c, "payout-pplns", &mut *policy);
    }
    if let Some(mut policy) = shipped(&loader, "payout-fpps") {
        accrue(c, "payout-fpps", &mut *policy);
    }
}

criterion_group!(benches, payout);
criterion_main!(benches);
