//! HTTP requests that the host makes for an auth policy, to what the operator grants it: interface `lookup`.
//!
//! A policy that looks things up implements [`crate::auth::AuthLookupPolicy`] and is exported with
//! [`crate::export_auth_lookup`]. Its native tests hand in a [`Lookup`] of their own.
//!
//! The host may begin `authorize` again from its start, with the answers it has by then: ask the same things in the same
//! order, whatever else happened.

mod fields;

pub use fields::Fields;

/// What is asked of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Absolute, beginning with a granted prefix, at most 2048 bytes of the characters of RFC 3986: [`segment`] writes
    /// everything else. Reaches logs: no secret belongs here.
    pub url: String,
    /// `None`: GET. Else a POST of this, at most 64 KiB.
    pub body: Option<Vec<u8>>,
    /// Of the body; empty: `application/json`.
    pub content_type: String,
}

impl Request {
    pub fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), body: None, content_type: String::new() }
    }

    /// A POST of a JSON object with these texts.
    pub fn post_json(url: impl Into<String>, members: &[(&str, &str)]) -> Self {
        let members: Vec<String> =
            members.iter().map(|(name, text)| format!("{}:{}", quoted(name), quoted(text))).collect();
        let body = format!("{{{}}}", members.join(",")).into_bytes();
        Self { url: url.into(), body: Some(body), content_type: String::new() }
    }
}

/// What a service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 499; 3xx is answered as it is.
    pub status: u16,
    pub body: Vec<u8>,
    /// The service fails now; it said this earlier.
    pub stale: bool,
}

impl Answer {
    /// The JSON object that the body is.
    ///
    /// # Errors
    /// It is none: the text says why, without showing the body.
    pub fn fields(&self) -> Result<Fields, String> {
        Fields::parse(&self.body)
    }
}

/// Why there is no answer. The texts are for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No grant covers the URL, the request breaks a rule, or there were too many.
    Denied(String),
    /// No answer in time, none that can be used, and no earlier one at hand.
    Unavailable(String),
}

/// Who looks things up: the host, or a test.
pub trait Lookup {
    /// # Errors
    /// [`Failure`].
    fn fetch(&self, request: &Request) -> Result<Answer, Failure>;
}

/// `text` as one segment of a path or one value of a query: whatever is not a letter, a digit or one of `-._~` becomes
/// `%XX`. `None` for an empty text, `.` and `..`: no way of writing them keeps a server from leaving the path.
pub fn segment(text: &str) -> Option<String> {
    if matches!(text, "" | "." | "..") {
        return None;
    }
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                written.push(char::from(byte));
            }
            other => written.push_str(&format!("%{other:02X}")),
        }
    }
    Some(written)
}

/// `text` as a text of JSON.
fn quoted(text: &str) -> String {
    let mut written = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => written.extend(['\\', character]),
            control if control < ' ' => written.push_str(&format!("\\u{:04x}", u32::from(control))),
            plain => written.push(plain),
        }
    }
    written.push('"');
    written
}

#[cfg(test)]
mod tests;
