//! What a Rust file may not contain: too many lines, ignored tests, and, in pure crates, the world.

use std::path::Path;

use super::Problem;

/// The longest file, in lines, tests aside.
const LINES: usize = 600;

/// Directories of the pure crates.
const PURE: [&str; 3] = ["host/core", "host/stratum-v1", "host/stratum-v2"];
/// How files, sockets, clocks, threads and the environment are reached.
const WORLD: [&str; 8] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "UNIX_EPOCH",
];

/// Every problem of one file; `file` is from the root.
pub(super) fn check(file: &Path, text: &str) -> Vec<Problem> {
    let mut problems = ignored_tests(file, text);
    if !is_test(file) {
        problems.extend(too_long(file, text));
        if PURE.iter().any(|directory| file.starts_with(directory)) {
            problems.extend(impure(file, text));
        }
    }
    problems
}

/// Sibling `tests.rs`, and everything below a `tests` or `benches` directory.
pub(super) fn is_test(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.iter().any(|part| part == "tests" || part == "benches")
}

fn too_long(file: &Path, text: &str) -> Option<Problem> {
    let lines = code(text).count();
    (lines > LINES).then(|| Problem::new(file, None, format!("{lines} lines; at most {LINES} are allowed")))
}

fn ignored_tests(file: &Path, text: &str) -> Vec<Problem> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| line.trim_start().starts_with("#[ignore"))
        .map(|(index, _)| {
            Problem::new(file, Some(index + 1), "an ignored test is no test: mend it or remove it")
        })
        .collect()
}

fn impure(file: &Path, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in code(text).enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        problems.extend(WORLD.iter().filter(|word| line.contains(**word)).map(|word| {
            Problem::new(file, Some(index + 1), format!("{word} in a pure crate; make it an argument"))
        }));
    }
    problems
}

/// The lines before a test module that stands in the file itself.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| !line.trim_start().starts_with("mod tests {"))
}

#[cfg(test)]
mod tests;
