//! A real browser without a window: what a page becomes in it, and what it complains about.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The longest that one page may take, on a busy machine, in seconds.
const LIMIT_S: u32 = 120;
/// Scripts and timers have so long in the page's own time, which passes as fast as it can.
const PAGE_TIME_MS: u32 = 12_000;
/// How Debian and others call it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Debian's chromium.
pub struct Browser {
    program: PathBuf,
}

/// A page as the browser has it.
#[derive(Debug)]
pub struct Opened {
    /// The document after its scripts.
    pub dom: String,
    /// Whatever went to the console: errors of scripts, paths that cannot be drawn, refused resources.
    pub console: Vec<String>,
}

impl Browser {
    /// `None`, and a line that says why, where there is no browser; CI must have one.
    ///
    /// # Errors
    /// It is not there, and `$CI` is set.
    pub fn find_or_skip(test: &str) -> Result<Option<Self>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let found = NAMES.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
        if let Some(program) = found.into_iter().find(|program| program.is_file()) {
            return Ok(Some(Self { program }));
        }
        let how = "apt-get install chromium";
        ensure!(std::env::var_os("CI").is_none(), "{test} needs a browser: {how}");
        println!("skipped: {test}: needs a browser: {how}");
        Ok(None)
    }

    /// Opens `url` in a window so many pixels wide, as a user with a fresh profile. Names, and addresses beyond this machine, resolve
    /// to nothing.
    ///
    /// # Errors
    /// The browser does not start, or does not come to an end.
    pub async fn open(&self, url: &str, width: u32) -> Result<Opened> {
        let home = tempfile::TempDir::with_prefix("sluice-browser-")?;
        // Its processes are a group that `timeout` ends together.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &LIMIT_S.to_string()]).arg(&self.program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-dev-shm-usage",
        ]);
        command.args([
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--enable-logging=stderr",
            "--dump-dom",
        ]);
        command.arg(format!("--user-data-dir={}", home.path().display()));
        command.args([format!("--window-size={width},900"), format!("--virtual-time-budget={PAGE_TIME_MS}")]);
        command.arg(url).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await?;
        let output = output.context("the browser does not start")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "the browser ends with {}:\n{said}", output.status);
        let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
        Ok(Opened { dom: String::from_utf8_lossy(&output.stdout).into_owned(), console })
    }

    /// Opens a page that is a file, with a script of the test's own at its end: the value of the expression `look`.
    ///
    /// # Errors
    /// As of [`Self::open`]; the page is not as a page of ours ends, or the expression has no value.
    pub async fn look(&self, page: &Path, width: u32, look: &str) -> Result<(Opened, Value)> {
        let text = std::fs::read_to_string(page)?;
        let (before, after) = text.rsplit_once("</body>").context("the page has no body")?;
        let script =
            format!("<script>document.documentElement.dataset.seen = JSON.stringify({look});</script>");
        let dir = tempfile::tempdir()?;
        let probed = dir.path().join("page.html");
        std::fs::write(&probed, format!("{before}{script}</body>{after}"))?;
        let opened = self.open(&format!("file://{}", probed.display()), width).await?;
        let seen = opened.dom.split_once("data-seen=\"").and_then(|(_, rest)| rest.split_once('"'));
        let (seen, _) =
            seen.with_context(|| format!("nothing was seen; the console says {:?}", opened.console))?;
        let seen = ["&quot;", "&lt;", "&gt;", "&amp;"]
            .into_iter()
            .zip(["\"", "<", ">", "&"])
            .fold(seen.to_owned(), |text, (from, to)| text.replace(from, to));
        let seen = serde_json::from_str(&seen).with_context(|| format!("it saw {seen}"))?;
        Ok((opened, seen))
    }
}
