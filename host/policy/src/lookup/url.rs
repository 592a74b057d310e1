//! URLs, read strictly: what is unusual is refused rather than interpreted, so that whoever reads them later (client,
//! proxy, service) cannot understand another place than the one that was granted.

use std::fmt;
use std::net::Ipv6Addr;

use crate::check::bounded;

/// The longest URL, in bytes.
pub(crate) const URL_LIMIT: usize = 2048;
/// How much of a URL is logged, in bytes.
const SHOWN_LIMIT: usize = 200;
/// How often a path may be percent-encoded over and over.
const LAYERS: usize = 4;
/// The longest host name, in bytes.
const HOST_LIMIT: usize = 253;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why a text is no URL that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("a URL of {0} bytes; at most {URL_LIMIT} are allowed")]
    Long(usize),
    #[error("{0:?} in a URL; only the characters of RFC 3986 are allowed, everything else percent-encoded")]
    Character(char),
    #[error("a URL begins with http:// or https://")]
    Scheme,
    #[error("a URL has no user and no password")]
    User,
    #[error("a URL has no fragment")]
    Fragment,
    #[error("the host of a URL is a name of letters, digits, '-', '.' and '_', or an IP address")]
    Host,
    #[error("the port of a URL is a number from 1 to 65535")]
    Port,
    #[error("'%' in a URL is followed by two hexadecimal digits")]
    Percent,
    #[error("a URL has no segment '.' or '..', however it is written")]
    Dots,
    #[error("a path is percent-encoded at most {LAYERS} times over")]
    Layers,
    #[error("a URL that is granted has no query: it is the beginning of what may be asked")]
    Query,
}

/// A URL that may be asked if it is granted. Host in lower case, port always known, path at least `/`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
    /// Path and query.
    target: String,
    /// Where the query begins, with its `?`; the length of the target where there is none.
    query: usize,
}

impl Url {
    /// # Errors
    /// [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_LIMIT {
            return Err(UrlError::Long(text.len()));
        }
        check_characters(text)?;
        let (scheme, rest) = split_scheme(text)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = split_authority(authority)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let query = target.find('?').unwrap_or(target.len());
        check_path(&target[..query])?;
        Ok(Self {
            scheme,
            host: parse_host(host)?,
            port: port.unwrap_or(scheme.default_port()),
            target,
            query,
        })
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whom to connect to: a name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the header `host` says: the port is left out where it is the scheme's own.
    pub fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Path and query, as the request line has them.
    pub fn target(&self) -> &str {
        &self.target
    }

    fn path(&self) -> &str {
        &self.target[..self.query]
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.label(), self.host_header(), self.target)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The beginning of URLs that are granted: the same scheme, host and port, and a path that is the same or goes on behind a
/// `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPrefix(Url);

impl UrlPrefix {
    /// # Errors
    /// [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text)?;
        if url.query < url.target.len() {
            return Err(UrlError::Query);
        }
        Ok(Self(url))
    }

    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    pub(crate) fn covers(&self, url: &Url) -> bool {
        let own = &self.0;
        if (own.scheme, &own.host, own.port) != (url.scheme, &url.host, url.port) {
            return false;
        }
        match url.path().strip_prefix(own.path()) {
            Some(rest) => rest.is_empty() || own.path().ends_with('/') || rest.starts_with('/'),
            None => false,
        }
    }

    /// How much of a path it settles.
    pub(crate) fn length(&self) -> usize {
        self.0.path().len()
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is logged of a text that may be a URL: neither query nor user, which may hold what a miner typed.
pub(super) fn shown(text: &str) -> String {
    let without_query = |text: &str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
    let shown = match (Url::parse(text), text.split_once("://")) {
        (Ok(_), _) | (Err(_), None) => without_query(text),
        (Err(_), Some((scheme, rest))) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            without_query(&format!("{scheme}://{host}{path}"))
        }
    };
    bounded(&shown, SHOWN_LIMIT)
}

/// Those of RFC 3986 but `#`; two hexadecimal digits behind each `%`.
fn check_characters(text: &str) -> Result<(), UrlError> {
    for c in text.chars() {
        match c {
            '#' => return Err(UrlError::Fragment),
            c if c.is_ascii_alphanumeric() || "-._~:/?[]@!$&'()*+,;=%".contains(c) => {}
            other => return Err(UrlError::Character(other)),
        }
    }
    let well_encoded =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if text.split('%').skip(1).all(well_encoded) { Ok(()) } else { Err(UrlError::Percent) }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), UrlError> {
    let (name, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    let is = |scheme: &Scheme| name.eq_ignore_ascii_case(scheme.label());
    let scheme = [Scheme::Http, Scheme::Https].into_iter().find(is).ok_or(UrlError::Scheme)?;
    Ok((scheme, rest))
}

/// Host, and port where there is one.
fn split_authority(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::User);
    }
    let behind = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[behind..].find(':') {
        None => Ok((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(behind + colon);
            Ok((host, Some(parse_port(&port[1..])?)))
        }
    }
}

fn parse_port(text: &str) -> Result<u16, UrlError> {
    // A sign or leading zeros would be read by some and not by others.
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    text.parse().map_err(|_| UrlError::Port)
}

fn parse_host(text: &str) -> Result<String, UrlError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().map(|address| address.to_string()).map_err(|_| UrlError::Host);
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || text.len() > HOST_LIMIT || !text.bytes().all(fits) {
        return Err(UrlError::Host);
    }
    Ok(text.to_ascii_lowercase())
}

/// No way up, for nobody who reads it: with dots encoded once or often, behind `\` for those who take it for `/`, before
/// `;` and the like for those who cut there.
fn check_path(path: &str) -> Result<(), UrlError> {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..=LAYERS {
        let mut pieces = path.split(|byte| matches!(byte, b'/' | b'\\'));
        if pieces.any(|piece| matches!(name(piece), b"." | b"..")) {
            return Err(UrlError::Dots);
        }
        let decoded = decode(&path);
        if decoded == path {
            return Ok(());
        }
        path = decoded;
    }
    Err(UrlError::Layers)
}

/// A segment without what some cut off: parameters, what looks like a query or a fragment, white space and controls.
fn name(piece: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, 0..=b' ' | 0x7f);
    let start = piece.iter().position(|byte| !blank(byte)).unwrap_or(piece.len());
    let cut = |byte: &u8| blank(byte) || matches!(byte, b';' | b'?' | b'#');
    piece[start..].split(cut).next().unwrap_or_default()
}

/// One layer of percent-encoding taken off.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let encoded = (*first == b'%').then(|| digit(behind.first()).zip(digit(behind.get(1)))).flatten();
        match encoded.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &behind[2..];
            }
            None => {
                decoded.push(*first);
                rest = behind;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests;
