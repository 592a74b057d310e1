//! Batches of payments against their lines, fees and states.

use std::path::Path;

use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, Txid};
use sluice_core::ids::AccountName;
use sluice_core::policy::payout::Window;
use sluice_ledger::payouts::{BatchId, Desk, Rules};
use sluice_ledger::{Ledger, Place, Subject, Verdict, database_in};

use crate::judge::{Mood, forge, judged, settle};
use crate::support::{block, hash, number, open, share, sql, template, worker};

const WINDOW: Window = Window::Round;
const FEE: Amount = Amount::from_sat(321);

/// A mature block whose coinbase paid nobody but the pool.
async fn mature(ledger: &Ledger, at: u64) {
    let miners = ["alice", "bob"].map(|name| {
        let account = AccountName::new(name).expect("a name");
        ledger.payout_address(&account, &format!("address-of-{name}")).expect("room");
        worker(ledger, name, "rig")
    });
    for miner in miners {
        ledger.append(&[share(miner, at, 1.5)]).await.expect("room");
    }
    ledger.block_found(block(at, miners[0].1, WINDOW)).await.expect("written");
    ledger.block_verdict(hash(at), Verdict::Submitted).await.expect("known");
    settle(ledger, at).await;
    let deep = Place::InChain { confirmations: 100 };
    ledger.block_places(vec![(hash(at), deep)]).await.expect("known");
}

fn prepare(dir: &Path) -> BatchId {
    let payable = |_: &str, _: Amount| Ok(());
    let rules = Rules { minimum: Amount::from_sat(1), max_lines: 10, payable: &payable };
    let mut desk = Desk::open(&database_in(dir)).expect("a desk");
    desk.prepare(&rules).expect("prepared").expect("something is due").0.id
}

fn txid(number: u8) -> Txid {
    Txid::from_byte_array([number; 32])
}

/// One batch that is confirmed, one that is cancelled, one that waits; each time the audit says equal.
pub(crate) async fn history(dir: &Path) {
    let equal = || {
        let report = judged(dir, WINDOW, Mood::Steady);
        assert_eq!(report.findings, []);
        assert_eq!(report.other_entries, 0);
        report
    };
    let ledger = open(dir);
    ledger.template(template(1, 100));
    mature(&ledger, 10).await;
    let first = prepare(dir);
    equal();
    let mut desk = Desk::open(&database_in(dir)).expect("a desk");
    desk.sent(first, txid(1), None).expect("sent");
    equal();
    desk.confirmed(first, txid(1), 105, FEE).expect("confirmed");
    equal();
    mature(&ledger, 20).await;
    let second = prepare(dir);
    desk.cancel(second).expect("cancelled");
    equal();
    let third = prepare(dir);
    assert_ne!(third, second);
    ledger.close().await;
    let report = equal();
    assert!(report.is_clean());
    assert_eq!(report.payouts, 3);
    let entries = number(&sql(dir), "SELECT count(*) FROM entries");
    assert_eq!(i64::try_from(report.entries).expect("few"), entries, "each one was compared");
}

/// What is done to the file, what an audit says of it, and words of that. The first batch is confirmed, the second
/// cancelled, the third prepared.
const FORGERIES: [(&str, Subject, &str); 9] = [
    (
        "UPDATE payout_lines SET amount = amount + 1 WHERE payout = 1 AND line = 1",
        Subject::Payouts,
        "payout 1, account alice: what it takes, in sat",
    ),
    (
        "UPDATE payout_lines SET account = 2 WHERE payout = 3 AND line = 1",
        Subject::Payouts,
        "payout 3, account",
    ),
    (
        "UPDATE payouts SET fee = fee + 1 WHERE id = 1",
        Subject::Payouts,
        "payout 1, the house: its network fee",
    ),
    (
        "UPDATE payouts SET state = 'sent', height = NULL, fee = NULL WHERE id = 1",
        Subject::Payouts,
        "payout 1, the house: its network fee, in sat: expected -, found -321",
    ),
    (
        "UPDATE payouts SET state = 'prepared' WHERE id = 2",
        Subject::Journal,
        "payout 2: its lines, while it is prepared: expected booked, found not booked",
    ),
    (
        "UPDATE payouts SET state = 'cancelled' WHERE id = 3",
        Subject::Journal,
        "payout 3: its lines, while it is cancelled: expected not booked, found booked",
    ),
    (
        "DELETE FROM entries WHERE journal = (SELECT id FROM journal WHERE fee = 1); DELETE FROM journal WHERE fee = 1",
        Subject::Journal,
        "payout 1: its network fee, while it is confirmed: expected booked, found not booked",
    ),
    ("DELETE FROM payouts WHERE id = 1", Subject::Accounts, "balance in sat"),
    (
        "UPDATE sums SET amount = amount + 1 WHERE account = 1",
        Subject::Accounts,
        "kept sum of entries in sat",
    ),
];

#[tokio::test]
async fn batches_audit_equal_in_every_state_and_what_is_changed_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path()).await;
    for (text, subject, words) in FORGERIES {
        let copy = tempfile::tempdir().expect("a directory");
        std::fs::copy(database_in(dir.path()), database_in(copy.path())).expect("copied");
        forge(
            copy.path(),
            &format!("DROP INDEX one_prepared_payout; PRAGMA ignore_check_constraints = ON; {text}"),
        );
        let report = judged(copy.path(), WINDOW, Mood::Steady);
        let finding = report.findings.iter().find(|finding| finding.first.subject == subject);
        let told = finding.unwrap_or_else(|| panic!("{text}: {:?}", report.findings)).first.to_string();
        assert!(told.contains(words), "{text}: {told}");
    }
}
