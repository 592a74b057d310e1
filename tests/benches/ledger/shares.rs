//! A pool's shares on their way into a log.

use std::fs;
use std::path::Path;

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash};
use sluice_core::ids::{AccountId, AccountName, Protocol, ShareSeq, TemplateId, WorkerId, WorkerName};
use sluice_core::share::ShareRecord;
use sluice_core::units::{Difficulty, Timestamp};
use sluice_ledger::{Durability, Ledger, LedgerConfig, QUEUE_LIMIT, TemplateFacts};

pub(crate) const ACCOUNTS: u64 = 1000;
/// A block comes after as much work as it takes on average.
pub(crate) const SHARES_PER_BLOCK: u64 = 50_000;
pub(crate) const SUBSIDY: Amount = Amount::from_sat(312_500_000);
/// The seven difficulties that shares have are multiples of it.
const STEP: f64 = 1024.5;
const NETWORK_DIFFICULTY: f64 = SHARES_PER_BLOCK as f64 * 4.0 * STEP;
/// With 200 shares a second a template lasts 25 seconds.
pub(crate) const SHARES_PER_TEMPLATE: u64 = 5000;
const PAUSE_MS: u64 = 5;
/// Shares handed in at once, and the most that are not acknowledged: a hundred connections with 16 each.
const APPEND: u64 = 16;
const IN_FLIGHT: u64 = 1600;

pub(crate) fn opened(dir: &Path) -> Ledger {
    let config =
        LedgerConfig { dir: dir.to_owned(), durability: Durability::Process, queue_limit: QUEUE_LIMIT };
    Ledger::open(&config).expect("a ledger")
}

pub(crate) fn network_difficulty() -> Difficulty {
    Difficulty::saturating(NETWORK_DIFFICULTY)
}

/// Names as long as addresses are.
pub(crate) fn workers(ledger: &Ledger) -> Vec<(AccountId, WorkerId)> {
    let rig = WorkerName::new("rig1").expect("a name");
    let account = |number| AccountName::new(&format!("bc1q{number:038}")).expect("a name");
    (0..ACCOUNTS).map(|number| ledger.worker(&account(number), &rig).expect("room")).collect()
}

pub(crate) fn template(number: u64) -> TemplateFacts {
    TemplateFacts {
        id: TemplateId(number),
        height: height(number * SHARES_PER_TEMPLATE),
        previous: BlockHash::all_zeros(),
        network_difficulty: network_difficulty(),
        subsidy: SUBSIDY,
        fees: Amount::from_sat(2_000_000 + number),
        at: at(number * SHARES_PER_TEMPLATE),
    }
}

pub(crate) fn height(share: u64) -> u32 {
    900_000 + u32::try_from(share / SHARES_PER_BLOCK).expect("few blocks")
}

pub(crate) fn at(share: u64) -> Timestamp {
    Timestamp(1_800_000_000_000 + share * PAUSE_MS)
}

/// Workers in no order, difficulties of their own, random hashes.
fn share(workers: &[(AccountId, WorkerId)], number: u64) -> ShareRecord {
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (account, worker) = workers[(random >> 33) as usize % workers.len()];
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&random.to_le_bytes());
    hash[8..16].copy_from_slice(&number.wrapping_mul(0xd6e8_feb8_6659_fd93).to_le_bytes());
    ShareRecord {
        at: at(number),
        account,
        worker,
        protocol: Protocol::StratumV1,
        template: TemplateId(number / SHARES_PER_TEMPLATE),
        difficulty: Difficulty::saturating(f64::from(worker.0 % 7 + 1) * STEP),
        hash: BlockHash::from_byte_array(hash),
    }
}

/// Shares `from..to`, with their templates; waits until all are committed.
pub(crate) async fn feed(ledger: &Ledger, workers: &[(AccountId, WorkerId)], (from, to): (u64, u64)) {
    let mut committed = ledger.committed();
    let mut last = ShareSeq(0);
    let mut batch = Vec::with_capacity(APPEND as usize);
    for first in (from..to).step_by(APPEND as usize) {
        let numbers = first..to.min(first + APPEND);
        for number in numbers.clone().filter(|number| number % SHARES_PER_TEMPLATE == 0) {
            ledger.template(template(number / SHARES_PER_TEMPLATE));
        }
        batch.clear();
        batch.extend(numbers.map(|number| share(workers, number)));
        last = ledger.append(&batch).await.expect("open");
        if last.0 > committed.borrow().0 + IN_FLIGHT {
            committed.wait_for(|seq| seq.0 + IN_FLIGHT >= last.0).await.expect("open");
        }
    }
    committed.wait_for(|seq| *seq >= last).await.expect("open");
}

pub(crate) fn bytes_on_disk(dir: &Path) -> u64 {
    ["ledger.db", "ledger.db-wal"]
        .iter()
        .map(|name| fs::metadata(dir.join(name)).map_or(0, |data| data.len()))
        .sum()
}

/// KiB of this process that are resident and belong to no file.
pub(crate) fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
