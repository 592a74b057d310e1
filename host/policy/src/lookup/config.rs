//! What the operator grants an auth policy, and within which bounds.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::transport::{Offline, Transport};
use super::url::UrlPrefix;

/// What an auth policy may look up. Without a grant one that imports `lookup` is not loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupConfig {
    /// The longest prefix that fits a URL counts.
    pub grants: Vec<UrlGrant>,
    /// For one request, from its connection to the last byte of its answer. As long again it may wait for its turn.
    pub timeout: Duration,
    /// The largest body of an answer.
    pub answer_bytes: usize,
    /// Requests under way at once; the others wait in order.
    pub concurrency: usize,
    /// Logins that may wait for answers; one more is told to try later.
    pub waiting: usize,
    /// The longest that a login waits for all its answers together; then it is told to try later.
    pub login_timeout: Duration,
    /// Answers that are kept.
    pub cache_entries: usize,
    /// Bytes of the answers that are kept, together.
    pub cache_bytes: usize,
}

impl Default for LookupConfig {
    fn default() -> Self {
        Self {
            grants: Vec::new(),
            timeout: Duration::from_secs(3),
            answer_bytes: 64 << 10,
            concurrency: 32,
            waiting: 4096,
            login_timeout: Duration::from_secs(10),
            cache_entries: 65_536,
            cache_bytes: 16 << 20,
        }
    }
}

/// URLs that may be asked, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct UrlGrant {
    pub prefix: UrlPrefix,
    /// Sent with each request: an API key, say. The policy does not see them.
    pub headers: Arc<[Header]>,
    /// So long an answer of 200 to 299 is used again without asking. Zero: never.
    pub fresh: Duration,
    /// So long after it came it may stand in where the service fails. Zero: never.
    pub stale: Duration,
    /// So long any other answer up to 499 is used again, but 408 and 429; it never stands in later.
    pub negative: Duration,
}

impl UrlGrant {
    pub const FRESH: Duration = Duration::from_secs(60);
    pub const STALE: Duration = Duration::from_secs(24 * 3600);
    pub const NEGATIVE: Duration = Duration::from_secs(10);

    /// With the lifetimes that apply where none are given.
    pub fn new(prefix: UrlPrefix) -> Self {
        let (fresh, stale, negative) = (Self::FRESH, Self::STALE, Self::NEGATIVE);
        Self { prefix, headers: Arc::from([]), fresh, stale, negative }
    }
}

/// A header of a grant. Its value is a secret: `Debug` shows the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

/// Why a header cannot be sent. The text never holds its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("{0:?} is no name of a header; letters, digits and !#$%&'*+-.^_`|~ are allowed, at most 100")]
    Name(String),
    #[error("the header {0:?} is set by the host")]
    Reserved(String),
    #[error("the value of header {0:?}: at most 8192 bytes of printable ASCII are allowed")]
    Value(String),
}

/// The longest name and value, in bytes.
const NAME_LIMIT: usize = 100;
const VALUE_LIMIT: usize = 8192;
/// What the connection, the URL and the body decide.
const RESERVED: [&str; 11] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

impl Header {
    /// # Errors
    /// [`HeaderError`].
    pub fn new(name: &str, value: &str) -> Result<Self, HeaderError> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(token) {
            return Err(HeaderError::Name(name.chars().take(NAME_LIMIT).collect()));
        }
        let name = name.to_ascii_lowercase();
        if RESERVED.contains(&name.as_str()) {
            return Err(HeaderError::Reserved(name));
        }
        if value.len() > VALUE_LIMIT || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(HeaderError::Value(name));
        }
        Ok(Self { name, value: value.to_owned() })
    }

    /// Lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Never to be logged.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

/// Where the host's requests leave it, and the clock that answers age by.
#[derive(Clone)]
pub struct Outside {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Clock,
}

/// Monotonic time.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

impl Outside {
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, clock: Arc::new(Instant::now) }
    }

    /// No requests are made.
    pub fn offline() -> Self {
        Self::new(Arc::new(Offline))
    }

    /// Answers age by this clock: for tests.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport.fmt(f)
    }
}

#[cfg(test)]
mod tests;
