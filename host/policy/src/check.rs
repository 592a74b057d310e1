//! What goes into a guest and what comes out of it, made safe.

use std::fmt::Display;

use sluice_core::ids::Protocol;
use sluice_core::policy::{Client, PolicyFailure};
use sluice_core::units::Difficulty;

use crate::bindings::types as wit;

/// The longest text of a policy that reaches logs, pages, SQL or the wire, in bytes.
pub(crate) const TEXT_LIMIT: usize = 200;

/// Every u64 stays below this, so that languages whose numbers are doubles can hold it.
const INTEGER_LIMIT: u64 = 1 << 53;

/// At most [`TEXT_LIMIT`] bytes of printable ASCII; everything else becomes `?`.
pub(crate) fn printable(text: &str) -> String {
    bounded(text, TEXT_LIMIT)
}

/// At most `limit` bytes of printable ASCII; everything else becomes `?`, white space a space.
pub(crate) fn bounded(text: &str, limit: usize) -> String {
    let safe = |c: char| match c {
        ' '..='~' => c,
        c if c.is_whitespace() => ' ',
        _ => '?',
    };
    text.chars().take(limit).map(safe).collect()
}

/// An answer that breaks a rule.
pub(crate) fn bad_answer(why: impl Display) -> PolicyFailure {
    PolicyFailure::BadAnswer(bounded(&why.to_string(), 2 * TEXT_LIMIT))
}

pub(crate) fn difficulty(value: f64) -> Result<Difficulty, PolicyFailure> {
    Difficulty::new(value).map_err(bad_answer)
}

pub(crate) fn small(what: &str, value: u64) -> Result<u64, PolicyFailure> {
    if value < INTEGER_LIMIT {
        Ok(value)
    } else {
        Err(PolicyFailure::BadInput(format!("{what} is {value}; below 2^53 is allowed")))
    }
}

/// What a guest answers where it has no answer.
pub(crate) fn lifted(error: wit::PolicyError) -> PolicyFailure {
    match error {
        wit::PolicyError::BadSettings(text) | wit::PolicyError::BadInput(text) => {
            PolicyFailure::BadInput(bounded(&text, 5 * TEXT_LIMIT))
        }
        wit::PolicyError::Internal(text) => PolicyFailure::Internal(bounded(&text, 5 * TEXT_LIMIT)),
    }
}

pub(crate) fn client(client: &Client) -> wit::Client<'_> {
    wit::Client {
        protocol: match client.protocol {
            Protocol::StratumV1 => wit::Protocol::StratumV1,
            Protocol::StratumV2 => wit::Protocol::StratumV2,
        },
        listener: &client.listener,
        address: &client.address,
        agent: &client.agent,
        hardware: &client.hardware,
    }
}
