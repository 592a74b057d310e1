//! The operator at the desk: `sluice payouts`, run as a program beside a pool or without one.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::binary;

/// Who runs the commands, for one pool.
pub struct Cashier {
    config: PathBuf,
    /// For files that are written.
    place: TempDir,
    files: Cell<u32>,
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub notes: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), notes: text(&output.stderr) }
    }
}

impl Cashier {
    /// For the pool with this configuration.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn of(config: &Path) -> Result<Self> {
        let place = TempDir::with_prefix("sluice-payouts-")?;
        Ok(Self { config: config.to_owned(), place, files: Cell::new(0) })
    }

    /// `line` stands behind `sluice payouts`.
    fn command(&self, line: &str) -> Result<Command> {
        let mut command = Command::new(binary::sluice()?);
        command.arg("payouts").args(line.split_whitespace()).arg("--config").arg(&self.config);
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        Ok(command)
    }

    /// Whatever comes of it.
    ///
    /// # Errors
    /// The program does not run.
    pub fn run(&self, line: &str) -> Result<Answer> {
        let answer: Answer = self.command(line)?.output()?.into();
        ensure!(!answer.notes.contains("panicked"), "payouts {line}: {}", answer.notes);
        Ok(answer)
    }

    /// What it prints, with exit code 0.
    ///
    /// # Errors
    /// Another exit code.
    pub fn done(&self, line: &str) -> Result<String> {
        let answer = self.run(line)?;
        ensure!(answer.code == Some(0), "payouts {line}: {answer:?}");
        Ok(answer.out)
    }

    /// What it says with exit code 1.
    ///
    /// # Errors
    /// Another exit code.
    pub fn refused(&self, line: &str) -> Result<String> {
        let answer = self.run(line)?;
        ensure!(answer.code == Some(1), "payouts {line}: {answer:?}");
        Ok(answer.out + &answer.notes)
    }

    /// Kills it (SIGKILL) after so long, if it still runs then; says whether it did.
    ///
    /// # Errors
    /// The program does not start.
    pub fn killed(&self, line: &str, after: Duration) -> Result<bool> {
        let mut child: Child = self.command(line)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(after);
        let ran = child.try_wait()?.is_none();
        child.kill()?;
        child.wait()?;
        Ok(ran)
    }

    /// What is due, `sluice payouts list --json`.
    ///
    /// # Errors
    /// It fails.
    pub fn list(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.done("list --json")?)?)
    }

    /// How `account` stands in that list.
    ///
    /// # Errors
    /// It is not in it.
    pub fn standing(&self, account: &str) -> Result<Value> {
        let list = self.list()?;
        let due = list["due"].as_array().context("no list")?;
        let found = due.iter().find(|due| due["account"] == account);
        Ok(found.with_context(|| format!("{account} is not in {list}"))?.clone())
    }

    /// A batch, `sluice payouts show N --json`.
    ///
    /// # Errors
    /// It fails.
    pub fn batch(&self, number: u32) -> Result<Value> {
        Ok(serde_json::from_str(&self.done(&format!("show {number} --json"))?)?)
    }

    /// All batches, the newest first.
    ///
    /// # Errors
    /// It fails.
    pub fn batches(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.done("batches --json")?)?)
    }

    /// The PSBT that `psbt ARGS` writes to a file.
    ///
    /// # Errors
    /// It fails.
    pub fn psbt(&self, args: &str) -> Result<Vec<u8>> {
        self.files.set(self.files.get() + 1);
        let file = self.place.path().join(format!("{}.psbt", self.files.get()));
        let answer: Answer = self.command(&format!("psbt {args}"))?.arg("--out").arg(&file).output()?.into();
        ensure!(answer.code == Some(0) && answer.out.is_empty(), "payouts psbt {args}: {answer:?}");
        Ok(std::fs::read(&file)?)
    }
}
