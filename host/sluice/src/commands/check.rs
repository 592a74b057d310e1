//! `sluice check`: the configuration, and whatever else a start would check.

use std::io::{self, Write};
use std::path::Path;

use crate::cli::exit;
use crate::config::Config;

/// Checks the file at `config` and prints every problem to `problems`, or one line to `out`.
///
/// `deeper` looks at what the configuration points to (files, plugins, nodes) and returns a line for each problem;
/// it is asked only about a configuration that is right by itself.
///
/// # Errors
/// Writing failed.
pub fn run(
    config: &Path,
    deeper: impl FnOnce(&Config) -> Vec<String>,
    out: &mut dyn Write,
    problems: &mut dyn Write,
) -> io::Result<u8> {
    let loaded = match Config::load(config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            writeln!(problems, "{errors}")?;
            return Ok(exit::USAGE);
        }
    };
    let found = deeper(&loaded);
    for problem in &found {
        writeln!(problems, "{}: {problem}", config.display())?;
    }
    if !found.is_empty() {
        return Ok(exit::USAGE);
    }
    writeln!(out, "{}: ok", config.display())?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests;
