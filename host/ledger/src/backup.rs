//! A copy of the ledger while it is written: SQLite's own backup, of one moment, checked before it gets its name.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Transaction};
use serde::Serialize;

use crate::export::{beside, not_made};
use crate::file;
use crate::insert::unsigned;
use crate::readonly::{self, FileError};

/// Pages copied between two words on progress: 16 MiB.
const PAGES: i32 = 4096;

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    pub bytes: u64,
    pub shares: u64,
    pub rounds: u64,
}

/// Copies `database` to the file `target`, which must not exist; only its owner can read it. The pool may run: the copy is
/// of the moment at which it began, and the write-ahead log grows until it ends. `progress` hears the pages done and all
/// there are.
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn backup(
    database: &Path,
    target: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackedUp, FileError> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(FileError::Exists { path: target.to_owned() });
    }
    let source = readonly::open(database)?;
    let aside = beside(target);
    file::create(&aside).map_err(|source| not_made(&aside, source))?;
    let copied = copy(&source, &aside, progress).and_then(|copied| {
        place(&aside, target)?;
        Ok(copied)
    });
    // After a success it has two names, or this one no more.
    let _ = fs::remove_file(&aside);
    copied
}

fn copy(
    source: &Connection,
    aside: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackedUp, FileError> {
    // Held to the end, or every commit of the pool would have the copy begin anew.
    let moment = source.unchecked_transaction()?;
    let held = facts(&moment)?;
    let mut target = Connection::open(aside)?;
    run(&moment, &mut target, progress)?;
    // One file, without a write-ahead log beside it; a pool that opens it switches back.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    let found = verify(aside)?;
    if found != held {
        return Err(FileError::Copy(format!(
            "it has {} shares and {} rounds, not {} and {}",
            found.0, found.1, held.0, held.1
        )));
    }
    let failed = |source| FileError::Write { path: aside.to_owned(), source };
    let written = File::open(aside).map_err(failed)?;
    written.sync_all().map_err(failed)?;
    Ok(BackedUp { bytes: written.metadata().map_err(failed)?.len(), shares: held.0, rounds: held.1 })
}

fn run(
    moment: &Transaction<'_>,
    target: &mut Connection,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), FileError> {
    let backup = Backup::new(moment, target)?;
    loop {
        let step = backup.step(PAGES)?;
        let state = backup.progress();
        let all = u64::try_from(state.pagecount).unwrap_or(0);
        progress(all.saturating_sub(u64::try_from(state.remaining).unwrap_or(0)), all);
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // The source is a snapshot that is held, the target nobody else's: neither is ever waited for.
            _ => return Err(FileError::Copy("the ledger is locked".to_owned())),
        }
    }
}

/// Shares and settled rounds.
fn facts(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection.query_row(
        "SELECT (SELECT coalesce(max(seq), 0) FROM shares), (SELECT count(*) FROM rounds)",
        [],
        |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))),
    )
}

/// Opens the copy as a ledger and has SQLite check all of it.
fn verify(path: &Path) -> Result<(u64, u64), FileError> {
    let copy = readonly::open(path)?;
    let problems = file::quick_check(&copy, None)?;
    if !problems.is_empty() {
        return Err(FileError::Copy(problems.join("; ")));
    }
    let sum: i64 = copy.query_row("SELECT coalesce(sum(amount), 0) FROM entries", [], |row| row.get(0))?;
    if sum != 0 {
        return Err(FileError::Copy(format!("its books sum to {sum} sat")));
    }
    Ok(facts(&copy)?)
}

/// Gives the copy its name, at once, and never another file's.
pub(crate) fn place(aside: &Path, target: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Write { path: target.to_owned(), source };
    match fs::hard_link(aside, target) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(FileError::Exists { path: target.to_owned() });
        }
        // File systems without links.
        Err(_) if fs::symlink_metadata(target).is_err() => fs::rename(aside, target).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    }
    file::sync_parent(target).map_err(failed)
}
