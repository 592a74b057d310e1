//! Chores of the project: `cargo xtask COMMAND`. What a newcomer, CI and a release run alike.

mod bindings;
mod check;
mod contract;
mod languages;
mod plugins;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the project.", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the shipped policies into plugins/dist.
    ///
    /// Needs a wasm32-unknown-unknown standard library: `rustup target add wasm32-unknown-unknown`, or Debian's packages
    /// rustc-web, cargo-web and rust-web-src.
    #[command(after_help = "Examples:\n  cargo xtask plugins\n  cargo xtask plugins --check")]
    Plugins {
        /// Build nothing: fail if a file in plugins/dist is not what dist.lock says, or its sources have changed since.
        #[arg(long)]
        check: bool,
    },
    /// Write the contract as C into the starters: plugins/sdk/c/*/bindings.
    #[command(after_help = "Examples:\n  cargo xtask bindings\n  cargo xtask bindings --check")]
    Bindings {
        /// Write nothing: fail if a file is not what wit/policy.wit makes.
        #[arg(long)]
        check: bool,
    },
    /// Freeze the contract's version: its WIT and the shipped policies, for ever. A release does this.
    #[command(after_help = "Example:\n  cargo xtask freeze")]
    Freeze,
    /// Measure a policy in each language, into the tables of docs/plugins/README.md.
    ///
    /// Builds every starter with tools that it loads anew (1 GB), benches it, and builds it without stubbing. Nothing else
    /// should run meanwhile.
    #[command(after_help = "Example:\n  cargo xtask languages")]
    Languages,
    /// Check the rules of the house: layering, pure crates, file lengths, the tree, and what the contract promises.
    #[command(after_help = "Example:\n  cargo xtask check")]
    Check,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    let root = project_root();
    match command {
        Command::Plugins { check: false } => plugins::build(&root),
        Command::Plugins { check: true } => plugins::check(&root),
        Command::Bindings { check: false } => bindings::write(&root),
        Command::Bindings { check: true } => bindings::check(&root),
        Command::Freeze => contract::freeze(&root),
        Command::Languages => languages::run(&root),
        Command::Check => check::run(&root),
    }
}

/// The workspace that cargo runs this program for, which need not be the one it was built in.
fn project_root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
