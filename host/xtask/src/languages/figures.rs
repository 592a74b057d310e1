//! What is measured, with the program's own commands: what they print as JSON, and how long they take.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Language;

/// Everything about one starter. Builds are in processor time: neither the network nor a busy machine is in it.
pub(super) struct Measured {
    pub(super) first_build: Duration,
    pub(super) next_build: Duration,
    /// Bytes on disk of what the first build of the language loaded and made.
    pub(super) tools: u64,
    pub(super) imports: Vec<String>,
    /// How many interfaces of WASI it imports where nothing removes them; `None` where there is nothing to remove.
    pub(super) unstubbed: Option<usize>,
    pub(super) plugin: Figures,
    /// The shipped policy of the kind.
    pub(super) shipped: Figures,
}

#[derive(Deserialize)]
struct Report {
    plugin: Figures,
    against: Figures,
}

/// As `sluice plugin bench --json` has them.
#[derive(Deserialize)]
pub(super) struct Figures {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) compile_cold_ns: u64,
    pub(super) compile_cached_ns: u64,
    pub(super) instantiate_ns: Spread,
    pub(super) memory: u64,
    pub(super) questions: Vec<Asked>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    pub(super) question: String,
    pub(super) first_ns: u64,
    pub(super) time_ns: Spread,
    pub(super) fuel: Spread,
}

#[derive(Deserialize)]
pub(super) struct Spread {
    pub(super) p50: u64,
    pub(super) p99: u64,
}

#[derive(Deserialize)]
struct Inspection {
    imports: Vec<Import>,
}

#[derive(Deserialize)]
struct Import {
    name: String,
}

/// The program, and an empty directory.
pub(super) struct Bench {
    sluice: PathBuf,
    home: PathBuf,
}

impl Bench {
    /// # Errors
    /// The directory cannot be emptied.
    pub(super) fn new(sluice: &Path, home: &Path) -> Result<Self> {
        if home.exists() {
            fs::remove_dir_all(home).with_context(|| format!("failed to empty {}", home.display()))?;
        }
        fs::create_dir_all(home)?;
        Ok(Self { sluice: sluice.to_owned(), home: home.to_owned() })
    }

    /// # Errors
    /// The tools cannot be removed.
    pub(super) fn clear(self) -> Result<()> {
        fs::remove_dir_all(&self.home).with_context(|| format!("failed to remove {}", self.home.display()))
    }

    /// # Errors
    /// A step failed, and what it said.
    pub(super) fn measure(&self, language: Language, kind: &str) -> Result<Measured> {
        let dir = self.home.join(format!("{language:?}-{kind}").to_lowercase());
        // The first kind of a language finds nothing: its first build is one on an empty machine.
        let caches = self.home.join(format!("{language:?}-caches").to_lowercase());
        let is_first = !caches.exists();
        let at = Place { sluice: &self.sluice, dir: &dir, caches: &caches };
        at.run(&["new", kind, "--lang", language.option(), at.path()?])?;
        if language == Language::StarlingMonkey {
            at.edit("plugin.toml", "\"quickjs\"", "\"starlingmonkey\"")?;
        }
        let before = size(&dir)?;
        let first_build = at.build()?;
        let tools = size(&dir)?.saturating_sub(before) + size(&caches.join("sluice/tools"))?;
        let next_build = at.build()?;
        let component = component(&dir)?;
        let imports = at.imports(&component)?;
        let report = at.run(&["bench", at.path()?, "--json"])?;
        let Report { plugin, against } = serde_json::from_str(&report).context("bench printed no figures")?;
        let unstubbed = if is_first { at.unstubbed(language, kind, &component)? } else { None };
        fs::remove_dir_all(&dir)?;
        Ok(Measured { first_build, next_build, tools, imports, unstubbed, plugin, shipped: against })
    }
}

/// A starter's directory, with tools of its own.
struct Place<'a> {
    sluice: &'a Path,
    dir: &'a Path,
    caches: &'a Path,
}

impl Place<'_> {
    fn path(&self) -> Result<&str> {
        self.dir.to_str().context("a directory that is not UTF-8")
    }

    /// What `sluice plugin ...` prints.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.sluice);
        command.arg("plugin").args(arguments);
        self.tell(command)
    }

    fn tell(&self, mut command: Command) -> Result<String> {
        fs::create_dir_all(self.caches)?;
        command.env("XDG_CACHE_HOME", self.caches).env("npm_config_cache", self.caches.join("npm"));
        command.env("PIP_NO_CACHE_DIR", "1");
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(said)
    }

    fn build(&self) -> Result<Duration> {
        let before = processor_time()?;
        self.run(&["build", self.path()?])?;
        Ok(processor_time()?.saturating_sub(before))
    }

    fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.dir.join(file);
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{} has no {from}", path.display());
        Ok(fs::write(&path, text.replace(from, to))?)
    }

    fn imports(&self, component: &Path) -> Result<Vec<String>> {
        let mut command = Command::new(self.sluice);
        command.args(["plugin", "inspect", "--json"]).arg(component);
        let output = command.output()?;
        // A component that is refused is told of all the same.
        let found: Inspection = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(found.imports.into_iter().map(|import| import.name).collect())
    }

    /// Interfaces of WASI in the imports without the switch that removes them.
    fn unstubbed(&self, language: Language, kind: &str, component: &Path) -> Result<Option<usize>> {
        let mut command = match language {
            Language::Rust | Language::C => return Ok(None),
            Language::QuickJs => {
                self.edit("build.mjs", "stubWasi: true", "stubWasi: false")?;
                Command::new("node")
            }
            Language::StarlingMonkey => {
                self.edit(
                    "build.mjs",
                    "[\"stdio\", \"random\", \"clocks\", \"http\", \"fetch-event\"]",
                    "[]",
                )?;
                Command::new("node")
            }
            Language::Python => Command::new(componentize_py(&self.caches.join("sluice/tools"))?),
        };
        if language == Language::Python {
            command.args(["-d", "wit", "-w", &format!("{kind}-policy"), "componentize", "-p", ".", "-o"]);
            command.arg(component).arg("plugin");
        } else {
            command.arg("build.mjs");
        }
        command.current_dir(self.dir);
        self.tell(command)?;
        let imports = self.imports(component)?;
        Ok(Some(imports.iter().filter(|name| name.starts_with("wasi:")).count()))
    }
}

/// What all programs that this one has run and waited for have used, as Linux counts it: in hundredths of a second.
fn processor_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("processor time is read from Linux's /proc")?;
    // Behind the name, which may hold anything: field 3 comes first, 16 and 17 are the children's.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(13).take(2));
    let ticks = fields.into_iter().flatten().map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn componentize_py(tools: &Path) -> Result<PathBuf> {
    let programs = entries(tools)?.into_iter().map(|venv| venv.join("bin/componentize-py"));
    programs.into_iter().find(|program| program.is_file()).context("componentize-py is not installed")
}

fn component(dir: &Path) -> Result<PathBuf> {
    let is_component = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wasm");
    entries(dir)?.into_iter().find(is_component).context("no component was built")
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Bytes of all files below; 0 where there is nothing.
fn size(path: &Path) -> Result<u64> {
    let Ok(meta) = path.symlink_metadata() else { return Ok(0) };
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    entries(path)?.iter().map(|entry| size(entry)).sum()
}
