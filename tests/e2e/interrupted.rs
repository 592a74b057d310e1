//! `sluice plugin build` that is ended while a tool is at work: nothing of the tool is left.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, pipe};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sluice_tests::binary;
use tempfile::TempDir;

/// Says that it has begun, and leaves the work to a program of its own that does not end.
const PYTHON: &str = "#!/bin/sh
case \"$1\" in
  --version) echo Python 3.12.1 ;;
  -c) ;;
  *) echo begun; sleep 600 & wait ;;
esac
";

#[test]
fn a_signal_that_ends_a_build_ends_what_its_tools_have_started() -> Result<()> {
    let root = TempDir::new()?;
    let (bin, plugin) = (root.path().join("bin"), root.path().join("mine"));
    fs::create_dir(&bin)?;
    fs::write(bin.join("python3"), PYTHON)?;
    fs::set_permissions(bin.join("python3"), Permissions::from_mode(0o755))?;
    let sluice = binary::sluice()?;
    let made =
        Command::new(&sluice).args(["plugin", "new", "vardiff", "--lang", "python"]).arg(&plugin).output()?;
    ensure!(made.status.success(), "{made:?}");

    let (reader, writer) = pipe()?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let mut build = Command::new(&sluice);
    build.args(["plugin", "build"]).arg(&plugin).arg("--tools").arg(root.path().join("tools"));
    build.env("PATH", path).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut running = build.spawn()?;
    // It would keep the pipe open here.
    drop(build);
    let mut said = BufReader::new(reader);
    let mut line = String::new();
    while line.trim() != "begun" {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "the tool never begins");
    }
    let signal = format!("kill -TERM {}", running.id());
    ensure!(Command::new("sh").args(["-c", &signal]).status()?.success(), "the signal is sent");
    // The pipe ends when nobody is left who could write to it, the tool's own program among them.
    let mut rest = String::new();
    said.read_to_string(&mut rest).context("what it said last")?;
    ensure!(rest.contains("interrupted"), "{rest}");
    ensure!(running.wait()?.code() == Some(1), "it failed");
    Ok(())
}
