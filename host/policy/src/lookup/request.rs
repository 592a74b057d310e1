//! What a policy asks, checked, and what it is told.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::transport::Method;
use super::url::Url;
use crate::bindings::lookup as wit;
use crate::check::printable;

/// The largest body of a request, in bytes.
pub(crate) const BODY_LIMIT: usize = 64 << 10;
/// The longest content type, in bytes.
const CONTENT_TYPE_LIMIT: usize = 100;
const JSON: &str = "application/json";

/// A request that keeps the rules; whether it is granted is another question. `Debug` leaves the body out, it may hold a
/// password.
#[derive(Clone)]
pub(crate) struct Request {
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) body: Arc<[u8]>,
    pub(super) content_type: String,
    key: Key,
}

/// What tells requests apart: a hash, so that nothing secret is kept for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Request {
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check(asked: wit::Request) -> Result<Self, String> {
        let url = Url::parse(&asked.url).map_err(|why| why.to_string())?;
        let method = if asked.body.is_some() { Method::Post } else { Method::Get };
        let body = asked.body.unwrap_or_default();
        if body.len() > BODY_LIMIT {
            return Err(format!("a body of {} bytes; at most {BODY_LIMIT} are allowed", body.len()));
        }
        let content_type = match method {
            Method::Get => String::new(),
            Method::Post => content_type(asked.content_type)?,
        };
        let key = Key::of(&url, method, &content_type, &body);
        Ok(Self { url, method, body: Arc::from(body), content_type, key })
    }

    /// For people: method and URL.
    pub(crate) fn told(&self) -> String {
        format!("{} {}", if self.method == Method::Post { "POST" } else { "GET" }, self.url)
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.method, self.url)
    }
}

fn content_type(asked: String) -> Result<String, String> {
    if asked.is_empty() {
        return Ok(JSON.to_owned());
    }
    let fits = |byte: u8| (b' '..=b'~').contains(&byte);
    if asked.len() > CONTENT_TYPE_LIMIT || !asked.bytes().all(fits) || asked.trim() != asked {
        return Err(format!(
            "a content type of {} bytes; at most {CONTENT_TYPE_LIMIT} of printable ASCII are allowed",
            asked.len()
        ));
    }
    Ok(asked)
}

impl Key {
    fn of(url: &Url, method: Method, content_type: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        let post = [u8::from(method == Method::Post)];
        for part in [post.as_slice(), url.to_string().as_bytes(), content_type.as_bytes(), body] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// What a policy is told of a request that was not denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Answer { status: u16, body: Arc<[u8]>, stale: bool },
    Unavailable(String),
}

impl Said {
    /// Of its body: a text is a line.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Answer { body, .. } => body.len(),
            Self::Unavailable(_) => 0,
        }
    }

    pub(crate) fn lower(&self) -> Result<wit::Answer, wit::Failure> {
        match self {
            Self::Answer { status, body, stale } => {
                Ok(wit::Answer { status: *status, body: body.to_vec(), stale: *stale })
            }
            Self::Unavailable(text) => Err(wit::Failure::Unavailable(printable(text))),
        }
    }
}
