//! What can be asked about a ledger's file.

use std::path::PathBuf;

use clap::Args;

/// Checks the ledger's whole file, and says what of it can be read.
///
/// SQLite checks all pages, rows and indexes; damage is told by table and page. Then every row of every table is read, and
/// ranges that cannot be read are told, with the sum of the books. The pool may run or not; nothing is written. Exit code 0:
/// all is whole. 1: something is not.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice ledger check --data data", "sluice ledger check --data data --json"))]
pub struct LedgerCheck {
    /// The pool's data directory.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Copies what can be read of a damaged ledger into a new one.
///
/// Shares, templates and statistics may be missing from it; the books and what they stand on may not: where rows of those
/// are lost, the copy's name gets the ending .partial, no pool opens it, and the exit code is 1. The damaged file is only
/// read.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice ledger salvage --data data salvaged.db"))]
pub struct Salvage {
    /// The data directory of a pool that does not run.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The file to write; never over an existing one.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}
