//! Chores of the project: `cargo xtask COMMAND`. What a newcomer, CI and a release run alike.

mod check;
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
    /// Check the rules of the house: layering, pure crates, file lengths, the tree.
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
        Command::Check => check::run(&root),
    }
}

/// The workspace that cargo runs this program for, which need not be the one it was built in.
fn project_root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
