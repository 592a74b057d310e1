//! What `test` and `bench` need of a plugin: its file, its kind, the author's scenarios, and settings that it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use sluice_core::policy::PolicyKind;
use sluice_policy::config::Settings;
use sluice_policy::conformance::{self, Lookup, Scenarios};
use sluice_policy::{LoadError, Loader};

use super::manifest::{self, Manifest};
use crate::app;

/// The most scenario files, and their greatest size in bytes.
const FILES: usize = 1000;
const FILE_SIZE: u64 = 1 << 20;

/// The largest component that the host takes, in bytes.
const COMPONENT_SIZE: u64 = 64 << 20;

/// Where no settings are from.
pub(super) const NONE: &str = "none";

/// A plugin that is asked.
pub(super) struct Candidate {
    pub(super) file: PathBuf,
    pub(super) wasm: Vec<u8>,
    pub(super) kind: PolicyKind,
    pub(super) scenarios: Vec<ScenarioFile>,
}

/// A file of scenarios; read, or why it is not.
pub(super) struct ScenarioFile {
    pub(super) name: String,
    pub(super) scenarios: Result<Scenarios, String>,
}

impl Candidate {
    /// `file` may be the directory of a plugin; scenarios lie in `tests` beside it where nothing else is said.
    pub(super) fn read(file: &Path, scenarios: Option<&Path>) -> anyhow::Result<Self> {
        let file = component(file)?;
        let wasm = read_component(&file)?;
        let kinds = conformance::kinds(&wasm).with_context(|| format!("{} is no plugin", file.display()))?;
        let kind = match kinds.as_slice() {
            [kind] => *kind,
            [] => bail!("{} exports none of auth, vardiff and payout of sluice:policy", file.display()),
            _ => bail!("{} is of several kinds; a plugin is one", file.display()),
        };
        let beside = file.parent().unwrap_or(Path::new(".")).join("tests");
        let scenarios = match scenarios {
            Some(dir) => read_dir(dir)?,
            None if beside.is_dir() => read_dir(&beside)?,
            None => Vec::new(),
        };
        Ok(Self { file, wasm, kind, scenarios })
    }

    fn read_scenarios(&self) -> impl Iterator<Item = (&str, &Scenarios)> {
        self.scenarios.iter().filter_map(|file| Some((file.name.as_str(), file.scenarios.as_ref().ok()?)))
    }

    /// The given settings; else none, where the plugin takes that, else the first scenario's that it takes. With where
    /// they are from.
    pub(super) fn settings(
        &self,
        given: Option<&Path>,
        loader: &Loader,
    ) -> anyhow::Result<(String, Settings)> {
        if let Some(path) = given {
            return Ok((path.display().to_string(), read_settings(path)?));
        }
        let takes = |settings: &Settings| {
            !matches!(
                conformance::loads(&self.wasm, self.kind, settings, loader),
                Err(LoadError::Settings(_))
            )
        };
        let none = Settings::new();
        if takes(&none) {
            return Ok((NONE.to_owned(), none));
        }
        let found = self.read_scenarios().find(|(_, scenarios)| takes(&scenarios.settings));
        Ok(found.map_or((NONE.to_owned(), none), |(name, scenarios)| {
            (name.to_owned(), scenarios.settings.clone())
        }))
    }

    /// Settings and a login that is let in with them, for a bench of an auth policy.
    pub(super) fn welcome_login(
        &self,
    ) -> Option<(&Scenarios, (sluice_core::policy::auth::Login, Vec<Lookup>))> {
        self.read_scenarios().find_map(|(_, scenarios)| Some((scenarios, scenarios.welcome_login()?)))
    }
}

/// The bytes of a component.
///
/// # Errors
/// No file, or one that is larger than any component that the host takes.
pub(crate) fn read_component(file: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("failed to read {}", file.display());
    let meta = fs::metadata(file).with_context(failed)?;
    ensure!(meta.is_file(), "{} is no file", file.display());
    let size = meta.len();
    ensure!(
        size <= COMPONENT_SIZE,
        "{} has {size} bytes; a component has at most {COMPONENT_SIZE}",
        file.display()
    );
    fs::read(file).with_context(failed)
}

/// A plugin's directory stands for what was built in it.
pub(super) fn component(file: &Path) -> anyhow::Result<PathBuf> {
    if !file.join(manifest::FILE).is_file() {
        return Ok(file.to_path_buf());
    }
    let built = file.join(Manifest::read(file)?.component());
    ensure!(built.is_file(), "{} is not there; `sluice plugin build {}`", built.display(), file.display());
    Ok(built)
}

/// Every `*.toml`, sorted by name.
fn read_dir(dir: &Path) -> anyhow::Result<Vec<ScenarioFile>> {
    let entries = fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") && path.is_file() {
            paths.push(path);
        }
        ensure!(paths.len() <= FILES, "{} has more than {FILES} scenario files", dir.display());
    }
    paths.sort();
    Ok(paths.iter().map(|path| read_file(path)).collect())
}

fn read_file(path: &Path) -> ScenarioFile {
    let name = path.display().to_string();
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    let scenarios = if size > FILE_SIZE {
        Err(format!("it has {size} bytes; at most {FILE_SIZE} are allowed"))
    } else {
        fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|text| parse(&text))
    };
    ScenarioFile { name, scenarios }
}

/// Scenarios from TOML; an error names the line.
pub(super) fn parse(text: &str) -> Result<Scenarios, String> {
    let scenarios: Scenarios = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    if scenarios.calls.is_empty() && scenarios.refused.is_none() {
        return Err("it has no [[call]], and `refused` is not given".to_owned());
    }
    if !scenarios.calls.is_empty() && scenarios.refused.is_some() {
        return Err("`refused` and [[call]] exclude each other: refused settings answer nothing".to_owned());
    }
    Ok(scenarios)
}

fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is wrong", path.display()))
}

/// A private directory for compiled code, removed when it goes out of use.
pub(super) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    pub(super) fn new(purpose: &str) -> Self {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("sluice-{purpose}-{}-{nanos}", std::process::id());
        Self { dir: std::env::temp_dir().join(name) }
    }

    /// A loader that has compiled nothing yet, where `name` is new.
    pub(super) fn loader(&self, name: &str) -> anyhow::Result<Loader> {
        Ok(Loader::new(&self.dir.join(name), app::compiler()?, bitcoin::Network::Bitcoin)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_of_the_starters_are_read() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/sdk/scenarios");
        for kind in PolicyKind::ALL {
            let files = read_dir(&dir.join(kind.label())).unwrap();
            assert!(!files.is_empty(), "{kind} has scenarios");
            for file in files {
                assert!(file.scenarios.is_ok(), "{}: {:?}", file.name, file.scenarios.err());
            }
        }
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| format!("{:#}", read_component(path).unwrap_err());
        assert!(said(dir.path()).contains("is no file"));
        assert!(said(Path::new("/dev/zero")).contains("is no file"));
        let large = dir.path().join("large.wasm");
        fs::File::create(&large).unwrap().set_len(COMPONENT_SIZE + 1).unwrap();
        assert!(said(&large).contains("a component has at most 67108864"));
    }

    #[test]
    fn a_wrong_scenario_names_its_line_and_what_is_allowed() {
        let call = "[[call]]\nname = \"x\"\nfunction = \"settle\"\nexpect = {}\n";
        assert!(parse(call).is_ok());
        let said = parse(&call.replace("settle", "pay")).unwrap_err();
        assert!(said.contains("line 3") && said.contains("settle"), "{said}");
        let said = parse(&call.replace("expect", "expects")).unwrap_err();
        assert!(said.contains("expects"), "{said}");
        assert!(parse("settings = {}\n").unwrap_err().contains("[[call]]"));
    }
}
