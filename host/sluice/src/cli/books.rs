//! What can be asked about the books.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{LedgerCheck, Salvage};

/// Computes every credit again: from the share log, with the policies of the time, to the last satoshi.
///
/// For every settled round, and all work credited without a block, it rebuilds what the policy was asked from the share
/// log, runs the very component that answered, with its settings of the time, divides the answer, and compares each step
/// with what is recorded. It checks payouts against their lines, that every transaction sums to zero and that balances add
/// up, and tells the first difference of each kind. The pool may run or not; nothing is written.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice audit --data data", "sluice audit --data data --ledger backup.db"))]
pub struct Audit {
    /// The pool's data directory.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// A backup of the ledger to audit instead of the one in the data directory.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Copies the ledger: as text for anybody to compute with, or as a backup.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice ledger export --data data --out books", "sluice ledger backup --data data backup.db"))]
pub struct LedgerFile {
    #[command(subcommand)]
    pub command: LedgerCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum LedgerCommand {
    Export(Export),
    Backup(Backup),
    Check(LedgerCheck),
    Salvage(Salvage),
}

/// Writes the share log and the books as files that any program reads.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice ledger export --data data --out books", "sluice ledger export --data data --out books --format parquet"))]
pub struct Export {
    /// The pool's data directory. The pool may run.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The directory to write; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How the files are written; both have the same tables and columns.
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub format: ExportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Text; rounds and accruals as JSON lines.
    Csv,
    /// Typed and compressed columns.
    Parquet,
}

/// Copies the ledger into one file while the pool runs, and checks the copy.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice ledger backup --data data backup.db"))]
pub struct Backup {
    /// The pool's data directory. The pool may run.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The file to write; never over an existing one.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
