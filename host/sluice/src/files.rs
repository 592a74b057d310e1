//! Where a data directory has what, and files that are written once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The ledger's directory below a data directory.
pub(crate) fn ledger_dir(data: &Path) -> PathBuf {
    data.join("ledger")
}

/// The ledger's database below a data directory.
pub(crate) fn database(data: &Path) -> PathBuf {
    sluice_ledger::database_in(&ledger_dir(data))
}

/// Writes a whole file with these permissions from its creation on, to the disk. Never over one that is there: then the error
/// ends with `advice`.
///
/// # Errors
/// There is one, or it cannot be written; then it is not there.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32, advice: &str) -> anyhow::Result<()> {
    let name = path.display();
    let file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{name} exists{advice}"),
        Err(error) => return Err(error).with_context(|| format!("failed to create {name}")),
    };
    filled(file, bytes).with_context(|| {
        // Half a file is no use; what cannot be removed says so at the next attempt.
        let _ = fs::remove_file(path);
        format!("failed to write {name}")
    })
}

fn filled(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}
