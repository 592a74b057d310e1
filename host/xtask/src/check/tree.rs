//! The top level: what the owner gave and nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Problem;

/// Everything at the top, dotfiles and what git ignores aside.
const TOP: [&str; 13] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "config",
    "docs",
    "host",
    "plugins",
    "rustfmt.toml",
    "tests",
    "wit",
];

/// Every stranger at the top level.
pub(super) fn check(root: &Path) -> Result<Vec<Problem>> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut names = Vec::new();
    for entry in fs::read_dir(root).context("failed to list the project")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(problems(&names, &ignored))
}

fn problems(names: &[String], ignored: &str) -> Vec<Problem> {
    let is_ignored = |name: &str| {
        ignored.lines().any(|line| match line.trim().strip_prefix('*') {
            Some(ending) => !ending.is_empty() && name.ends_with(ending),
            None => line.trim().trim_matches('/') == name,
        })
    };
    let stranger = |name: &&String| {
        let known = TOP.contains(&name.as_str()) || name.starts_with("LICENSE-");
        !known && !name.starts_with('.') && !is_ignored(name)
    };
    let what = format!("does not belong at the top level; there are: {}", TOP.join(", "));
    names.iter().filter(stranger).map(|name| Problem::new(name, None, what.as_str())).collect()
}

#[cfg(test)]
mod tests;
