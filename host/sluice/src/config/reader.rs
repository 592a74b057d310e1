//! Reads a TOML tree key by key and writes down every problem with its place instead of stopping at the first.
//!
//! Which keys there are is defined by what is asked for: [`Section`] remembers each question, so that a key nobody
//! asked for is unknown and the reference of all keys with their defaults is a by-product of reading.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use sluice_core::units::Difficulty;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigErrors, PROBLEM_LIMIT, Problem, nearest, quoted};
use super::settings;

/// Where a value was written, or would be.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: String,
    /// Byte offset in the file.
    pub(super) offset: usize,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// An optional value.
#[derive(Clone, Debug)]
pub(super) enum Given<T> {
    Missing,
    /// It was there and wrong; the problem is written down.
    Wrong,
    Right(At<T>),
}

impl<T> Given<T> {
    /// `None` where it was wrong, `Some(None)` where it was missing.
    pub(super) fn settled(self) -> Option<Option<T>> {
        match self {
            Self::Missing => Some(None),
            Self::Wrong => None,
            Self::Right(at) => Some(Some(at.value)),
        }
    }

    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Right(at) => Some(&at.place),
            Self::Missing | Self::Wrong => None,
        }
    }
}

/// A key that the reader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Dotted path without indices, such as `stratum_v1.listener.listen`.
    pub path: String,
    /// The default as TOML; `None` where the key is required, or where leaving it out means something else.
    pub default: Option<String>,
}

/// The problems found and the keys asked for.
pub(super) struct Notes<'t> {
    file: &'t str,
    text: &'t str,
    problems: Vec<(usize, Problem)>,
    more: usize,
    pub(super) keys: Vec<Key>,
}

impl<'t> Notes<'t> {
    pub(super) fn new(text: &'t str, file: &'t str) -> Self {
        Self { file, text, problems: Vec::new(), more: 0, keys: Vec::new() }
    }

    pub(super) fn wrong(&mut self, place: &Place, wrong: impl Into<String>, allowed: impl Into<String>) {
        if self.problems.len() >= PROBLEM_LIMIT {
            self.more += 1;
            return;
        }
        let (line, column) = position(self.text, place.offset);
        let (file, key) = (self.file.to_owned(), place.key.clone());
        let problem = Problem { file, line, column, key, wrong: wrong.into(), allowed: allowed.into() };
        self.problems.push((place.offset, problem));
    }

    pub(super) fn into_errors(mut self) -> Option<ConfigErrors> {
        self.problems.sort_by_key(|(offset, _)| *offset);
        let problems: Vec<Problem> = self.problems.into_iter().map(|(_, problem)| problem).collect();
        (!problems.is_empty()).then_some(ConfigErrors { problems, more: self.more })
    }
}

/// Line and column from 1; the column in characters.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// A table that is being read.
pub(super) struct Section<'n, 't> {
    notes: &'n mut Notes<'t>,
    /// As shown: with indices.
    shown: String,
    /// As in the reference: without.
    path: String,
    offset: usize,
    /// `None`: the file does not have it, so every key has its default.
    table: Option<&'t DeTable<'t>>,
    asked: Vec<&'static str>,
}

impl<'n, 't> Section<'n, 't> {
    pub(super) fn root(notes: &'n mut Notes<'t>, table: &'t DeTable<'t>) -> Self {
        let (shown, path) = (String::new(), String::new());
        Self { notes, shown, path, offset: 0, table: Some(table), asked: Vec::new() }
    }

    /// Whether the file has this table.
    pub(super) fn is_given(&self) -> bool {
        self.table.is_some()
    }

    /// Where the table itself is.
    pub(super) fn place(&self) -> Place {
        Place { key: self.shown.clone(), offset: self.offset }
    }

    fn place_of(&self, key: &str, value: Option<&Spanned<DeValue<'_>>>) -> Place {
        Place { key: joined(&self.shown, key), offset: value.map_or(self.offset, |value| value.span().start) }
    }

    fn ask(&mut self, key: &'static str, default: Option<String>) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.notes.keys.push(Key { path: joined(&self.path, key), default });
        self.table?.get(key)
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        default: Option<String>,
        allowed: &str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Given<T> {
        let Some(value) = self.ask(key, default) else { return Given::Missing };
        let place = self.place_of(key, Some(value));
        match read(value.get_ref()) {
            Ok(value) => Given::Right(At { value, place }),
            Err(wrong) => {
                self.notes.wrong(&place, wrong, format!("{allowed} is allowed"));
                Given::Wrong
            }
        }
    }

    fn or<T>(&self, key: &str, given: Given<T>, default: T) -> Option<At<T>> {
        match given {
            Given::Right(at) => Some(at),
            Given::Wrong => None,
            Given::Missing => Some(At { value: default, place: self.place_of(key, None) }),
        }
    }

    /// A text that `parse` understands, if it is there.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Given<T> {
        self.read(key, None, allowed, |value| parse(text(value)?))
    }

    /// A text that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let given = self.optional(key, allowed, parse);
        self.or_missing(key, given, allowed)
    }

    fn or_missing<T>(&mut self, key: &str, given: Given<T>, allowed: &str) -> Option<At<T>> {
        match given {
            Given::Right(at) => Some(at),
            Given::Wrong => None,
            Given::Missing => {
                let place = self.place_of(key, None);
                self.notes.wrong(&place, "is missing", format!("{allowed} is required"));
                None
            }
        }
    }

    /// A text with a default, which must itself parse.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let given = self.read(key, Some(format!("{default:?}")), allowed, |value| parse(text(value)?));
        match given {
            Given::Right(at) => Some(at),
            Given::Wrong => None,
            Given::Missing => {
                let place = self.place_of(key, None);
                parse(default).ok().map(|value| At { value, place })
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<At<T>> {
        self.parsed(key, default, &alternatives(words), |text| choose(text, words))
    }

    /// One of a few words, without a default.
    pub(super) fn required_word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<At<T>> {
        self.required(key, &alternatives(words), |text| choose(text, words))
    }

    pub(super) fn switch(&mut self, key: &'static str, default: bool) -> Option<At<bool>> {
        let given = self.read(key, Some(default.to_string()), "true or false", |value| {
            value.as_bool().ok_or_else(|| found(value))
        });
        self.or(key, given, default)
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let given = self.integer_given(key, Some(default.to_string()), range);
        self.or(key, given, default)
    }

    /// A whole number that must be there.
    pub(super) fn required_integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let allowed = whole_numbers(&range);
        let given = self.integer_given(key, None, range);
        self.or_missing(key, given, &allowed)
    }

    fn integer_given(
        &mut self,
        key: &'static str,
        default: Option<String>,
        range: RangeInclusive<u64>,
    ) -> Given<u64> {
        let allowed = whole_numbers(&range);
        self.read(key, default, &allowed, |value| {
            let number = whole(value)?;
            u64::try_from(number)
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("{number} is out of range"))
        })
    }

    /// Whole seconds. The key's name ends in `_s`.
    pub(super) fn seconds(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<At<Duration>> {
        self.integer(key, default, range)
            .map(|At { value, place }| At { value: Duration::from_secs(value), place })
    }

    /// A number, with or without a decimal point.
    pub(super) fn difficulty(&mut self, key: &'static str, default: f64) -> Option<At<Difficulty>> {
        let allowed = "a number greater than 0 (from 2^-32 to 2^128)";
        let given = self.read(key, Some(format!("{default:?}")), allowed, |value| {
            let number = number(value)?;
            Difficulty::new(number).map_err(|_| format!("{number:?} is no difficulty"))
        });
        self.or(key, given, Difficulty::saturating(default))
    }

    /// A list of texts, each understood by `parse`.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        default: &[&'static str],
        allowed: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<At<Vec<T>>> {
        let expected = format!("a list, each {allowed},");
        let given = self.read(key, Some(format!("{default:?}")), &expected, |value| {
            let items = value.as_array().ok_or_else(|| found(value))?;
            items.iter().map(|item| parse(text(item.get_ref())?)).collect::<Result<Vec<T>, String>>()
        });
        let usual = default.iter().filter_map(|text| parse(text).ok()).collect();
        self.or(key, given, usual)
    }

    /// A list of texts that must be there, with as many as `count` allows, each understood by `parse`.
    pub(super) fn required_list<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        count: RangeInclusive<usize>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<At<Vec<T>>> {
        let given = self.read(key, None, allowed, |value| {
            let items = value.as_array().ok_or_else(|| found(value))?;
            if !count.contains(&items.len()) {
                return Err(format!("has {} texts", items.len()));
            }
            items.iter().map(|item| parse(text(item.get_ref())?)).collect::<Result<Vec<T>, String>>()
        });
        self.or_missing(key, given, allowed)
    }

    /// A table of the operator's own keys, as JSON with sorted keys.
    pub(super) fn free_table(&mut self, key: &'static str) -> Option<settings::Map> {
        let given = self.read(key, Some("{}".to_owned()), "a table that JSON can express", |value| {
            settings::to_json(value.as_table().ok_or_else(|| found(value))?)
        });
        self.or(key, given, settings::Map::new()).map(|at| at.value)
    }

    /// A table of texts under names of the operator's own, each pair understood by `parse`, whose errors must not show the
    /// text: it may be a secret.
    pub(super) fn secrets<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str, &str) -> Result<T, String>,
    ) -> Option<At<Vec<T>>> {
        let given = self.read(key, Some("{}".to_owned()), allowed, |value| {
            let table = value.as_table().ok_or_else(|| found(value))?;
            let pair = |(name, value): (&Spanned<_>, &Spanned<DeValue<'t>>)| {
                let name: &std::borrow::Cow<'t, str> = name.get_ref();
                parse(name, text(value.get_ref()).map_err(|wrong| format!("{} {wrong}", quoted(name)))?)
            };
            table.iter().map(pair).collect::<Result<Vec<T>, String>>()
        });
        self.or(key, given, Vec::new())
    }

    /// A key that has its place elsewhere: `allowed` says where.
    pub(super) fn misplaced(&mut self, key: &'static str, allowed: &str) {
        let Some(value) = self.table.and_then(|table| table.get(key)) else { return };
        self.asked.push(key);
        let place = self.place_of(key, Some(value));
        self.notes.wrong(&place, "has no meaning here", allowed);
    }

    /// A table of known keys; read with defaults where the file does not have it.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> T {
        self.asked.push(key);
        let value = self.table.and_then(|table| table.get(key));
        let table = value.and_then(|value| self.table_or_problem(key, value));
        let (shown, path) = (joined(&self.shown, key), joined(&self.path, key));
        let offset = value.map_or(self.offset, |value| value.span().start);
        Section { notes: self.notes, shown, path, offset, table, asked: Vec::new() }.run(read)
    }

    fn table_or_problem(&mut self, key: &str, value: &'t Spanned<DeValue<'t>>) -> Option<&'t DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let place = self.place_of(key, Some(value));
            self.notes.wrong(&place, found(value.get_ref()), format!("a table [{}] is allowed", place.key));
        }
        table
    }

    /// A list of tables, `[[key]]`, of at most `limit`.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        limit: usize,
        read: impl Fn(&mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        self.asked.push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else { return Vec::new() };
        let (shown, path) = (joined(&self.shown, key), joined(&self.path, key));
        let place = Place { key: shown.clone(), offset: value.span().start };
        let Some(items) = value.get_ref().as_array() else {
            self.notes.wrong(&place, found(value.get_ref()), format!("tables [[{path}]] are allowed"));
            return Vec::new();
        };
        if items.len() > limit {
            self.notes.wrong(
                &place,
                format!("has {} tables", items.len()),
                format!("at most {limit} are allowed"),
            );
        }
        let mut read_one = |(index, item): (usize, &'t Spanned<DeValue<'t>>)| {
            let shown = format!("{shown}[{index}]");
            let offset = item.span().start;
            let table = item.get_ref().as_table();
            if table.is_none() {
                let place = Place { key: shown.clone(), offset };
                self.notes.wrong(&place, found(item.get_ref()), format!("tables [[{path}]] are allowed"));
            }
            let path = path.clone();
            Section { notes: self.notes, shown, path, offset, table, asked: Vec::new() }.run(&read)
        };
        items.iter().take(limit).enumerate().map(&mut read_one).collect()
    }

    /// Reads, then reports what nobody asked for.
    pub(super) fn run<T>(mut self, read: impl FnOnce(&mut Section<'_, 't>) -> T) -> T {
        let result = read(&mut self);
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                self.unknown(name, key.span().start);
            }
        }
        result
    }

    fn unknown(&mut self, name: &str, offset: usize) {
        let shown: String = quoted(name).trim_matches('"').to_owned();
        let place = Place { key: joined(&self.shown, &shown), offset };
        let wrong = match nearest(name, self.asked.iter().copied()) {
            Some(word) => format!("is an unknown key, did you mean `{word}`?"),
            None => "is an unknown key".to_owned(),
        };
        self.notes.wrong(&place, wrong, format!("allowed here: {}", self.asked.join(", ")));
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn whole_numbers(range: &RangeInclusive<u64>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

fn alternatives<T>(words: &[(&'static str, T)]) -> String {
    let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

fn choose<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    let chosen = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    chosen.ok_or_else(|| match nearest(text, words.iter().map(|(word, _)| *word)) {
        Some(word) => format!("{} is not known, did you mean \"{word}\"?", quoted(text)),
        None => format!("{} is not known", quoted(text)),
    })
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("{} where a text in quotes belongs", found(value)))
}

fn whole(value: &DeValue<'_>) -> Result<i128, String> {
    let integer = value.as_integer().ok_or_else(|| found(value))?;
    i128::from_str_radix(integer.as_str(), integer.radix())
        .map_err(|_| format!("{} is too large", quoted(integer.as_str())))
}

/// A TOML float or integer.
pub(super) fn number(value: &DeValue<'_>) -> Result<f64, String> {
    match value {
        DeValue::Float(float) => {
            float.as_str().parse().map_err(|_| format!("{} is not understood", quoted(float.as_str())))
        }
        // Through the decimal text, so that the nearest double is found whatever the size.
        DeValue::Integer(_) => whole(value)?.to_string().parse().map_err(|error| format!("{error}")),
        other => Err(found(other)),
    }
}

fn found(value: &DeValue<'_>) -> String {
    let kind: &dyn Display = match value {
        DeValue::String(_) => &"a text",
        DeValue::Integer(_) => &"a whole number",
        DeValue::Float(_) => &"a number with a decimal point",
        DeValue::Boolean(_) => &"true or false",
        DeValue::Datetime(_) => &"a date",
        DeValue::Array(_) => &"a list",
        DeValue::Table(_) => &"a table",
    };
    format!("is {kind}")
}
