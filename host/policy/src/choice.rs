//! Which generation of a kind serves where that is not simply the one in its file: promoted, rolled back to, or pinned.
//! Kept on disk, so that it stands after a restart.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sluice_core::policy::PolicyKind;

use crate::compile::content_hash;
use crate::config::Settings;
use crate::history::replace;
use crate::load::canonical;

/// Below the directory of the policies.
pub(crate) const FILE: &str = "state.json";

/// What was chosen over what the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// Content hash of what serves.
    pub(crate) serving: String,
    pub(crate) settings: Settings,
    pub(crate) over: Configured,
    /// Changes of the file and of the settings are not applied.
    pub(crate) pinned: bool,
}

/// What lay in the file and stood in the configuration: a choice that is not pinned stands while neither changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configured {
    /// Content hash; `None` where the file could not be read.
    pub(crate) file: Option<String>,
    /// Hash of the canonical settings: they may be secret.
    pub(crate) settings: String,
}

impl Configured {
    pub(crate) fn new(file: Option<&str>, settings: &Settings) -> Self {
        let settings = content_hash(canonical(settings).as_bytes());
        Self { file: file.map(str::to_owned), settings }
    }
}

impl Choice {
    /// Whether it goes before what is configured now.
    pub(crate) fn stands(&self, configured: &Configured) -> bool {
        self.pinned || self.over == *configured
    }
}

/// The choices of all kinds.
#[derive(Debug)]
pub(crate) struct Choices {
    path: PathBuf,
    made: Mutex<Made>,
}

#[derive(Debug)]
struct Made {
    choices: BTreeMap<PolicyKind, Choice>,
    /// What stands here stands on disk.
    kept: bool,
}

impl Choices {
    /// # Errors
    /// The file is there and cannot be read: guessing what was pinned is not allowed.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let made = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from)?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, made: Mutex::new(Made { choices: made, kept: true }) })
    }

    pub(crate) fn of(&self, kind: PolicyKind) -> Option<Choice> {
        self.made().choices.get(&kind).cloned()
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    /// It still cannot.
    pub(crate) fn retry(&self) -> io::Result<()> {
        self.keep(&mut self.made())
    }

    fn keep(&self, made: &mut Made) -> io::Result<()> {
        if !made.kept {
            replace(&self.path, &serde_json::to_vec_pretty(&made.choices).map_err(io::Error::from)?)?;
            made.kept = true;
        }
        Ok(())
    }

    /// Makes, changes or takes back the choice of a kind, on disk before this returns.
    pub(crate) fn set(&self, kind: PolicyKind, choice: Option<Choice>) -> io::Result<()> {
        let mut made = self.made();
        if made.choices.get(&kind) != choice.as_ref() {
            made.kept = false;
            match choice {
                Some(choice) => drop(made.choices.insert(kind, choice)),
                None => drop(made.choices.remove(&kind)),
            }
        }
        self.keep(&mut made)
    }
}

#[cfg(test)]
mod tests;
