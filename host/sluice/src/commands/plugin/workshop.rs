//! Running the tools that build a plugin: one after the other, shown, and never for ever.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::running::{Running, Stopped};

/// How often it is said that a tool is still at work.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a tool may take to say its version.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A program that must be there beforehand.
pub(super) struct Prerequisite {
    pub(super) program: &'static str,
    /// Asks for its version, or for something that must work.
    pub(super) arguments: &'static [&'static str],
    /// Of the first number with a dot that it prints.
    pub(super) at_least: (u32, u32),
    /// How to get it.
    pub(super) how: &'static str,
}

/// # Errors
/// Every program that is missing or too old, with how to get it.
pub(super) fn require(all: &[Prerequisite]) -> anyhow::Result<()> {
    let missing: Vec<String> = all.iter().filter_map(missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this cannot be built here yet:\n  {}", missing.join("\n  "))
}

fn missing(wanted: &Prerequisite) -> Option<String> {
    let Prerequisite { program, arguments, at_least: (major, minor), how } = wanted;
    let shown = format!("{program} {}", arguments.join(" "));
    let output = match said(Command::new(program).args(*arguments)) {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            return Some(format!("`{shown}` fails ({last}): {how}"));
        }
        Err(error) if is_missing(&error) => return Some(format!("{program} is missing: {how}")),
        Err(error) => return Some(format!("`{shown}` fails ({error:#}): {how}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let found = version(&text)?;
    (found < (*major, *minor))
        .then(|| format!("{program} is {}.{}, {major}.{minor} or later is needed: {how}", found.0, found.1))
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What a tool prints.
///
/// # Errors
/// It does not start, or takes longer than [`ANSWER_LIMIT`].
pub(super) fn said(command: &mut Command) -> anyhow::Result<Output> {
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    running.wait(ANSWER_LIMIT, |_| Ok(())).map_err(|stopped| anyhow!(told(&stopped, ANSWER_LIMIT)))?;
    Ok(running.printed()?)
}

fn told(stopped: &Stopped, limit: Duration) -> String {
    match stopped {
        Stopped::Late => format!("it took longer than {} s and was stopped", limit.as_secs_f64()),
        Stopped::Lost(error) => error.to_string(),
    }
}

/// The first `MAJOR.MINOR` in a text.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut numbers = word.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

/// Runs a tool, its own words shown. `what` completes "failed to".
///
/// # Errors
/// It does not start, fails, or takes longer than `limit`.
pub(super) fn step(
    out: &mut dyn Write,
    what: &str,
    command: &mut Command,
    limit: Duration,
) -> anyhow::Result<()> {
    writeln!(out, "{what} ...")?;
    out.flush()?;
    let program = command.get_program().display().to_string();
    let mut running =
        Running::start(command).with_context(|| format!("failed to {what}: {program} did not start"))?;
    let mut next = PATIENCE;
    let look = |passed: Duration| {
        if passed < next {
            return Ok(());
        }
        next += PATIENCE;
        writeln!(out, "{what}: {} s so far", passed.as_secs())?;
        out.flush()
    };
    let status = running
        .wait(limit, look)
        .map_err(|stopped| anyhow!("failed to {what}: {program}: {}", told(&stopped, limit)))?;
    if !status.success() {
        bail!("failed to {what}: {program} ended with {status}; what it said is above");
    }
    Ok(())
}

/// A tool that works within a directory.
pub(super) fn tool(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    command
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn versions_are_read_from_what_tools_say_of_themselves() {
        assert_eq!(version("Python 3.11.2\n"), Some((3, 11)));
        assert_eq!(version("v20.20.2\n"), Some((20, 20)));
        assert_eq!(version("cargo 1.95.0 (abc 2026-01-01)"), Some((1, 95)));
        assert_eq!(version("nothing"), None);
    }

    #[test]
    fn every_missing_program_is_named_with_how_to_get_it() {
        let wanted = |program, at_least| Prerequisite {
            program,
            arguments: &["-c", "echo 3.10"],
            at_least,
            how: "ask for it",
        };
        let all = [wanted("sh", (3, 11)), wanted("no-such-program-here", (1, 0)), wanted("sh", (3, 10))];
        let error = require(&all).unwrap_err().to_string();
        assert!(error.contains("sh is 3.10, 3.11 or later is needed: ask for it"), "{error}");
        assert!(error.contains("no-such-program-here is missing: ask for it"), "{error}");
        assert_eq!(error.lines().count(), 3, "{error}");
    }

    #[test]
    fn a_tool_that_fails_or_does_not_end_is_named() {
        let mut out = Vec::new();
        let failed =
            step(&mut out, "say no", Command::new("sh").args(["-c", "exit 3"]), PATIENCE).unwrap_err();
        assert!(failed.to_string().contains("failed to say no: sh ended with"), "{failed}");
        let limit = Duration::from_millis(50);
        let stopped = step(&mut out, "wait", Command::new("sleep").arg("60"), limit).unwrap_err();
        assert!(stopped.to_string().contains("was stopped"), "{stopped}");
    }

    #[test]
    fn what_a_stopped_tool_has_started_ends_with_it() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]).stdout(writer);
        let limit = Duration::from_millis(50);
        assert!(step(&mut Vec::new(), "wait", &mut command, limit).is_err());
        // The end of the pipe is seen when nobody is left who could write to it.
        drop(command);
        let mut written = Vec::new();
        reader.read_to_end(&mut written).unwrap();
        assert!(written.is_empty(), "{written:?}");
    }
}
