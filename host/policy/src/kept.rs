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
    #[error("{path} holds something else now, with the hash {found}")]
    Changed { path: String, found: String },
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
