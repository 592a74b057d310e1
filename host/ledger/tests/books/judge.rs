//! A policy that is no component, the history that it made, and what is done to it behind the ledger's back.

use std::collections::BTreeMap;
use std::path::Path;

use sluice_core::policy::payout::{Accrued, Entitlement, Plan, Portion, Round, Tally, Window};
use sluice_ledger::{Judge, Ledger, NoAnswer, PolicyRecord, Report, Subject, Verdict, audit, database_in};

use crate::support::{block, hash, open, payment, settlement, share, sql, template, worker};

/// Divides by work, as the settlements of these tests do.
pub(crate) struct ByWork {
    pub(crate) window: Window,
    pub(crate) mood: Mood,
    pub(crate) asked: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Steady,
    /// Never the same answer twice.
    Wavering,
    /// Always the same, but another than it once gave.
    Changed,
    Failing,
    Missing,
}

impl Judge for ByWork {
    fn plan(&mut self, _: &PolicyRecord) -> Result<Plan, NoAnswer> {
        match self.mood {
            Mood::Missing => Err(NoAnswer::Missing("there is no file".into())),
            _ => Ok(Plan { window: self.window, per_finder: false, accrues: false, pays_balances: false }),
        }
    }

    fn settle(&mut self, policy: &PolicyRecord, round: &Round) -> Result<Vec<Entitlement>, NoAnswer> {
        assert_eq!((policy.name.as_str(), policy.settings.as_str()), ("by-work", "{}"));
        let mut answer = settlement(round.clone()).answer;
        self.asked += 1;
        match self.mood {
            Mood::Steady => {}
            Mood::Wavering => answer[0].portion = Portion::Fixed(self.asked),
            Mood::Changed => answer[0].portion = Portion::Fixed(50),
            Mood::Failing => return Err(NoAnswer::Failed("it ran out of fuel".into())),
            Mood::Missing => return Err(NoAnswer::Missing("there is no file".into())),
        }
        Ok(answer)
    }

    fn accrue(&mut self, policy: &PolicyRecord, tallies: &[Tally]) -> Result<Vec<Accrued>, NoAnswer> {
        assert_eq!((policy.name.as_str(), policy.settings.as_str()), ("by-work", "{}"));
        let mut answer = expected(tallies);
        self.asked += 1;
        match self.mood {
            Mood::Steady => {}
            Mood::Wavering => answer[0].microsats -= self.asked,
            Mood::Changed => answer[0].microsats -= 7,
            Mood::Failing => return Err(NoAnswer::Failed("it ran out of fuel".into())),
            Mood::Missing => return Err(NoAnswer::Missing("there is no file".into())),
        }
        Ok(answer)
    }
}

/// What the work is expected to bring, to the millionth of a satoshi.
pub(crate) fn expected(tallies: &[Tally]) -> Vec<Accrued> {
    let mut sums = BTreeMap::<String, u64>::new();
    for tally in tallies {
        let whole = (tally.network_difficulty / tally.work_unit) as u128;
        let reward = u128::from(tally.subsidy.to_sat() + tally.fees.to_sat()) * 1_000_000;
        for one in &tally.contributions {
            let microsats = reward * u128::from(one.work) / whole;
            *sums.entry(one.account.clone()).or_default() += u64::try_from(microsats).expect("little");
        }
    }
    let accrued = |(account, microsats)| Accrued { account, microsats, reason: "work".into() };
    sums.into_iter().map(accrued).collect()
}

/// The block `at`, by Bob.
pub(crate) async fn find(ledger: &Ledger, at: u64, window: Window) {
    let bob = worker(ledger, "bob", "");
    let mut found = block(at, bob.1, window);
    found.payments = vec![payment("alice", 2_000 + at), payment("", 3_123 - at)];
    ledger.block_found(found).await.expect("written");
    ledger.block_verdict(hash(at), Verdict::Submitted).await.expect("known");
}

pub(crate) async fn settle(ledger: &Ledger, at: u64) {
    ledger.block_verdict(hash(at), Verdict::Accepted).await.expect("known");
    for open in ledger.open_rounds().await.expect("rounds") {
        let round = Round { finder: String::new(), ..open.round };
        assert!(ledger.settle_round(open.hash, settlement(round)).await.expect("settled"));
    }
}

/// Four blocks, five shares before each, shares of three accounts and of odd difficulties.
pub(crate) async fn history(dir: &Path, window: Window) -> Ledger {
    let ledger = open(dir);
    ledger.template(template(1, 100));
    let miners = ["alice", "bob", "carol"].map(|name| worker(&ledger, name, "rig"));
    for round in 0..4 {
        for step in 1..=5 {
            let at = round * 10 + step;
            let worth = 0.7 + (at % 7) as f64 / 3.0;
            let miner = miners[usize::try_from((at * 7 + at / 3) % 3).expect("small")];
            ledger.append(&[share(miner, at, worth)]).await.expect("room");
        }
        find(&ledger, round * 10 + 5, window).await;
        settle(&ledger, round * 10 + 5).await;
    }
    ledger
}

pub(crate) fn judged(dir: &Path, window: Window, mood: Mood) -> Report {
    let mut judge = ByWork { window, mood, asked: 0 };
    audit(&database_in(dir), &mut judge, &mut |_| {}).expect("readable")
}

pub(crate) fn subjects(report: &Report) -> Vec<Subject> {
    report.findings.iter().map(|finding| finding.first.subject).collect()
}

/// Changes the file behind the ledger's back.
pub(crate) fn forge(dir: &Path, text: &str) {
    let connection = sql(dir);
    let triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger'";
    let names: Vec<String> = connection
        .prepare(triggers)
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .expect("the schema");
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").expect("set");
    for name in names {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).expect("dropped");
    }
    connection.execute_batch(text).expect("forged");
    assert!(connection.changes() > 0, "{text} changes nothing");
}
