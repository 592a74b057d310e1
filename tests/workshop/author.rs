//! An author at work: a directory of his own, the program's commands in the order of the guide, and what they say.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sluice_tests::binary;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::cell::{Cell, Edit, Language};

/// Says whether these tests run where `CI` does not decide: 1 or 0.
const SWITCH: &str = "SLUICE_WORKSHOP";
/// What `plugin build` begins with where a tool is missing; the rest says which, and how to get it.
const MISSING: &str = "this cannot be built here yet";
/// Fewer checks than these are not the contract's.
const CHECKS: usize = 15;

/// Builds use a core and more each: others meanwhile talk to their pools.
static BUILDS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(cores.div_ceil(2))
});

pub(crate) struct Author {
    pub(crate) cell: Cell,
    home: TempDir,
    /// While Rust's directory is this author's.
    turn: Option<File>,
    began: Instant,
}

/// How a command ended and what it said.
struct Said {
    ok: bool,
    stdout: String,
    stderr: String,
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// What the next run need not load and build again.
fn kept() -> PathBuf {
    binary::workspace().join("target/workshop")
}

/// Waits for who has the file locked, in this process or another.
async fn locked(path: PathBuf) -> Result<File> {
    let file = File::create(path)?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await?
        .context("failed to wait for a lock")
}

impl Author {
    /// With an empty directory; `None` where these tests are not asked for.
    pub(crate) fn begin(cell: Cell) -> Result<Option<Self>> {
        let asked = std::env::var(SWITCH).map_or_else(|_| in_ci(), |value| value == "1");
        if !asked {
            eprintln!("{cell} is skipped: it builds with real toolchains (500 MB, minutes); set {SWITCH}=1");
            return Ok(None);
        }
        let home = TempDir::with_prefix("sluice-workshop-")?;
        Ok(Some(Self { cell, home, turn: None, began: Instant::now() }))
    }

    /// A line for who watches.
    pub(crate) fn tell(&self, what: &str) {
        eprintln!("workshop {:>6.1} s  {:<20}  {what}", self.began.elapsed().as_secs_f64(), self.cell.name);
    }

    /// Cargo takes what it built before only in the same place, so that Rust's authors share one, one after the other.
    fn dir(&self) -> PathBuf {
        let home = if self.cell.language == Language::Rust { &kept().join("rust") } else { self.home.path() };
        home.join("my-policy")
    }

    /// `plugin new`, from nothing.
    async fn new_directory(&mut self) -> Result<()> {
        let (dir, built) = (self.dir(), kept().join("rust/target"));
        if self.cell.language == Language::Rust {
            fs::create_dir_all(kept().join("rust"))?;
            self.turn = Some(locked(kept().join("rust/lock")).await?);
            if dir.join("target").is_dir() {
                fs::rename(dir.join("target"), &built)?;
            }
            if dir.is_dir() {
                fs::remove_dir_all(&dir)?;
            }
        }
        let (kind, language) = (self.cell.kind.label(), self.cell.language.option());
        let made = self.run("new", &[kind, "--lang", language, text(&dir)?]).await?.success()?;
        ensure!(made.contains(self.cell.kind.starter()), "{made}");
        if self.cell.language == Language::Rust && built.is_dir() {
            fs::rename(built, dir.join("target"))?;
        }
        Ok(())
    }

    fn component(&self) -> PathBuf {
        self.dir().join(format!("{}.wasm", self.cell.kind.starter()))
    }

    /// The starter's component; `None` where a tool is missing.
    pub(crate) async fn first_build(&mut self) -> Result<Option<Vec<u8>>> {
        self.new_directory().await?;
        self.change(self.cell.choices())?;
        let built = self.build("build").await?;
        if !built.ok && built.stderr.contains(MISSING) {
            let why = built.stderr.trim();
            ensure!(!in_ci(), "{why}");
            eprintln!("{} is skipped: {why}", self.cell);
            return Ok(None);
        }
        built.success()?;
        self.inspect().await?;
        self.test().await?;
        Ok(Some(fs::read(self.component())?))
    }

    /// The author changes his mind, and builds and tests again.
    pub(crate) async fn second_build(&mut self) -> Result<Vec<u8>> {
        let before = fs::read(self.component())?;
        self.change(self.cell.edits())?;
        self.build("build again").await?.success()?;
        self.test().await?;
        let after = fs::read(self.component())?;
        ensure!(before != after, "the edit changed nothing");
        Ok(after)
    }

    fn change(&self, edits: &[Edit]) -> Result<()> {
        for edit in edits {
            let path = self.dir().join(edit.file);
            let old = fs::read_to_string(&path).with_context(|| format!("failed to read {}", edit.file))?;
            let new = edit.apply(&old).with_context(|| format!("{} has no {:?}", edit.file, edit.from))?;
            fs::write(&path, new)?;
        }
        Ok(())
    }

    async fn build(&self, step: &str) -> Result<Said> {
        let _turn = BUILDS.acquire().await?;
        let dir = self.dir();
        let said = self.run_as(step, "build", &[text(&dir)?]).await?;
        ensure!(!said.ok || said.stdout.contains("this pool takes it"), "{}", said.stdout);
        Ok(said)
    }

    /// Nothing is imported but what the contract grants.
    async fn inspect(&self) -> Result<()> {
        let said = self.run("inspect", &[text(&self.component())?, "--json"]).await?.success()?;
        let found: Value = serde_json::from_str(&said)?;
        ensure!(found["kind"] == self.cell.kind.label(), "{found}");
        let imports = found["imports"].as_array().context("no imports")?;
        let foreign = |import: &&Value| {
            import["granted"] != true
                || !import["name"].as_str().is_some_and(|name| name.starts_with("sluice:policy/"))
        };
        ensure!(imports.iter().find(foreign).is_none(), "it imports {imports:?}");
        Ok(())
    }

    /// The conformance suite, and the calls of the directory's own tests.
    async fn test(&self) -> Result<()> {
        let dir = self.dir();
        let said = self.run("test", &[text(&dir)?]).await?.success()?;
        let checks = said.lines().filter(|line| line.starts_with("  ok ")).count();
        let own = said.contains("tests/policy.toml");
        ensure!(said.ends_with("all passed\n") && checks >= CHECKS && own, "too few checks:\n{said}");
        Ok(())
    }

    async fn run(&self, command: &str, arguments: &[&str]) -> Result<Said> {
        self.run_as(command, command, arguments).await
    }

    /// `sluice plugin COMMAND ...`; tools and caches lie in target/workshop, for the next time.
    async fn run_as(&self, step: &str, command: &str, arguments: &[&str]) -> Result<Said> {
        let began = Instant::now();
        let kept = kept();
        fs::create_dir_all(&kept)?;
        let mut program = Command::new(binary::sluice()?);
        program.args(["plugin", command]).args(arguments).env("NO_COLOR", "1");
        program.env("XDG_CACHE_HOME", &kept).env("npm_config_cache", kept.join("npm"));
        let output = tokio::task::spawn_blocking(move || program.output()).await??;
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
        self.tell(&format!("{step}: {:.1} s", began.elapsed().as_secs_f64()));
        Ok(Said { ok: output.status.success(), stdout, stderr })
    }
}

impl Said {
    /// What was printed.
    fn success(self) -> Result<String> {
        if self.ok {
            return Ok(self.stdout);
        }
        bail!("{}{}", self.stdout, self.stderr)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a directory that is not UTF-8")
}
