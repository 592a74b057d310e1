//! Where a node listens and how to log in to it.

use std::fmt;
use std::path::PathBuf;

use sluice_core::bitcoin::Network;

/// Text that never reaches a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// bitcoind's `.cookie` file, read again whenever the node refuses what it said.
    Cookie(PathBuf),
    User {
        user: String,
        password: Secret,
    },
}

/// One node of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    pub host: String,
    pub port: u16,
    pub auth: Auth,
}

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error(
        "node address `{0}` uses https; bitcoind speaks plain http, use `http://HOST:PORT` or `HOST:PORT`"
    )]
    Https(String),
    #[error("a node address holds a user and password; write them in their own keys, and `HOST:PORT` here")]
    Credentials,
    #[error("node address `{0}` has a path; `HOST:PORT` is enough")]
    Path(String),
    #[error("node address `{0}` has no host; write `HOST:PORT`")]
    Host(String),
    #[error("port `{0}` of the node address is not a number from 1 to 65535")]
    Port(String),
}

impl NodeAddress {
    /// `HOST`, `HOST:PORT` or `http://HOST:PORT/`; the port defaults to the network's RPC port.
    ///
    /// # Errors
    /// Another scheme, credentials, a path, no host, or a bad port.
    pub fn parse(text: &str, network: Network, auth: Auth) -> Result<Self, AddressError> {
        if text.starts_with("https://") {
            return Err(AddressError::Https(text.to_owned()));
        }
        if text.contains('@') {
            return Err(AddressError::Credentials);
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(AddressError::Path(text.to_owned()));
        }
        let (host, port) = split_port(rest, network)?;
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(AddressError::Host(text.to_owned()));
        }
        Ok(Self { host: host.to_owned(), port, auth })
    }

    /// `HOST:PORT`: the node's name in logs, records and the API.
    pub fn name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The host without brackets, and the port.
fn split_port(text: &str, network: Network) -> Result<(&str, u16), AddressError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            // More than one colon: an IPv6 address without brackets.
            Some((_, rest)) if rest.contains(':') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let Some(port) = port else { return Ok((host, default_port(network))) };
    match port.parse() {
        Ok(number) if number != 0 => Ok((host, number)),
        _ => Err(AddressError::Port(port.to_owned())),
    }
}

/// Bitcoin Core's RPC ports.
fn default_port(network: Network) -> u16 {
    match network {
        Network::Testnet => 18332,
        Network::Testnet4 => 48332,
        Network::Signet => 38332,
        Network::Regtest => 18443,
        _ => 8332,
    }
}

#[cfg(test)]
mod tests;
