//! What is wrong with a configuration: every problem at once, each with its place and with what is allowed.

use std::fmt;

/// The most problems that are listed; the rest is only counted.
pub const PROBLEM_LIMIT: usize = 100;
/// The longest piece of the file that a message repeats, in characters.
const QUOTE_LIMIT: usize = 60;

/// One problem. Shown as `file:line:column: key: what is wrong; what is allowed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// Counted from 1, as editors do.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Dotted path, such as `stratum_v1.listener[0].listen`.
    pub key: String,
    pub wrong: String,
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, key, wrong, allowed } = self;
        write!(f, "{file}:{line}:{column}: {key}: {wrong}; {allowed}")
    }
}

/// All problems of a configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    pub problems: Vec<Problem>,
    /// How many more there are beyond [`PROBLEM_LIMIT`].
    pub more: usize,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))?;
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// `text` in quotes, shortened, with control characters escaped: fit for a terminal.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTE_LIMIT).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("{short:?}{dots}")
}

/// The member of `words` that `typed` most likely meant.
pub(super) fn nearest<'w>(typed: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // A longer word is no typing mistake, and the comparison is quadratic.
    if typed.len() > QUOTE_LIMIT {
        return None;
    }
    let (distance, word) = words.into_iter().map(|word| (distance(typed, word), word)).min()?;
    (distance <= word.len().max(4) / 3).then_some(word)
}

/// Edit distance in characters, where exchanging two neighbours is one edit.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last = None;
    for (i, a) in left.chars().enumerate() {
        let mut next = vec![i + 1; right.len() + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = row[j] + usize::from(a != *b);
            next[j + 1] = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if j > 0 && last == Some(*b) && right[j - 1] == a {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
        last = Some(a);
    }
    row[right.len()]
}
