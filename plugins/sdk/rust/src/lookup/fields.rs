//! A service's answer in JSON, read by name.

use crate::json::{self, Json};

/// The members of a JSON object. `null` is as good as missing; members that nobody asks for do not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields(Vec<(String, Json)>);

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?;
        match json::parse(text) {
            Ok(Json::Table(members)) => Ok(Self(members)),
            Ok(other) => Err(format!("the answer is {}; an object is expected", kind(&other))),
            Err(error) => Err(format!("the answer is not JSON from byte {} on", error.at)),
        }
    }

    /// # Errors
    /// It is something else than a text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{name} is {}; a text is expected", kind(other))),
        }
    }

    /// # Errors
    /// It is something else than a number.
    pub fn number(&self, name: &str) -> Result<Option<f64>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(number)) => Ok(Some(*number)),
            Some(other) => Err(format!("{name} is {}; a number is expected", kind(other))),
        }
    }

    fn get(&self, name: &str) -> Option<&Json> {
        let member = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        member.filter(|value| **value != Json::Null)
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Flag(_) => "true or false",
        Json::Number(_) => "a number",
        Json::Text(_) => "a text",
        Json::List(_) => "a list",
        Json::Table(_) => "an object",
    }
}
