//! What can be asked of the policies of a running pool.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sluice_core::policy::PolicyKind;

/// Promotes, takes back and pins the policies of a running pool.
///
/// It speaks to the pool through control.sock in its data directory, as the pool's own user or root. Every change is
/// proved like a changed file, and on record with who, when and why.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice policy status --config config/regtest.toml",
    "sluice policy promote vardiff --reason steadier --config config/regtest.toml",
    "sluice policy rollback vardiff --config config/regtest.toml"))]
pub struct Policy {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    Status(PolicyStatus),
    Promote(Promote),
    Rollback(Rollback),
    Pin(Pin),
    Unpin(Unpin),
}

/// Shows what serves, how its shadow compares with it, and what was changed by whom.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice policy status --config config/regtest.toml", "sluice policy status auth --json --config config/regtest.toml"))]
pub struct PolicyStatus {
    /// auth, vardiff or payout [default: all].
    #[arg(value_name = "KIND", value_parser = kind)]
    pub kind: Option<PolicyKind>,
    /// Print the JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// The configuration of the pool that runs.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// The shadow serves from now on.
///
/// What served is kept warm: if the promoted one keeps failing within ten minutes, it comes back by itself. The promotion
/// stands after a restart, until the policy's file or settings change.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice policy promote vardiff --config config/regtest.toml"))]
pub struct Promote {
    #[command(flatten)]
    pub change: Change,
}

/// An earlier generation serves again, with the settings it had.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice policy rollback vardiff --config config/regtest.toml",
    "sluice policy rollback payout --to 3fa4c1d09b22 --reason fee --config config/regtest.toml"))]
pub struct Rollback {
    #[command(flatten)]
    pub change: Change,
    /// Its content hash, or the first 8 digits or more [default: what served before].
    #[arg(long, value_name = "HASH")]
    pub to: Option<String>,
}

/// Changes of the policy's file and settings are noticed and shown, not applied.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice policy pin payout --reason audit --config config/regtest.toml"))]
pub struct Pin {
    #[command(flatten)]
    pub change: Change,
}

/// Changes are applied again, and one that was noticed meanwhile at once.
#[derive(Clone, Debug, Args)]
#[command(after_help = example!("sluice policy unpin payout --config config/regtest.toml"))]
pub struct Unpin {
    #[command(flatten)]
    pub change: Change,
}

/// Which policy of which pool, and why.
#[derive(Clone, Debug, Args)]
pub struct Change {
    /// auth, vardiff or payout.
    #[arg(value_name = "KIND", value_parser = kind)]
    pub kind: PolicyKind,
    /// Kept in the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// The configuration of the pool that runs.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

fn kind(text: &str) -> Result<PolicyKind, String> {
    let named = PolicyKind::ALL.into_iter().find(|kind| kind.label() == text);
    named.ok_or_else(|| "auth, vardiff or payout is allowed".to_owned())
}
