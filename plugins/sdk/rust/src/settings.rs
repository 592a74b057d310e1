//! Settings as the host hands them in: a JSON object. Each is taken by name and type; what is wrong is noted, named and
//! reported together, so that an operator mends a table once.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// What has not been taken yet, and what was wrong so far.
#[derive(Debug)]
pub struct Settings {
    left: Map<String, Value>,
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
        match serde_json::from_str(text) {
            Ok(Value::Object(left)) => Ok(Self::of(left, String::new())),
            Ok(other) => Err(format!("the settings are {}; a table is expected", kind(&other))),
            Err(error) => Err(format!("the settings are not JSON: {error}")),
        }
    }

    fn of(left: Map<String, Value>, path: String) -> Self {
        Self { left, known: Vec::new(), problems: Vec::new(), path }
    }

    /// A number within `range`.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let allowed = format!("a number from {} to {}", range.start(), range.end());
        self.take(name, &allowed, |value| value.as_f64().filter(|number| range.contains(number)))
    }

    /// A whole number within `range`. `2.0` is one.
    pub fn whole(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(name, &allowed, |value| whole(value).filter(|number| range.contains(number)))
    }

    /// Text for which `parse` finds a meaning; `allowed` says what it accepts.
    pub fn text<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.take(name, allowed, |value| value.as_str().and_then(parse))
    }

    /// Like [`Settings::text`], and what is wrong is never shown: it may be a password where its hash belongs.
    pub fn secret<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let value = self.left.remove(name)?;
        let read = value.as_str().and_then(parse);
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
        let list = self.take(name, "a list of texts", |value| value.as_array().cloned()).unwrap_or_default();
        let mut parsed = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match value.as_str().and_then(&parse) {
                Some(item) => parsed.push(item),
                None => {
                    self.problem(&format!("{name}[{index}]"), &format!("{} is not {allowed}", shown(value)))
                }
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
        self.take(name, "true or false", Value::as_bool).unwrap_or(default)
    }

    /// A table of tables, as `[accounts.alice]`: `each` makes something of every one. Empty where not given.
    pub fn tables<T>(
        &mut self,
        name: &'static str,
        mut each: impl FnMut(&str, &mut Self) -> T,
    ) -> Vec<(String, T)> {
        let tables = self.take(name, "a table", |value| value.as_object().cloned()).unwrap_or_default();
        let mut made = Vec::with_capacity(tables.len());
        for (key, value) in tables {
            let Value::Object(inner) = value else {
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
        let unknown: Vec<String> = self.left.keys().take(UNKNOWN_SHOWN).cloned().collect();
        for name in unknown {
            let allowed = self.known.join(", ");
            self.problem(&name, &format!("no such setting; there are: {allowed}"));
        }
        self.problems
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let value = self.left.remove(name)?;
        let read = read(&value);
        if read.is_none() {
            self.problem(name, &format!("{} is not {allowed}", shown(&value)));
        }
        read
    }
}

/// How many unknown settings of a table are reported.
const UNKNOWN_SHOWN: usize = 8;
/// The longest report, in characters.
const TEXT_LIMIT: usize = 1000;
/// How much of a wrong text is shown, in characters.
const VALUE_SHOWN: usize = 40;

fn whole(value: &Value) -> Option<u64> {
    /// Where doubles stop holding every whole number.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..LIMIT).contains(n))?;
        // In range and whole, so the cast is exact.
        Some(number as u64)
    })
}

/// A short form of what was given.
fn shown(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN).to_string(),
        Value::String(text) if text.chars().nth(VALUE_SHOWN).is_none() => format!("{text:?}"),
        Value::String(text) => format!("{:?}...", text.chars().take(VALUE_SHOWN).collect::<String>()),
        Value::Null | Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
