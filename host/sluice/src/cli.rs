//! The command line: what can be asked, and nothing about how it is done.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Exit codes, the same for every command.
pub mod exit {
    pub const OK: u8 = 0;
    /// It began and failed: a port is taken, a node or a pool does not answer, a plugin was refused.
    pub const FAILED: u8 = 1;
    /// The command line or the configuration is wrong; nothing was begun.
    pub const USAGE: u8 = 2;
}

macro_rules! example {
    ($($line:literal),+) => {
        concat!("Example:\n", $("  ", $line, "\n",)+ "\n",
            "Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.")
    };
}

mod backtest;
mod books;
mod ledger_check;
mod payouts;
mod plugin;
mod policy;

pub use backtest::{Backtest, BacktestCommand, BacktestPayout, BacktestVardiff, Shown, Source};
pub use books::{Audit, Backup, Export, ExportFormat, LedgerCommand, LedgerFile};
pub use ledger_check::{LedgerCheck, Salvage};
pub use payouts::{
    Batches, Cancel, Confirm, Csv, DraftPsbt, Hold, List, Listing, Minimum, OwnMinimum, Payouts,
    PayoutsCommand, Prepare, PsbtVersion, Release, Sent, Show,
};
pub use plugin::{
    BenchPlugin, BuildPlugin, Inspect, Kind, Language, NewPlugin, Plugin, PluginCommand, TestPlugin,
};
pub use policy::{Change, Pin, Policy, PolicyCommand, PolicyStatus, Promote, Rollback, Unpin};

/// A Bitcoin mining pool whose policies are WebAssembly components, replaced while it runs.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, propagate_version = true, after_help = example!("sluice demo", "sluice run --config config/regtest.toml"))]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(Demo),
    Run(Run),
    Check(Check),
    Keygen(Keygen),
    Status(Status),
    Plugin(Plugin),
    Policy(Policy),
    Backtest(Backtest),
    Audit(Audit),
    #[command(name = "ledger")]
    Ledger(LedgerFile),
    Payouts(Payouts),
    CompileComponent(CompileComponent),
}

/// Runs a pool on a simulated chain, with a small CPU miner: nothing to install, nothing to configure.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice demo", "sluice demo --sv1 127.0.0.1:0 --sv2 127.0.0.1:0 --http 127.0.0.1:0 --blocks 1"))]
pub struct Demo {
    /// Where SV1 miners connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333")]
    pub sv1: SocketAddr,
    /// Where SV2 miners connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3336")]
    pub sv2: SocketAddr,
    /// Where the status page and the API are; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Where the ledger and the SV2 authority key are kept [default: a temporary directory, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the plugins are; files replaced there are reloaded [default: the shipped ones].
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
    /// Stop after so many blocks [default: run until interrupted].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub blocks: Option<u64>,
    /// Threads of the CPU miner; 0 leaves the mining to you.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub miner_threads: u16,
}

/// Runs the pool.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice run --config config/regtest.toml"))]
pub struct Run {
    /// The configuration, as in config/sluice.toml.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Checks the configuration, the data directory, keys, certificates and plugins, and lists all problems at once.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice check --config config/regtest.toml"))]
pub struct Check {
    /// The configuration, as in config/sluice.toml.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Makes the pool's Stratum V2 authority key, or a certificate that it signs.
///
/// Miners check the pool with the public key. With --certify the secret key can stay off the pool's machine: the pool
/// then has the file of --out, which holds a key of its own and a certificate for it.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "sluice keygen DIR\n       sluice keygen --certify FILE [--days N] --out FILE",
    after_help = example!("sluice keygen keys", "sluice keygen --certify keys/authority.key --days 90 --out pool.cert"))]
pub struct Keygen {
    /// Where authority.key (secret) and authority.pub are written; never over existing ones.
    #[arg(value_name = "DIR", required_unless_present = "certify", conflicts_with_all = ["certify", "out", "days"])]
    pub dir: Option<PathBuf>,
    /// The authority.key that signs a certificate.
    #[arg(long, value_name = "FILE", requires = "out")]
    pub certify: Option<PathBuf>,
    /// How long the certificate is valid.
    #[arg(long, value_name = "N", requires = "certify", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Where the certificate and its key are written; never over an existing file.
    #[arg(long, value_name = "FILE", requires = "certify")]
    pub out: Option<PathBuf>,
}

/// Shows what a running pool says of itself.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice status", "sluice status --url http://127.0.0.1:8080 --json"))]
pub struct Status {
    /// The pool's HTTP address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Print the JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Compiles one plugin for the process that started this one.
#[derive(Clone, Debug, Args)]
#[command(hide = true)]
pub struct CompileComponent {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    pub args: Vec<OsString>,
}

#[cfg(test)]
mod tests;
