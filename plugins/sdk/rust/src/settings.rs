//! Settings as the host hands them in: a JSON object. Each is taken by name and type; what is wrong is noted, named and
//! reported together, so that an operator mends a table once.

use std::ops::RangeInclusive;

use crate::json::{self, Json};

/// What has not been taken yet, and what was wrong so far.
#[derive(Debug)]
pub struct Settings {
    left: Vec<(String, Json)>,
    /// Names that were asked for, whether given or not.
    known: Vec<&'static str>,
    problems: Vec<String>,
    /// Where this table is: empty, or like `accounts.alice.`.
    path: String,
}

impl Settings {
    /// # Errors
    /// The text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, String> {
        match json::parse(text) {
            Ok(Json::Table(left)) => Ok(Self::of(left, String::new())),
            Ok(other) => Err(format!("the settings are {}; a table is expected", kind(&other))),
            Err(error) => Err(format!("the settings are not JSON from byte {} on", error.at)),
        }
    }

    fn of(left: Vec<(String, Json)>, path: String) -> Self {
        Self { left, known: Vec::new(), problems: Vec::new(), path }
    }

    /// A number within `range`.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let allowed = format!("a number from {} to {}", range.start(), range.end());
        self.take(name, &allowed, |value| number(&value).filter(|number| range.contains(number)))
    }

    /// A whole number within `range`. `2.0` is one.
    pub fn whole(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(name, &allowed, |value| whole(&value).filter(|number| range.contains(number)))
    }

    /// Text for which `parse` finds a meaning; `allowed` says what it accepts.
    pub fn text<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.take(name, allowed, |value| text(&value).and_then(parse))
    }

    /// Like [`Settings::text`], and what is wrong is never shown: it may be a password where its hash belongs.
    pub fn secret<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let read = text(&self.remove(name)?).and_then(parse);
        if read.is_none() {
            self.problem(name, &format!("what is given is not {allowed}"));
        }
        read
    }

    /// A list of texts, each as in [`Settings::text`]; empty where not given.
    pub fn texts<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let list = self.take(name, "a list of texts", as_list).unwrap_or_default();
        let mut parsed = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            if let Some(item) = text(value).and_then(&parse) {
                parsed.push(item);
            } else {
                self.problem(&format!("{name}[{index}]"), &format!("{} is not {allowed}", shown(value)));
            }
        }
        parsed
    }

    /// `true` or `false`; `false` where not given.
    pub fn flag(&mut self, name: &'static str) -> bool {
        self.flag_or(name, false)
    }

    /// `true` or `false`.
    pub fn flag_or(&mut self, name: &'static str, default: bool) -> bool {
        let flag = self.take(name, "true or false", |value| match value {
            Json::Flag(flag) => Some(flag),
            _ => None,
        });
        flag.unwrap_or(default)
    }

    /// A table of tables, as `[accounts.alice]`: `each` makes something of every one. Empty where not given.
    pub fn tables<T>(
        &mut self,
        name: &'static str,
        mut each: impl FnMut(&str, &mut Self) -> T,
    ) -> Vec<(String, T)> {
        let tables = self.take(name, "a table", as_table).unwrap_or_default();
        let mut made = Vec::with_capacity(tables.len());
        for (key, value) in tables {
            let Json::Table(inner) = value else {
                self.problem(&format!("{name}.{key}"), &format!("{} is not a table", shown(&value)));
                continue;
            };
            let mut inner = Self::of(inner, format!("{}{name}.{key}.", self.path));
            let item = each(&key, &mut inner);
            self.problems.extend(inner.all_problems());
            made.push((key, item));
        }
        made
    }

    /// Notes what is wrong with `name`.
    pub fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(format!("{}{name}: {what}", self.path));
    }

    /// Notes what is wrong with this table itself.
    pub fn note(&mut self, what: &str) {
        self.problems.push(format!("{}: {what}", self.path.trim_end_matches('.')));
    }

    /// Notes that `name` is missing if `value` is, unless it was given and wrong.
    pub fn required<T>(&mut self, name: &'static str, allowed: &str, value: Option<T>) -> Option<T> {
        let prefix = format!("{}{name}", self.path);
        let is_about = |problem: &String| {
            problem.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with([':', '.', '[']))
        };
        if value.is_none() && !self.problems.iter().any(is_about) {
            self.problem(name, &format!("missing; {allowed} is expected"));
        }
        value
    }

    /// # Errors
    /// Every problem noted, and every setting that nobody asked for.
    pub fn finish(self) -> Result<(), String> {
        let problems = self.all_problems();
        let text: String = problems.join("; ").chars().take(TEXT_LIMIT).collect();
        if problems.is_empty() { Ok(()) } else { Err(text) }
    }

    fn all_problems(mut self) -> Vec<String> {
        let unknown: Vec<String> =
            self.left.iter().take(UNKNOWN_SHOWN).map(|(name, _)| name.clone()).collect();
        for name in unknown {
            let what = match self.known.contains(&name.as_str()) {
                true => "given twice".to_owned(),
                false => format!("no such setting; there are: {}", self.known.join(", ")),
            };
            self.problem(&name, &what);
        }
        self.problems
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        read: impl FnOnce(Json) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let value = self.remove(name)?;
        let shown = shown(&value);
        let read = read(value);
        if read.is_none() {
            self.problem(name, &format!("{shown} is not {allowed}"));
        }
        read
    }

    fn remove(&mut self, name: &str) -> Option<Json> {
        let at = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.remove(at).1)
    }
}

/// How many unknown settings of a table are reported.
const UNKNOWN_SHOWN: usize = 8;
/// The longest report, in characters.
const TEXT_LIMIT: usize = 1000;
/// How much of a wrong text is shown, in characters.
const VALUE_SHOWN: usize = 40;

fn number(value: &Json) -> Option<f64> {
    if let Json::Number(number) = value { Some(*number) } else { None }
}

fn whole(value: &Json) -> Option<u64> {
    /// Where doubles stop holding every whole number.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let number = number(value).filter(|n| n.fract() == 0.0 && (0.0..LIMIT).contains(n))?;
    // In range and whole, so the cast is exact.
    Some(number as u64)
}

fn text(value: &Json) -> Option<&str> {
    if let Json::Text(text) = value { Some(text) } else { None }
}

fn as_list(value: Json) -> Option<Vec<Json>> {
    if let Json::List(items) = value { Some(items) } else { None }
}

fn as_table(value: Json) -> Option<Vec<(String, Json)>> {
    if let Json::Table(entries) = value { Some(entries) } else { None }
}

/// A short form of what was given.
fn shown(value: &Json) -> String {
    match value {
        Json::Flag(flag) => flag.to_string(),
        Json::Number(number) => number.to_string(),
        Json::Text(text) if text.chars().nth(VALUE_SHOWN).is_none() => format!("{text:?}"),
        Json::Text(text) => format!("{:?}...", text.chars().take(VALUE_SHOWN).collect::<String>()),
        Json::Null | Json::List(_) | Json::Table(_) => kind(value).to_owned(),
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Flag(_) => "true or false",
        Json::Number(_) => "a number",
        Json::Text(_) => "a text",
        Json::List(_) => "a list",
        Json::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
