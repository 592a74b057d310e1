//! What can be asked about the books.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Computes every credit again: from the share log, with the policies of the time, to the last satoshi.
///
/// For every settled round it rebuilds what the policy was asked from the share log, runs the very component that
/// settled it, with its settings of the time, divides the answer, and compares each step with what is recorded. It
/// checks that every transaction sums to zero and that balances add up, and tells the first difference of each kind.
/// The pool may run or not; nothing is written.
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
}

/// Writes the share log and the books as CSV files, and the rounds as JSON lines.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice ledger export --data data --out books"))]
pub struct Export {
    /// The pool's data directory. The pool may run.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The directory to write; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
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
