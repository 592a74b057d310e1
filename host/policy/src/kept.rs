//! Components of the past: every one that was ever loaded lies in the pool's own directory under its content hash, on
//! disk before it serves and never written again, so that its answers can be asked for again.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::compile::content_hash;

/// Where they lie below the cache directory.
pub(crate) const DIR: &str = "wasm";

/// Why a component of the past cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// A policy that was part of the program, or a record that nobody wrote.
    #[error("{0:?} is not the content hash of a component")]
    NoHash(String),
    #[error("there is no {0}")]
    Missing(String),
    #[error("{path} cannot be read: {why}")]
    Unreadable { path: String, why: String },
    #[error(
        "{0:?} is no beginning of a content hash; {SHORTEST} to 64 of the digits 0-9 and a-f are allowed"
    )]
    NoBeginning(String),
    #[error("no component that was ever loaded has a hash that begins with {0}")]
    Unknown(String),
    #[error("more than one component has a hash that begins with {0}; more digits tell them apart")]
    Ambiguous(String),
    #[error("{path} holds something else now, with the hash {found}")]
    Changed { path: String, found: String },
}

/// Digits of a hash that a person must give.
const SHORTEST: usize = 8;

/// The content hash of the one kept component that begins like this.
///
/// # Errors
/// [`KeptError`].
pub(crate) fn resolve(cache_dir: &Path, beginning: &str) -> Result<String, KeptError> {
    let digits = beginning.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || !(SHORTEST..=64).contains(&beginning.len()) {
        return Err(KeptError::NoBeginning(beginning.chars().take(64).collect()));
    }
    let dir = cache_dir.join(DIR);
    let unreadable = |error: std::io::Error| KeptError::Unreadable {
        path: dir.display().to_string(),
        why: error.to_string(),
    };
    let mut found = None;
    for entry in fs::read_dir(&dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let Some(hash) = name.strip_suffix(".wasm").filter(|hash| hash.starts_with(beginning)) else {
            continue;
        };
        if found.replace(hash.to_owned()).is_some() {
            return Err(KeptError::Ambiguous(beginning.to_owned()));
        }
    }
    found.ok_or_else(|| KeptError::Unknown(beginning.to_owned()))
}

/// The component with the content hash `hash` (hex), from the directory that the policies were started with.
///
/// # Errors
/// [`KeptError`].
pub fn kept(cache_dir: &Path, hash: &str) -> Result<Vec<u8>, KeptError> {
    // It becomes a file name.
    if hash.len() != 64 || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(KeptError::NoHash(hash.to_owned()));
    }
    let file = cache_dir.join(DIR).join(format!("{hash}.wasm"));
    let path = file.display().to_string();
    let bytes = fs::read(&file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => KeptError::Missing(path.clone()),
        _ => KeptError::Unreadable { path: path.clone(), why: error.to_string() },
    })?;
    let found = content_hash(&bytes);
    if found == hash { Ok(bytes) } else { Err(KeptError::Changed { path, found }) }
}

#[cfg(test)]
mod tests;
