//! The program: command line in, exit code out.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use sluice::cli::{Cli, Command, exit};
use sluice::config::{Config, LogFormat};
use sluice::{clock, commands, demo, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::from(exit::FAILED)
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    // Not locked: a lock held here would stop every thread that logs.
    let (out, problems) = (&mut io::stdout(), &mut io::stderr());
    let code = match command {
        Command::Demo(args) => {
            log(&LogFormat::Text, "warn")?;
            runtime()?.block_on(demo::run(&args, interrupted()))?;
            exit::OK
        }
        Command::Run(args) => {
            let config = match Config::load(&args.config) {
                Ok(config) => config,
                Err(errors) => {
                    complain(&errors.to_string());
                    return Ok(ExitCode::from(exit::USAGE));
                }
            };
            log(&config.log.format, &config.log.filter)?;
            runtime()?.block_on(run::run(&args.config, config, interrupted()))?;
            exit::OK
        }
        Command::Check(args) => commands::check::run(&args.config, run::deeper_problems, out, problems)?,
        Command::Keygen(args) => commands::keygen::run(&args, clock::wall(), out)?,
        Command::Status(args) => commands::status::run(&args, out)?,
        Command::Backtest(args) => commands::backtest::run(&args.command, out)?,
        Command::Audit(args) => commands::audit::run(&args, out)?,
        Command::Ledger(args) => commands::ledger::run(&args.command, out)?,
        Command::Payouts(args) => commands::payouts::run(&args, out, problems)?,
        Command::Policy(args) => commands::policy::run(&args, out, problems)?,
        Command::Plugin(args) => commands::plugin::run(&args.command, out)?,
        Command::CompileComponent(args) => return Ok(sluice_policy::compile_child_main(args.args)),
    };
    Ok(ExitCode::from(code))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the runtime")
}

/// `RUST_LOG` wins over the configuration.
fn log(format: &LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) => {
            EnvFilter::try_new(&wanted).with_context(|| format!("RUST_LOG={wanted:?} is no filter"))?
        }
        Err(_) => EnvFilter::try_new(filter)?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a command")]
fn complain(text: &str) {
    eprintln!("{text}");
}
