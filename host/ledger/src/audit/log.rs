//! The share log by itself: numbers without gaps, time that never goes back, workers that exist, and statistics that
//! are the log's.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use super::Progress;
use super::findings::{Difference, Findings, Subject};
use super::scope::Scope;
use crate::fold;
use crate::insert::{sql, unsigned};
use crate::sums::{Sum, work_of};

/// Shares read in one transaction, between two words on progress.
const CHUNK: u64 = 200_000;

struct Pass<'a> {
    scope: &'a Scope,
    findings: &'a mut Findings,
    seq: u64,
    at: u64,
    sums: HashMap<u32, Sum>,
}

/// `false`: shares were folded before they were read, and all has to begin anew.
pub(crate) fn check(
    connection: &Connection,
    scope: &Scope,
    findings: &mut Findings,
    progress: &mut dyn FnMut(Progress),
) -> rusqlite::Result<bool> {
    // What is folded is taken from its hours; the log goes on behind it.
    let mut pass = Pass { scope, findings, seq: scope.folded, at: 0, sums: scope.hours.clone() };
    let mut statement = connection.prepare(
        "SELECT seq, at_ms, worker, difficulty FROM shares WHERE seq BETWEEN ? AND ? ORDER BY seq",
    )?;
    for from in (scope.folded + 1..=scope.last).step_by(CHUNK as usize) {
        progress(Progress::Shares { done: from - 1, of: scope.last });
        let moment = connection.unchecked_transaction()?;
        if fold::through(connection)? >= from {
            return Ok(false);
        }
        let to = (from + CHUNK - 1).min(scope.last);
        let mut rows = statement.query([sql(from), sql(to)])?;
        while let Some(row) = rows.next()? {
            pass.share(row)?;
        }
        moment.commit()?;
    }
    progress(Progress::Shares { done: scope.last, of: scope.last });
    pass.compare_totals();
    Ok(true)
}

impl Pass<'_> {
    fn share(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let (seq, at, worker) = (unsigned(row.get(0)?), unsigned(row.get(1)?), row.get::<_, i64>(2)?);
        if seq != self.seq + 1 {
            self.tell("the share after the one before", self.seq + 1, seq);
        }
        if at < self.at {
            let earliest = format!("not before {}", self.at);
            self.tell(format_args!("time of share {seq}"), earliest, at);
        }
        (self.seq, self.at) = (seq, at.max(self.at));
        match u32::try_from(worker) {
            Ok(worker) if self.scope.account_of_worker(worker).is_some() => {
                self.count(worker, seq, row.get(3)?);
            }
            _ => self.tell(format_args!("worker of share {seq}"), "one that there is", worker),
        }
        Ok(())
    }

    fn tell(
        &mut self,
        what: impl std::fmt::Display,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) {
        self.findings.add(Difference::new(Subject::Log, what, expected, found));
    }

    fn count(&mut self, worker: u32, seq: u64, difficulty: f64) {
        if seq <= self.scope.totals_through {
            let one = Sum { work: work_of(difficulty), shares: 1 };
            self.sums.entry(worker).or_default().add(one);
        }
    }

    /// They were added up while the shares were committed: a share that changed since is in one of them.
    fn compare_totals(self) {
        let (through, folded) = (self.scope.totals_through, self.scope.folded);
        if through < folded {
            let expected = format!("the share {folded} at least, the last that was folded");
            let difference = Difference::new(Subject::Totals, "saved through", expected, through);
            self.findings.add(difference);
            return;
        }
        let mut workers: Vec<u32> = self.sums.keys().chain(self.scope.totals.keys()).copied().collect();
        workers.sort_unstable();
        workers.dedup();
        for worker in workers {
            let of = |sums: &HashMap<u32, Sum>| sums.get(&worker).copied().unwrap_or_default();
            let (expected, found) = (of(&self.sums), of(&self.scope.totals));
            if expected != found {
                let what = format!("worker {worker} through share {through}");
                let difference = Difference::new(Subject::Totals, what, told(expected), told(found));
                let account = self.scope.account_of_worker(worker).unwrap_or_default();
                self.findings.add(difference.of(account));
            }
        }
    }
}

fn told(sum: Sum) -> String {
    format!("work {} in {} shares", sum.work, sum.shares)
}
