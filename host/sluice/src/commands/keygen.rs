//! `sluice keygen`: the Stratum V2 authority's key pair, and certificates that it signs.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sluice_core::units::Timestamp;
use sluice_stratum_v2::noise::{AuthorityKey, AuthoritySecret, Identity};

use crate::cli::{Keygen, exit};
use crate::identity::{self, file};

/// Files of an authority's directory.
pub const SECRET_FILE: &str = "authority.key";
pub const PUBLIC_FILE: &str = "authority.pub";

const DAY_S: u32 = 86_400;

/// Makes what `args` ask for and says what to do with it. `now` is when a certificate is signed.
///
/// # Errors
/// A file is there already, or cannot be read or written.
pub fn run(args: &Keygen, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<u8> {
    match (&args.dir, &args.certify, &args.out) {
        (Some(dir), None, None) => authority(dir, out)?,
        (None, Some(key), Some(file)) => certificate(key, args.days, file, now, out)?,
        _ => bail!("either a directory, or --certify and --out are needed"),
    }
    Ok(exit::OK)
}

/// Writes a new authority's two files into `dir`, which is made if need be.
///
/// # Errors
/// One of them is there, or cannot be written.
pub fn new_authority(dir: &Path) -> anyhow::Result<AuthorityKey> {
    let secret = AuthoritySecret::from_entropy(identity::entropy()?)
        .context("the system's randomness made no key; try again")?;
    let public = secret.public();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("failed to create {}", dir.display()))?;
    let secret_file = dir.join(SECRET_FILE);
    file::write_secret(&secret_file, &format!("{}\n", secret.reveal()))?;
    file::write_public(&dir.join(PUBLIC_FILE), &format!("{public}\n")).inspect_err(|_| {
        // Made just now, and beside another one's public key. What cannot be removed says so at the next attempt.
        let _ = std::fs::remove_file(&secret_file);
    })?;
    Ok(public)
}

fn authority(dir: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let public = new_authority(dir)?;
    let key = absolute(&dir.join(SECRET_FILE));
    writeln!(out, "secret   {}  (whoever has it can pose as the pool)", key.display())?;
    writeln!(out, "public   {}", absolute(&dir.join(PUBLIC_FILE)).display())?;
    introduce(public, out)?;
    writeln!(out, "\nEither the pool signs its certificates itself:\n")?;
    section("authority_key", &key, out)?;
    writeln!(
        out,
        "\nor the secret stays on another machine, and the pool gets a certificate from time to time:\n"
    )?;
    writeln!(out, "  sluice keygen --certify {} --days 90 --out pool.cert", key.display())?;
    Ok(())
}

fn certificate(
    key: &Path,
    days: u32,
    file: &Path,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let secret = identity::authority(key)?;
    let validity = identity::validity(now, days.saturating_mul(DAY_S));
    let identity = Identity::issue(identity::entropy()?, &secret, validity)?;
    file::write_secret(file, &file::to_text(secret.public(), &identity))?;
    writeln!(out, "secret   {}  (whoever has it can pose as the pool)", absolute(file).display())?;
    writeln!(out, "valid    for {days} days (until {} in Unix time)", validity.not_valid_after)?;
    introduce(secret.public(), out)?;
    writeln!(
        out,
        "\nMove it to the pool's machine, over the old one where there is one: it is read again.\n"
    )?;
    section("certificate", &absolute(file), out)
}

fn introduce(public: AuthorityKey, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "key      {public}")?;
    writeln!(out, "miners   stratum2+tcp://HOST:3336/{public}")?;
    Ok(())
}

/// What belongs into the configuration.
fn section(key: &str, file: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = toml::Value::from(file.display().to_string());
    writeln!(out, "  [stratum_v2]\n  enabled = true\n  {key} = {file}")?;
    Ok(())
}

/// Paths of a configuration begin at its file, not here.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
