//! `sluice backtest`: a policy tried on what was, or on what could be.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Tries a policy on recorded shares or simulated miners.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!(
    "sluice backtest vardiff my-vardiff.wasm --scenario config/backtest/decades.toml --report out.html",
    "sluice backtest payout my-payout.wasm --data data"
))]
pub struct Backtest {
    #[command(subcommand)]
    pub command: BacktestCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum BacktestCommand {
    Vardiff(BacktestVardiff),
    Payout(BacktestPayout),
}

/// Where the past is from.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// A pool's data directory: what its ledger has on record. The pool may run; nothing is written.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Simulated miners, as in config/backtest.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
}

/// What becomes of the result.
#[derive(Clone, Debug, Args)]
pub struct Shown {
    /// Write a page with plots; it needs nothing else, and no network.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// Lets miners work under a vardiff policy, by the pool's own rules, and says how soon and how well they settle.
///
/// With --data each worker hashes as fast as its recorded shares say, ten minutes at a time.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!(
    "sluice backtest vardiff my-vardiff.wasm --scenario config/backtest/home.toml",
    "sluice backtest vardiff new.wasm --against old.wasm --data data --report out.html"
))]
pub struct BacktestVardiff {
    /// A component, as a .wasm file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Another one, on the same miners.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// The policy's table of settings, as a TOML file.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// The settings of the other one.
    #[arg(long, value_name = "FILE", requires = "against")]
    pub against_settings: Option<PathBuf>,
    /// Shares a minute that the result is judged by [default: the scenario's, 18 with --data].
    #[arg(long, value_name = "N", value_parser = target)]
    pub target: Option<f64>,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub shown: Shown,
}

/// What a scenario may name, too.
fn target(text: &str) -> Result<f64, String> {
    let target = text.parse::<f64>().ok().filter(|target| (0.1..=600.0).contains(target));
    target.ok_or_else(|| "0.1 to 600 is allowed".to_owned())
}

/// Settles recorded rounds, or those of a simulated chain, with a payout policy, and says who would get more or less.
///
/// With --data the comparison is with what the policies of the time gave; with --scenario, where --against is not given,
/// with the shipped payout-pplns.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!(
    "sluice backtest payout my-payout.wasm --data data --report out.html",
    "sluice backtest payout new.wasm --against old.wasm --scenario config/backtest/payout.toml"
))]
pub struct BacktestPayout {
    /// A component, as a .wasm file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What it is compared with.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// The policy's table of settings, as a TOML file.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// The settings of what it is compared with.
    #[arg(long, value_name = "FILE", requires = "against")]
    pub against_settings: Option<PathBuf>,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub shown: Shown,
}
