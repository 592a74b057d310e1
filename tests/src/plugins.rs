//! A directory of plugins to replace, break, delete and swap while the pool runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::binary;

/// The files of the shipped policies.
pub const AUTH: &str = "auth-address.wasm";
pub const VARDIFF: &str = "vardiff-steady.wasm";
pub const SOLO: &str = "payout-solo.wasm";
pub const PPLNS: &str = "payout-pplns.wasm";
pub const TIDES: &str = "payout-tides.wasm";
pub const FPPS: &str = "payout-fpps.wasm";
/// In the place of [`AUTH`], where a service is to be asked.
pub const DIRECTORY: &str = "auth-directory.wasm";
/// In the place of [`AUTH`].
pub const TABLE: &str = "auth-table.wasm";

/// A copy of `plugins/dist`.
pub struct Plugins {
    directory: TempDir,
}

impl Plugins {
    /// # Errors
    /// `plugins/dist` is missing, or the disk refuses.
    pub fn copy() -> Result<Self> {
        let directory = TempDir::with_prefix("sluice-plugins-")?;
        for entry in fs::read_dir(dist()).with_context(|| format!("{} cannot be read", dist().display()))? {
            let from = entry?.path();
            if let (true, Some(name)) =
                (from.extension().is_some_and(|kind| kind == "wasm"), from.file_name())
            {
                fs::copy(&from, directory.path().join(name))?;
            }
        }
        Ok(Self { directory })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Puts `bytes` in place at once, as a careful operator does: written aside, then renamed.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let aside = self.path().join(format!(".{name}.new"));
        fs::write(&aside, bytes)?;
        fs::rename(&aside, self.file(name))?;
        Ok(())
    }

    /// Makes `name` a link to a file outside the directory that holds `bytes`, swapped in at once.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn link(&self, name: &str, (store, bytes): (&Path, &[u8])) -> Result<()> {
        fs::write(store, bytes)?;
        let aside = self.path().join(format!(".{name}.link"));
        symlink(store, &aside)?;
        fs::rename(&aside, self.file(name))?;
        Ok(())
    }
}

fn dist() -> PathBuf {
    binary::workspace().join("plugins/dist")
}

/// A shipped policy as it was built.
///
/// # Errors
/// It cannot be read.
pub fn shipped(name: &str) -> Result<Vec<u8>> {
    let path = dist().join(name);
    fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The same policy as another file: a custom section with `label` at its end, so that its hash differs.
///
/// # Errors
/// It cannot be read.
pub fn variant(name: &str, label: u8) -> Result<Vec<u8>> {
    const NAME: &[u8] = b"sluice-tests";
    let mut bytes = shipped(name)?;
    // A section of id 0: its size, the length of its name, its name, its content. All below 128, so each one byte.
    bytes.extend([0, 1 + 12 + 1, 12]);
    bytes.extend(NAME);
    bytes.push(label);
    Ok(bytes)
}

/// Ways in which a file can be no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Empty,
    Truncated,
    Garbage,
    /// A good component of another kind.
    WrongKind,
    /// A core module, not a component.
    CoreModule,
    /// What wasmtime makes of a component: operators hand in .wasm only.
    Precompiled,
}

impl Broken {
    pub const ALL: [Self; 6] =
        [Self::Empty, Self::Truncated, Self::Garbage, Self::WrongKind, Self::CoreModule, Self::Precompiled];

    /// A file that is broken in this way and stands where `name` should.
    ///
    /// # Errors
    /// A shipped policy cannot be read.
    pub fn bytes(self, name: &str) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Empty => Vec::new(),
            Self::Truncated => {
                let mut bytes = shipped(name)?;
                bytes.truncate(bytes.len() / 2);
                bytes
            }
            Self::Garbage => {
                (0..4096u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
            }
            Self::WrongKind if name == AUTH => shipped(VARDIFF)?,
            Self::WrongKind => shipped(AUTH)?,
            Self::CoreModule => b"\0asm\x01\0\0\0".to_vec(),
            Self::Precompiled => b"\x7fELF\x02\x01\x01".iter().copied().chain([0; 64]).collect(),
        })
    }
}
