//! `sluice ledger`: the ledger for others to read, and as a backup.

use std::io::Write;

use super::ledger_check;
use sluice_ledger::Format;

use super::ticker::{Ticker, grouped};
use crate::cli::{Backup, Export, ExportFormat, LedgerCommand, exit};
use crate::files::database;

/// # Errors
/// There is no ledger, it cannot be read, or the copy cannot be written.
pub fn run(command: &LedgerCommand, out: &mut dyn Write) -> anyhow::Result<u8> {
    match command {
        LedgerCommand::Export(args) => export(args, out)?,
        LedgerCommand::Backup(args) => backup(args, out)?,
        LedgerCommand::Check(args) => return ledger_check::check(args, out),
        LedgerCommand::Salvage(args) => return ledger_check::salvage(args, out),
    }
    Ok(exit::OK)
}

fn export(args: &Export, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut ticker = Ticker::new();
    let format = match args.format {
        ExportFormat::Csv => Format::Csv,
        ExportFormat::Parquet => Format::Parquet,
    };
    // How many there will be is not known before.
    let done = sluice_ledger::export(&database(&args.data), &args.out, format, &mut |shares| {
        ticker.tick("shares", shares, shares);
    })?;
    drop(ticker);
    writeln!(
        out,
        "{}: {} shares, {} blocks, {} rounds, {} accruals, {} payouts, {} entries, {} accounts",
        args.out.display(),
        grouped(done.shares),
        grouped(done.blocks),
        grouped(done.rounds),
        grouped(done.accruals),
        grouped(done.payouts),
        grouped(done.entries),
        grouped(done.accounts)
    )?;
    Ok(())
}

fn backup(args: &Backup, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut ticker = Ticker::new();
    let done = sluice_ledger::backup(&database(&args.data), &args.file, &mut |pages, of| {
        ticker.tick("pages", pages, of);
    })?;
    drop(ticker);
    writeln!(
        out,
        "{}: {} bytes, {} shares, {} settled rounds; checked",
        args.file.display(),
        grouped(done.bytes),
        grouped(done.shares),
        grouped(done.rounds)
    )?;
    Ok(())
}
