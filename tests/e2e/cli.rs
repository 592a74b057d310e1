//! The command line: help, exit codes, problems with their places.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use sluice_tests::plugins::PPLNS;
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::{binary, http};
use tempfile::TempDir;

fn sluice(args: &[&str]) -> Result<Output> {
    Command::new(binary::sluice()?).args(args).env("NO_COLOR", "1").output().context("sluice does not run")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn every_command_has_help_with_an_example() -> Result<()> {
    let commands: [&[&str]; 30] = [
        &["demo"],
        &["run"],
        &["check"],
        &["keygen"],
        &["status"],
        &["plugin"],
        &["plugin", "inspect"],
        &["plugin", "new"],
        &["plugin", "build"],
        &["plugin", "test"],
        &["plugin", "bench"],
        &["audit"],
        &["ledger"],
        &["ledger", "export"],
        &["ledger", "backup"],
        &["ledger", "check"],
        &["ledger", "salvage"],
        &["payouts"],
        &["payouts", "list"],
        &["payouts", "prepare"],
        &["payouts", "show"],
        &["payouts", "batches"],
        &["payouts", "csv"],
        &["payouts", "psbt"],
        &["payouts", "sent"],
        &["payouts", "confirm"],
        &["payouts", "cancel"],
        &["payouts", "hold"],
        &["payouts", "release"],
        &["payouts", "minimum"],
    ];
    for command in commands {
        let output = sluice(&[command, &["--help"]].concat())?;
        let help = text(&output);
        ensure!(output.status.success(), "{command:?}: {help}");
        ensure!(help.contains("Example") && help.contains("Exit codes"), "{command:?}: {help}");
        ensure!(help.contains(&format!("sluice {}", command.join(" "))), "{command:?}: {help}");
    }
    let overview = text(&sluice(&["--help"])?);
    ensure!(
        ["demo", "run", "check", "keygen", "status", "plugin", "audit", "ledger", "payouts"]
            .iter()
            .all(|name| overview.contains(name)),
        "{overview}"
    );
    ensure!(!overview.contains("compile-component"), "what is internal shows in {overview}");
    Ok(())
}

#[test]
fn wrong_usage_ends_with_2() -> Result<()> {
    for args in
        [&["dig"][..], &["run"], &["demo", "--sv1", "nowhere"], &["run", "--config", "/does/not/exist.toml"]]
    {
        let output = sluice(args)?;
        ensure!(output.status.code() == Some(2), "{args:?} ends with {}: {}", output.status, text(&output));
        ensure!(!text(&output).contains("panicked"), "{}", text(&output));
    }
    Ok(())
}

#[test]
fn check_lists_all_problems_with_their_lines() -> Result<()> {
    let home = TempDir::new()?;
    let file = home.path().join("bad.toml");
    let config = "network = \"regtset\"\ndata_dir = \"data\"\n[pool]\naddress = 7\ntagg = \"x\"\n\
                  [simulation]\nenabled = \"yes\"\n[http]\nlisten = \"127.0.0.1\"\n";
    fs::write(&file, config)?;
    let file = file.to_str().context("not UTF-8")?;
    for command in ["check", "run"] {
        let output = sluice(&[command, "--config", file])?;
        let said = text(&output);
        ensure!(output.status.code() == Some(2), "{command} ends with {}: {said}", output.status);
        for (line, key) in [(1, "network"), (4, "address"), (5, "tagg"), (7, "enabled"), (9, "listen")] {
            let place = format!("bad.toml:{line}");
            let found = said.lines().any(|text| text.contains(&place) && text.contains(key));
            ensure!(found, "{command} does not name {place} and {key} in one line:\n{said}");
        }
        ensure!(said.contains("regtest"), "what is allowed is not said:\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn check_accepts_what_run_runs_with_and_status_shows_it() -> Result<()> {
    let mut pool = Pool::ready(Setup::without_blocks(1.0)).await?;
    let config = pool.config();
    let config = config.to_str().context("not UTF-8")?.to_owned();
    let url = format!("http://{}", pool.http);
    let output = sluice(&["status", "--url", &url])?;
    ensure!(output.status.success(), "{}", text(&output));
    ensure!(text(&output).contains("regtest") && text(&output).contains("payout-solo"), "{}", text(&output));
    let json = sluice(&["status", "--url", &url, "--json"])?;
    let status: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    ensure!(status.is_object(), "{status}");
    ensure!(http::get(pool.http, "/api/v1/nothing").await?.status == 404);
    pool.kill()?;
    let gone = sluice(&["status", "--url", &url])?;
    ensure!(gone.status.code() == Some(1), "{}: {}", gone.status, text(&gone));
    let check = sluice(&["check", "--config", &config])?;
    ensure!(check.status.success(), "{}", text(&check));
    Ok(())
}

#[test]
fn inspect_says_what_a_plugin_is_and_why_it_is_refused() -> Result<()> {
    let dist = binary::workspace().join("plugins/dist").join(PPLNS);
    let output = sluice(&["plugin", "inspect", dist.to_str().context("not UTF-8")?])?;
    ensure!(output.status.success(), "{}", text(&output));
    ensure!(text(&output).contains("payout-pplns"), "{}", text(&output));
    let home = TempDir::new()?;
    let broken = home.path().join("broken.wasm");
    fs::write(&broken, "no component")?;
    let output = sluice(&["plugin", "inspect", broken.to_str().context("not UTF-8")?])?;
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, text(&output));
    Ok(())
}
