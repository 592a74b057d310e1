//! What a conformance page claims is tested is cited by a test.

use std::collections::BTreeSet;
use std::path::Path;

use super::Problem;
use super::source::is_test;

/// The page whose rows are claims: `| M-5, M-6 what it is about | what Sluice does | why no test |`.
pub(super) const PAGE: &str = "docs/stratum-v2.md";

/// Rules of rows without a reason in the last column, with their lines.
pub(super) fn claims(page: &str) -> Vec<(usize, String)> {
    page.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
            let (first, last) = (cells.first()?, cells.get(2)?);
            last.is_empty().then(|| ids(first).into_iter().map(move |id| (index + 1, id)))
        })
        .flatten()
        .collect()
}

/// The rules that `text` names, in the order of their names. A range (`M-80…M-84`) names all it spans.
pub(super) fn ids(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut before: Option<(char, u32)> = None;
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '…' | '.'))) {
        for (position, piece) in word.split('…').enumerate() {
            let Some(id) = id(piece.trim_matches('.')) else { continue };
            let first = match before {
                Some((letter, number)) if position > 0 && letter == id.0 => number,
                _ => id.1,
            };
            found.extend((first..=id.1).map(|number| format!("{}-{number}", id.0)));
            before = Some(id);
        }
    }
    found
}

fn id(word: &str) -> Option<(char, u32)> {
    let (letter, number) = word.split_once('-')?;
    let mut letters = letter.chars();
    let letter = letters.next().filter(char::is_ascii_uppercase)?;
    (letters.next().is_none() && number.len() <= 3).then_some((letter, number.parse().ok()?))
}

/// The part of a Rust file that is tests: all of it, or what follows `#[cfg(test)]`. What tests are written with cites
/// nothing: there must be a test in the file.
pub(super) fn tests_of<'a>(file: &Path, text: &'a str) -> &'a str {
    if !text.contains("#[test]") && !text.contains("::test") {
        return "";
    }
    if is_test(file) { text } else { text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests) }
}

pub(super) fn check(page: &str, cited: &BTreeSet<String>) -> Vec<Problem> {
    claims(page)
        .into_iter()
        .filter(|(_, id)| !cited.contains(id))
        .map(|(line, id)| {
            Problem::new(PAGE, Some(line), format!("no test cites {id}; write one, or say why not"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_reason_are_claims() {
        let page = "| rule | what | why |\n|---|---|---|\n| M-5, M-6 ids | grow | |\n| M-90 jobs | none | refused |\n";
        assert_eq!(claims(page), [(3, "M-5".to_owned()), (3, "M-6".to_owned())]);
        let problems = check(page, &ids("// M-5"));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("M-6"), "{}", problems[0]);
    }

    #[test]
    fn citations_are_words_and_ranges() {
        let named: Vec<String> = ids("// M-80…M-82: see (N-4), F-1.").into_iter().collect();
        assert_eq!(named, ["F-1", "M-80", "M-81", "M-82", "N-4"]);
        assert!(ids("UTF-8 and SHA-256, V1-39").is_empty());
    }

    #[test]
    fn only_tests_cite() {
        let text = "// M-1\n#[cfg(test)]\nmod tests { /* M-2 */ #[test] fn holds() {} }";
        assert_eq!(ids(tests_of(Path::new("host/a.rs"), text)).into_iter().collect::<Vec<_>>(), ["M-2"]);
        assert_eq!(ids(tests_of(Path::new("host/a/tests.rs"), text)).len(), 2);
        assert_eq!(ids(tests_of(Path::new("tests/e2e/a.rs"), text)).len(), 2);
        assert!(ids(tests_of(Path::new("tests/src/client.rs"), "// M-3")).is_empty());
    }
}
