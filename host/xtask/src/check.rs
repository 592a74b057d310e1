//! The rules of the house that a compiler does not keep: DESIGN's layering, pure crates, sizes, the tree, the contract.
//!
//! Every check returns all its [`Problem`]s, so that one run shows everything there is to mend.

mod citations;
mod layering;
mod source;
mod tree;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::contract;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// From the root.
    file: PathBuf,
    /// Counted from 1; `None` where it is the file as a whole.
    line: Option<usize>,
    what: String,
}

impl Problem {
    pub(crate) fn new(file: impl Into<PathBuf>, line: Option<usize>, what: impl Into<String>) -> Self {
        Self { file: file.into(), line, what: what.into() }
    }
}

impl Problem {
    /// Whether it is about that.
    pub(crate) fn says(&self, what: &str) -> bool {
        self.what == what
    }
}

/// `file:line: what`, as editors and CI understand it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.what),
            None => write!(f, "{}: {}", self.file.display(), self.what),
        }
    }
}

/// Runs every check.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut problems = layering::check(root)?;
    problems.extend(tree::check(root)?);
    problems.extend(contract::check(root)?);
    let read = |file: &Path| {
        fs::read_to_string(root.join(file)).with_context(|| format!("failed to read {}", file.display()))
    };
    let mut cited = BTreeSet::new();
    for file in rust_files(root)? {
        let text = read(&file)?;
        problems.extend(source::check(&file, &text));
        cited.extend(citations::ids(citations::tests_of(&file, &text)));
    }
    problems.extend(citations::check(&read(Path::new(citations::PAGE))?, &cited));
    if problems.is_empty() {
        println!("the rules of the house hold");
        return Ok(());
    }
    problems.sort();
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    bail!("{} to mend:\n{}", problems.len(), lines.join("\n"))
}

/// Every Rust file of the project, from the root.
fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = ["host", "plugins", "tests"].iter().map(|name| root.join(name)).collect();
    while let Some(directory) = open.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("failed to list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if name.ends_with(".rs") {
                found.push(path.strip_prefix(root).unwrap_or(&path).to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}
