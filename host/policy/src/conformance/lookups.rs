//! What services say in place of services.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::lookup::{Request, Said, Script, Url};

/// How many requests that nobody answers are named.
const NAMED: usize = 4;

/// Services that say this and nothing else.
///
/// # Errors
/// What is wrong with an entry, and what is allowed.
pub(crate) fn answers(lookups: &[Lookup]) -> Result<Arc<dyn Script>, String> {
    Ok(Arc::new(Answers::new(lookups)?))
}

/// What a service says in a scenario: to every request for this URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lookup {
    pub url: String,
    /// Answers only a POST of exactly this; any request where it is not given.
    pub request_body: Option<String>,
    /// 200 to 499; 200 where it is not given.
    pub status: Option<u16>,
    /// Text.
    pub body: Option<String>,
    /// Bytes, in place of a text.
    pub body_hex: Option<String>,
    /// The service fails now, and this is what it said earlier.
    #[serde(default)]
    pub stale: bool,
    /// The service does not answer.
    #[serde(default)]
    pub unavailable: bool,
}

/// A scenario's answers: the first that fits counts, as often as it is asked.
pub(super) struct Answers {
    entries: Vec<Entry>,
    unanswered: Mutex<Vec<String>>,
}

struct Entry {
    url: Url,
    request_body: Option<String>,
    said: Said,
}

impl Answers {
    /// # Errors
    /// What is wrong with an entry, and what is allowed.
    pub(super) fn new(lookups: &[Lookup]) -> Result<Self, String> {
        let entries = lookups.iter().map(Entry::new).collect::<Result<_, _>>()?;
        Ok(Self { entries, unanswered: Mutex::default() })
    }

    /// What was asked and not answered.
    pub(super) fn unanswered(&self) -> Option<String> {
        let unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        (!unanswered.is_empty()).then(|| unanswered.join(", "))
    }
}

impl Script for Answers {
    fn answer(&self, request: &Request) -> Said {
        if let Some(entry) = self.entries.iter().find(|entry| entry.answers(request)) {
            return entry.said.clone();
        }
        let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        if unanswered.len() < NAMED {
            unanswered.push(request.told());
        }
        Said::Unavailable("no entry of `lookups` answers this".to_owned())
    }
}

impl Entry {
    fn new(lookup: &Lookup) -> Result<Self, String> {
        let wrong = |why: String| format!("lookups, {}: {why}", lookup.url);
        let url = Url::parse(&lookup.url).map_err(|why| wrong(why.to_string()))?;
        let said = lookup.said().map_err(wrong)?;
        Ok(Self { url, request_body: lookup.request_body.clone(), said })
    }

    fn answers(&self, request: &Request) -> bool {
        let body = self.request_body.as_ref().is_none_or(|body| body.as_bytes() == request.body());
        body && self.url == *request.url()
    }
}

impl Lookup {
    fn said(&self) -> Result<Said, String> {
        if self.unavailable {
            return match (self.status, &self.body, &self.body_hex) {
                (None, None, None) => Ok(Said::Unavailable("the scenario says so".to_owned())),
                _ => Err("it is unavailable: there is no status and no body".to_owned()),
            };
        }
        let status = self.status.unwrap_or(200);
        if !(200..500).contains(&status) {
            return Err(format!(
                "status {status}; 200 to 499 are allowed, what is above reaches a policy as unavailable = true"
            ));
        }
        let body = match (&self.body, &self.body_hex) {
            (Some(_), Some(_)) => return Err("body or body-hex is allowed, not both".to_owned()),
            (_, Some(digits)) => hex::decode(digits).map_err(|error| format!("body-hex: {error}"))?,
            (text, None) => text.clone().unwrap_or_default().into_bytes(),
        };
        Ok(Said::Answer { status, body: Arc::from(body), stale: self.stale })
    }
}

/// The same answer to every request, for the suite.
pub(super) struct Says {
    name: &'static str,
    said: Said,
    requests: Mutex<Vec<String>>,
}

impl Says {
    fn new(name: &'static str, said: Said) -> Self {
        Self { name, said, requests: Mutex::default() }
    }

    /// What services say when they break.
    pub(super) fn anything() -> Vec<Self> {
        let answer = |status, body: &[u8]| Said::Answer { status, body: Arc::from(body), stale: false };
        vec![
            Self::new("no answer", Said::Unavailable("the service is down".to_owned())),
            Self::new("200 without a body", answer(200, b"")),
            Self::new("200 with null", answer(200, b"null")),
            Self::new("200 with an empty object", answer(200, b"{}")),
            Self::new("200 with a list", answer(200, b"[[[[]]]]")),
            Self::new("200 with half an object", answer(200, br#"{"account": "ali"#)),
            Self::new("200 with HTML", answer(200, b"<html><h1>It works!</h1></html>")),
            Self::new("200 with bytes that are no text", answer(200, &[0xff; 4096])),
            Self::new("200 with 64 KiB of zeros", answer(200, &[0; 64 << 10])),
            Self::new("204", answer(204, b"")),
            Self::new("301", answer(301, b"")),
            Self::new("401", answer(401, b"{}")),
            Self::new("404", answer(404, b"not found")),
            Self::new("429", answer(429, b"")),
        ]
    }

    /// What was asked since the last time.
    pub(super) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Script for Says {
    fn answer(&self, request: &Request) -> Said {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.told());
        self.said.clone()
    }
}
