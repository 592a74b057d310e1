//! SRI's programs as processes: found, started, listened to, killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::output::Output;

/// A program of SRI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Translator,
    MiningDevice,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Translator => "translator_sv2",
            Self::MiningDevice => "mining_device",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Translator => "SLUICE_TRANSLATOR",
            Self::MiningDevice => "SLUICE_MINING_DEVICE",
        }
    }

    fn install(self) -> &'static str {
        match self {
            Self::Translator => {
                "cargo install translator_sv2 --version 0.6.0 --locked --debug --no-default-features"
            }
            Self::MiningDevice => {
                "cargo install integration_tests_sv2 --version 0.6.0 --locked --debug --bin mining_device \
                 (with Cap'n Proto: Debian's capnproto and libcapnp-dev)"
            }
        }
    }

    /// Where it is. `None`, and a line that says how to get it, where it is not; CI must have it.
    ///
    /// # Errors
    /// It is missing, and `CI` is set; or the variable names no file.
    pub fn find_or_skip(self, test: &str) -> Result<Option<PathBuf>> {
        if let Some(path) = std::env::var_os(self.variable()) {
            let path = PathBuf::from(path);
            ensure!(path.is_file(), "{}={} is no file", self.variable(), path.display());
            return Ok(Some(path));
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found =
            std::env::split_paths(&paths).map(|path| path.join(self.name())).find(|path| path.is_file());
        if found.is_none() {
            let how = format!("{} and put it on PATH, or set {}", self.install(), self.variable());
            ensure!(std::env::var_os("CI").is_none(), "{test} needs {}: {how}", self.name());
            println!("skipped: {test}: {how}");
        }
        Ok(found)
    }
}

/// A running program. Killed when dropped.
pub struct Running {
    child: Child,
    output: Output,
}

impl Running {
    /// # Errors
    /// It does not start.
    pub fn start(mut command: Command) -> Result<Self> {
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?} does not start"))?;
        let (stdout, stderr) = (child.stdout.take().context("piped")?, child.stderr.take().context("piped")?);
        Ok(Self { child, output: Output::capture(vec![Box::new(stdout), Box::new(stderr)]) })
    }

    /// Waits for a line with all of `parts` in it, past or to come.
    ///
    /// # Errors
    /// No such line within `limit`, or it ended without one.
    pub async fn says(&self, parts: &[&str], limit: Duration) -> Result<String> {
        let likes = |line: &str| parts.iter().all(|part| line.contains(part)).then(|| line.to_owned());
        self.output.find(limit, likes).await.with_context(|| format!("it does not say {parts:?}"))
    }

    /// Waits until so many lines have all of `parts` in them.
    ///
    /// # Errors
    /// Not within `limit`, or it ended without.
    pub async fn says_often(&self, parts: &[&str], times: usize, limit: Duration) -> Result<()> {
        let seen = AtomicUsize::new(0);
        let enough = |line: &str| {
            let likes = parts.iter().all(|part| line.contains(part));
            (likes && seen.fetch_add(1, Ordering::Relaxed) + 1 >= times).then_some(())
        };
        self.output
            .find(limit, enough)
            .await
            .with_context(|| format!("it does not say {parts:?} {times} times"))
    }

    /// All lines so far with all of `parts` in them.
    pub fn said(&self, parts: &[&str]) -> Vec<String> {
        let mut lines = self.output.lines();
        lines.retain(|line| parts.iter().all(|part| line.contains(part)));
        lines
    }

    /// Whether it lives.
    ///
    /// # Errors
    /// The system refuses to say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub fn tail(&self) -> String {
        self.output.tail()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- last words ---\n{}", self.output.tail());
        }
    }
}
