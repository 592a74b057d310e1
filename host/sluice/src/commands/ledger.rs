//! `sluice ledger`: the ledger as text, and as a backup.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::ticker::{Ticker, grouped};
use crate::cli::{Backup, Export, LedgerCommand, exit};

/// # Errors
/// There is no ledger, it cannot be read, or the copy cannot be written.
pub fn run(command: &LedgerCommand, out: &mut dyn Write) -> anyhow::Result<u8> {
    match command {
        LedgerCommand::Export(args) => export(args, out)?,
        LedgerCommand::Backup(args) => backup(args, out)?,
    }
    Ok(exit::OK)
}

fn database(data: &Path) -> PathBuf {
    sluice_ledger::database_in(&data.join("ledger"))
}

fn export(args: &Export, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut ticker = Ticker::new();
    // How many there will be is not known before.
    let done = sluice_ledger::export(&database(&args.data), &args.out, &mut |shares| {
        ticker.tick("shares", shares, shares);
    })?;
    drop(ticker);
    writeln!(
        out,
        "{}: {} shares, {} blocks, {} rounds, {} entries, {} accounts",
        args.out.display(),
        grouped(done.shares),
        grouped(done.blocks),
        grouped(done.rounds),
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
