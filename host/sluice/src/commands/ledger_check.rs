//! `sluice ledger check` and `sluice ledger salvage`: what can be read of the file, and a new ledger from it.

use std::io::Write;

use sluice_ledger::{Checked, LostRows, Salvaged, TableState};

use super::ticker::{Ticker, grouped};
use crate::cli::{LedgerCheck, Salvage, exit};
use crate::files::database;

/// Ranges of rows that are told of a table.
const RANGES_TOLD: usize = 20;

/// # Errors
/// There is no ledger, or nothing of it can be read.
pub fn check(args: &LedgerCheck, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut ticker = Ticker::new();
    let checked = sluice_ledger::check(&database(&args.data), &mut |table, rows| {
        ticker.tick(if table.is_empty() { "pages" } else { "rows" }, rows, rows);
    })?;
    drop(ticker);
    if args.json {
        let mut value = serde_json::to_value(&checked)?;
        value["whole"] = checked.is_whole().into();
        writeln!(out, "{value:#}")?;
    } else {
        tell_check(&checked, out)?;
    }
    Ok(if checked.is_whole() { exit::OK } else { exit::FAILED })
}

/// # Errors
/// There is no ledger, nothing of it can be read, or the copy cannot be written.
pub fn salvage(args: &Salvage, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut ticker = Ticker::new();
    let salvaged = sluice_ledger::salvage(&database(&args.data), &args.file, &mut |_, rows| {
        ticker.tick("rows", rows, rows);
    })?;
    drop(ticker);
    if args.json {
        let mut value = serde_json::to_value(&salvaged)?;
        value["opens"] = salvaged.opens().into();
        writeln!(out, "{value:#}")?;
    } else {
        tell_salvage(&salvaged, out)?;
    }
    Ok(if salvaged.opens() { exit::OK } else { exit::FAILED })
}

fn tell_check(checked: &Checked, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "ledger   {}, {} bytes, schema {}",
        checked.database.display(),
        grouped(checked.bytes),
        checked.schema
    )?;
    for part in &checked.damage.parts {
        writeln!(out, "damaged  {part}")?;
    }
    for line in checked.damage.said.iter().take(RANGES_TOLD) {
        writeln!(out, "sqlite   {}", super::printable(line))?;
    }
    for table in &checked.tables {
        tell_table(table, out)?;
    }
    for gap in checked.missing_shares.iter().take(RANGES_TOLD) {
        writeln!(out, "missing  shares {}; nothing is wrong with the file there", range(gap))?;
    }
    let books = match (checked.books_sum_sat, checked.open_transactions) {
        (Some(sum), Some(open)) => {
            let wrong =
                checked.wrong_balances.map_or("unknown how many".to_owned(), |wrong| wrong.to_string());
            format!(
                "sum to {sum} sat, {open} open transactions, {wrong} balances that are not the sum of their entries"
            )
        }
        _ => "cannot be added up".to_owned(),
    };
    let names =
        checked.bad_names.map_or("cannot be read".to_owned(), |bad| format!("{bad} of them not allowed"));
    writeln!(out, "books    {books}\nnames    {names}\n{}", advice(checked))?;
    Ok(())
}

fn tell_table(table: &TableState, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "rows     {} {} can be read", table.name, grouped(table.rows))?;
    for lost in table.lost.iter().take(RANGES_TOLD) {
        writeln!(out, "lost     {} {}", table.name, range(lost))?;
    }
    if table.lost.len() > RANGES_TOLD {
        writeln!(out, "lost     {} and {} more ranges", table.name, table.lost.len() - RANGES_TOLD)?;
    }
    Ok(())
}

/// The numbers that are not there.
fn range(lost: &LostRows) -> String {
    match (lost.after, lost.before) {
        (None, None) => "all".to_owned(),
        (None, Some(before)) => format!("before {before}"),
        (Some(after), None) => format!("after {after}"),
        (Some(after), Some(before)) => {
            format!("{} to {}", after.saturating_add(1), before.saturating_sub(1))
        }
    }
}

fn advice(checked: &Checked) -> &'static str {
    if checked.is_whole() {
        return "whole    everything can be read";
    }
    if checked.damage.said.is_empty() && checked.damaged_tables().next().is_none() {
        return "readable the file is whole, what it holds is not: ask `sluice audit`";
    }
    "damaged  keep a copy of the directory; restore a backup, or save what is whole: sluice ledger salvage"
}

fn tell_salvage(salvaged: &Salvaged, out: &mut dyn Write) -> anyhow::Result<()> {
    for table in &salvaged.tables {
        let copied = &table.copied;
        writeln!(out, "copied   {} {}", copied.name, grouped(copied.rows))?;
        for lost in copied.lost.iter().take(RANGES_TOLD) {
            writeln!(out, "lost     {} {}", copied.name, range(lost))?;
        }
        if table.refused > 0 {
            writeln!(out, "lost     {} {} rows that cannot be right", copied.name, grouped(table.refused))?;
        }
    }
    for problem in &salvaged.not_a_ledger {
        writeln!(out, "problem  {}", super::printable(problem))?;
    }
    let file = salvaged.file.display();
    if salvaged.opens() {
        writeln!(
            out,
            "{file}: a ledger. Move ledger.db, ledger.db-wal and ledger.db-shm away, put it there as ledger.db"
        )?;
    } else {
        writeln!(
            out,
            "{file}: no ledger, its books are not whole. Restore a backup; what came since is to be looked up here"
        )?;
    }
    Ok(())
}
