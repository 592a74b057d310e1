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

/// The shortest secret that is kept out of texts, in bytes: shorter ones guard nothing ("x"), and are parts of words.
const SECRET_LENGTH: usize = 3;

/// The text with stars in the place of a secret.
pub(crate) fn without(text: String, secret: &str) -> String {
    if secret.len() >= SECRET_LENGTH && text.contains(secret) { text.replace(secret, "***") } else { text }
}

/// What a call is told and nobody else may read: it stays out of the log and of what is told of a failure.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of the next call.
    pub(crate) fn replace<'a>(&mut self, secrets: impl Iterator<Item = &'a str>) {
        self.0.clear();
        for secret in secrets.filter(|secret| secret.len() >= SECRET_LENGTH) {
            // Machines of one miner have one password, and come together.
            if self.0.last().is_none_or(|last| last != secret) {
                self.0.push(secret.to_owned());
            }
        }
    }

    /// The text without them; the longest first, since one may be a part of another.
    pub(crate) fn hidden(&self, text: String) -> String {
        let mut found: Vec<&String> = self.0.iter().filter(|secret| text.contains(secret.as_str())).collect();
        found.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        found.into_iter().fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// The failure in other words.
pub(crate) fn reworded(failure: PolicyFailure, words: impl Fn(String) -> String) -> PolicyFailure {
    match failure {
        PolicyFailure::BadInput(text) => PolicyFailure::BadInput(words(text)),
        PolicyFailure::BadAnswer(text) => PolicyFailure::BadAnswer(words(text)),
        PolicyFailure::Internal(text) => PolicyFailure::Internal(words(text)),
        PolicyFailure::Trap(text) => PolicyFailure::Trap(words(text)),
        PolicyFailure::Unavailable(text) => PolicyFailure::Unavailable(words(text)),
    }
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
