//! The work of a stretch of the log by template: what a policy that accrues is asked about, and what an audit asks again.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension};
use sluice_core::bitcoin::Amount;
use sluice_core::policy::payout::Tally;

use crate::insert::{sql, unsigned};
use crate::names::Names;
use crate::sums::{self, Sum, work_of};

/// How much one question may hold. A longer stretch ends before the share that would be too much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) shares: u64,
    pub(crate) templates: usize,
    /// Accounts of each template, added up: memory, the size of the record, and the time of the writer's transaction.
    pub(crate) contributions: usize,
}

impl Limits {
    pub(crate) const ASKED: Self = Self { shares: 1_000_000, templates: 64, contributions: 20_000 };
    /// For a stretch that was bounded when it was asked about.
    pub(crate) const NONE: Self = Self { shares: u64::MAX, templates: usize::MAX, contributions: usize::MAX };
}

/// Shares in a row, added up by template and account.
#[derive(Debug)]
pub(crate) struct Stretch {
    through: u64,
    by_template: BTreeMap<u32, HashMap<u32, Sum>>,
    contributions: usize,
}

impl Stretch {
    /// The shares `first..=last`, or as many of the first of them as `limits` allow. `accounts` holds the account of each
    /// worker.
    ///
    /// # Errors
    /// The log cannot be read, or names a worker that there is not (`IntegralValueOutOfRange`).
    pub(crate) fn read(
        connection: &Connection,
        accounts: &[Option<u32>],
        (first, last): (u64, u64),
        limits: Limits,
    ) -> rusqlite::Result<Self> {
        // Also where the last rows are lost (a salvaged log has gaps): nothing waits for what will never come.
        let mut stretch = Self { through: last, by_template: BTreeMap::new(), contributions: 0 };
        let mut statement = connection.prepare_cached(
            "SELECT seq, worker, template, difficulty FROM shares WHERE seq BETWEEN ? AND ? ORDER BY seq",
        )?;
        let mut rows = statement.query([sql(first), sql(last)])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let worker: u32 = row.get(1)?;
            let account = accounts.get(worker as usize).copied().flatten();
            let account = account.ok_or(rusqlite::Error::IntegralValueOutOfRange(1, worker.into()))?;
            if !stretch.add((row.get(2)?, account), work_of(row.get(3)?), limits) {
                stretch.through = unsigned(row.get(0)?).saturating_sub(1);
                break;
            }
            count += 1;
            if count >= limits.shares {
                stretch.through = unsigned(row.get(0)?);
                break;
            }
        }
        Ok(stretch)
    }

    /// `false` where the share does not fit.
    fn add(&mut self, (template, account): (u32, u32), work: u128, limits: Limits) -> bool {
        let known = self.by_template.get(&template);
        let new_account = known.is_none_or(|tally| !tally.contains_key(&account));
        if (known.is_none() && self.by_template.len() >= limits.templates)
            || (new_account && self.contributions >= limits.contributions)
        {
            return false;
        }
        self.contributions += usize::from(new_account);
        self.by_template
            .entry(template)
            .or_default()
            .entry(account)
            .or_default()
            .add(Sum { work, shares: 1 });
        true
    }

    /// The last share.
    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    /// A tally for each template, and the number of shares on templates of which nothing is known.
    pub(crate) fn tallies(
        &self,
        connection: &Connection,
        names: &Names,
    ) -> rusqlite::Result<(Vec<Tally>, u64)> {
        let (mut tallies, mut passed_over) = (Vec::with_capacity(self.by_template.len()), 0);
        for (template, work) in &self.by_template {
            let total = total(work);
            match empty_tally(connection, *template)? {
                Some(tally) => {
                    let parts = work.iter().map(|(account, sum)| (*account, *sum));
                    let (work_unit, contributions) = sums::tell(total.work, parts, names);
                    tallies.push(Tally { work_unit, contributions, ..tally });
                }
                None => passed_over += total.shares,
            }
        }
        Ok((tallies, passed_over))
    }
}

fn total(work: &HashMap<u32, Sum>) -> Sum {
    let mut total = Sum::default();
    work.values().for_each(|sum| total.add(*sum));
    total
}

/// The facts of a template; `None` where there is no row.
fn empty_tally(connection: &Connection, template: u32) -> rusqlite::Result<Option<Tally>> {
    let mut statement = connection
        .prepare_cached("SELECT height, subsidy, fees, network_difficulty FROM templates WHERE id = ?")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Tally {
            height: row.get(0)?,
            subsidy: Amount::from_sat(unsigned(row.get(1)?)),
            fees: Amount::from_sat(unsigned(row.get(2)?)),
            network_difficulty: row.get(3)?,
            work_unit: 0.0,
            contributions: Vec::new(),
        })
    };
    statement.query_row([template], read).optional()
}

#[cfg(test)]
mod tests;
