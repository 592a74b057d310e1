//! A miner on a socket that speaks SV2: frames and messages come from the pool's own crate (which is proved elsewhere
//! against others), what a client does with them is written here from the specification.
//!
//! [`wire`] is a connection that sends whatever it is told, [`work`] is a job and the search in it, [`channel`] and
//! [`client`] insist on the order that the rules demand.

pub mod channel;
pub mod client;
pub mod wire;
pub mod work;

use std::net::SocketAddr;

use anyhow::{Context, Result};
pub use channel::Kind;
pub use client::{Client, Event, Verdict, setup};
use sluice_stratum_v2::noise::{AuthorityKey, AuthoritySecret};
pub use wire::{Frame, Wire};
pub use work::{Job, Share};

/// Where SV2 miners connect, and what they check the pool with (N-40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub authority: AuthorityKey,
}

impl Endpoint {
    /// From the URL somewhere in `line`; `None` if there is none.
    pub fn in_line(line: &str) -> Option<Self> {
        const SCHEME: &str = "stratum2+tcp://";
        let rest = &line[line.find(SCHEME)? + SCHEME.len()..];
        let (address, rest) = rest.split_once('/')?;
        let key = rest.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
        let address = address.parse().ok().filter(|address: &SocketAddr| address.port() != 0)?;
        Some(Self { address, authority: key.parse().ok()? })
    }
}

/// 32 bytes from the operating system.
///
/// # Errors
/// It gives none.
pub fn entropy() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

/// An authority of its own.
///
/// # Errors
/// No randomness.
pub fn new_authority() -> Result<AuthoritySecret> {
    AuthoritySecret::from_entropy(entropy()?).context("randomness that makes no key")
}

/// The code of SV1 (V1-11) for what SV2 has a word for: 21 too late, 22 again, 23 not hard enough, 20 anything else.
pub fn number(code: &str) -> i64 {
    match code {
        "stale-share" | "invalid-job-id" => 21,
        "duplicate-share" => 22,
        "difficulty-too-low" => 23,
        _ => 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_in_what_is_printed() {
        // N-40, with the key of the specification's example.
        let key = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
        let line = format!("sv2      stratum2+tcp://127.0.0.1:3336/{key}  (stratum-v2)");
        let endpoint = Endpoint::in_line(&line).unwrap();
        assert_eq!(endpoint.address, "127.0.0.1:3336".parse().unwrap());
        assert_eq!(endpoint.authority.to_string(), key);
        assert_eq!(Endpoint::in_line("sv1      stratum+tcp://127.0.0.1:3333"), None);
        assert_eq!(Endpoint::in_line(&format!("stratum2+tcp://127.0.0.1:0/{key}")), None);
    }
}
