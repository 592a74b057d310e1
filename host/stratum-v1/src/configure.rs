//! `mining.configure` (BIP310): the extensions that are asked for, and the answer.

use std::borrow::Cow;

use sluice_core::units::{Difficulty, VersionMask};

use crate::hex;
use crate::json::Json;
use crate::request;

/// The most extensions one request may name.
const EXTENSIONS_LIMIT: usize = 16;
/// The longest name of an extension, in bytes.
const NAME_LIMIT: usize = 64;

/// An extension as the miner named it, and what it wants of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) wish: Wish,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    /// The mask the miner can roll; `None` if it is no mask (V1-26).
    VersionRolling(Option<VersionMask>),
    /// V1-29
    MinimumDifficulty(Option<Difficulty>),
    /// V1-30
    SubscribeExtranonce,
    /// What the machine is (V1-31).
    Info(String),
    /// Not in BIP310 (V1-32).
    SuggestDifficulty(Option<Difficulty>),
    Unknown,
}

/// Reads `[[names], {parameters}]`; a bare name and missing parameters do too (V1-25). `None`: malformed.
pub(crate) fn parse(params: Vec<Json<'_>>) -> Option<Vec<Extension<'_>>> {
    let mut params = params.into_iter();
    let names = match params.next() {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::List(names)) => names,
        Some(name) => vec![name],
    };
    let parameters = params.next().unwrap_or(Json::Null);
    if names.len() > EXTENSIONS_LIMIT {
        return None;
    }
    let mut extensions: Vec<Extension<'_>> = Vec::with_capacity(names.len());
    for name in names {
        let name = name.text().filter(|name| name.len() <= NAME_LIMIT)?;
        if extensions.iter().all(|known| known.name != name) {
            extensions.push(Extension { wish: wish(&name, &parameters), name });
        }
    }
    Some(extensions)
}

fn wish(name: &str, parameters: &Json<'_>) -> Wish {
    let parameter = |suffix: &str| parameters.get(&format!("{name}.{suffix}"));
    // Some write `_` for `-` (V1-25).
    match name.replace('_', "-").as_str() {
        "version-rolling" => Wish::VersionRolling(mask(parameter("mask"))),
        "minimum-difficulty" => Wish::MinimumDifficulty(request::difficulty(parameter("value"))),
        "subscribe-extranonce" => Wish::SubscribeExtranonce,
        "info" => Wish::Info(hardware(parameter("hw-version"), parameter("hw-id"))),
        "suggest-difficulty" => Wish::SuggestDifficulty(request::difficulty(parameter("value"))),
        _ => Wish::Unknown,
    }
}

fn mask(value: Option<&Json<'_>>) -> Option<VersionMask> {
    match value {
        None | Some(Json::Null) => Some(VersionMask(u32::MAX)),
        Some(Json::Text(text)) => hex::read_u32(text.as_bytes()).map(VersionMask),
        Some(_) => None,
    }
}

/// The version, or the id where there is none.
fn hardware(version: Option<&Json<'_>>, id: Option<&Json<'_>>) -> String {
    let texts = [version, id].into_iter().flatten().filter_map(|value| match value {
        Json::Text(text) if !text.is_empty() => Some(request::printable(text)),
        _ => None,
    });
    texts.into_iter().next().unwrap_or_default()
}

/// What an extension comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Granted,
    /// With the mask that both sides can roll.
    Rolling(VersionMask),
    Refused,
    /// The reason, for a person.
    Failed(&'static str),
}

/// Appends the members of the result object.
pub(crate) fn write_outcomes(outcomes: &[(Cow<'_, str>, Outcome)], out: &mut Vec<u8>) {
    for (index, (name, outcome)) in outcomes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(name, out);
        match outcome {
            Outcome::Granted => out.extend_from_slice(b":true"),
            Outcome::Refused => out.extend_from_slice(b":false"),
            Outcome::Failed(reason) => {
                out.push(b':');
                write_text(reason, out);
            }
            Outcome::Rolling(mask) => {
                out.extend_from_slice(b":true,");
                write_text(&format!("{name}.mask"), out);
                out.push(b':');
                write_text(&mask.to_string(), out);
            }
        }
    }
}

/// Appends a JSON text with its quotes and escapes.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing text to memory does not fail; if it did, nothing would be written.
    serde_json::to_writer(out, text).unwrap_or_default();
}
