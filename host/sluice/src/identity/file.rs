//! Files with secrets: written once and for nobody else, refused where others can read them.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use sluice_stratum_v2::noise::{AuthorityKey, Identity};

use crate::files::write_new;

/// The largest file that is read, in bytes; ours have less than 600.
const FILE_LIMIT: u64 = 4096;
/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;
/// What to do where a file is there already.
const KEPT: &str = ", and keys are never overwritten; choose another place";
/// The line of a certificate file that says which authority signed. The other lines are [`Identity`]'s.
const AUTHORITY_LINE: &str = "authority";

/// Which content a file has, as far as its metadata tell; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<[i128; 5]>);

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        // The change time, which permissions move too.
        Self(fs::metadata(path).ok().map(|file| {
            let numbers = [file.dev(), file.ino(), file.size()].map(i128::from);
            let [device, inode, size] = numbers;
            [device, inode, size, file.ctime().into(), file.ctime_nsec().into()]
        }))
    }
}

/// The text of a file that only its owner can read.
///
/// # Errors
/// It cannot be read, is no plain file, is too large, or others have permissions to it.
pub fn read_secret(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    // Not to wait for the other end where somebody put a pipe there.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .with_context(|| format!("failed to open {name}"))?;
    let metadata = file.metadata().with_context(|| format!("failed to look at {name}"))?;
    ensure!(metadata.is_file(), "{name} is no file");
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        bail!("{name} holds a secret, and others have access to it (mode {mode:04o}): chmod 600 {name}");
    }
    let mut text = String::new();
    // One byte more than allowed shows that there is more.
    file.take(FILE_LIMIT + 1).read_to_string(&mut text).with_context(|| format!("failed to read {name}"))?;
    ensure!(text.len() as u64 <= FILE_LIMIT, "{name} is too large for a key (more than {FILE_LIMIT} bytes)");
    Ok(text)
}

/// Writes a file that only its owner can read, from its creation on. Never over an existing one.
///
/// # Errors
/// There is one, or it cannot be written; then it is not there.
pub fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write_new(path, text.as_bytes(), 0o600, KEPT)
}

/// As [`write_secret`], for everybody to read.
///
/// # Errors
/// As there.
pub fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    write_new(path, text.as_bytes(), 0o644, KEPT)
}

/// The text of a certificate file: what [`Identity::to_file_text`] holds, and who signed it.
pub fn to_text(authority: AuthorityKey, identity: &Identity) -> String {
    format!("{}{AUTHORITY_LINE} = {authority}\n", identity.to_file_text())
}

/// Reads the text of a certificate file. Whether the signature is right is not looked at.
///
/// # Errors
/// A line is missing, repeated, unknown, or no key.
pub fn parse(text: &str) -> anyhow::Result<(AuthorityKey, Identity)> {
    let mut authority = None;
    // Line for line, so that the numbers in messages are right.
    let mut rest = String::with_capacity(text.len());
    for line in text.lines() {
        match value_of(line).filter(|_| authority.is_none()) {
            Some(key) => authority = Some(key),
            None => rest.push_str(line),
        }
        rest.push('\n');
    }
    let identity = Identity::parse(&rest)?;
    let key = authority.with_context(|| format!("the line `{AUTHORITY_LINE} = ...` is missing"))?;
    Ok((key.parse().with_context(|| format!("`{AUTHORITY_LINE}` is no public key"))?, identity))
}

fn value_of(line: &str) -> Option<&str> {
    let (name, value) = line.split_once('=')?;
    (name.trim() == AUTHORITY_LINE).then(|| value.trim())
}
