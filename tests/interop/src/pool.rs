//! The pool with Stratum V2 on.

use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use sluice_tests::pool::{Pool, Setup};
use stratum_apps::key_utils::Secp256k1PublicKey;

/// A running pool, and where its SV2 is.
pub struct Sluice {
    pub pool: Pool,
    pub address: SocketAddr,
    pub authority: Secp256k1PublicKey,
}

impl Sluice {
    /// `sluice run` with SV2, once it has work. No share is accepted after its block: SRI knows no grace.
    ///
    /// # Errors
    /// It does not start, or does not print an URL whose key SRI understands (N-40).
    pub async fn start(setup: Setup) -> Result<Self> {
        let pool = Pool::ready(setup.sv2_with("stale_grace_ms = 0")).await?;
        let endpoint = pool.sv2()?;
        let authority = endpoint.authority.to_string().parse().map_err(|error| anyhow!("{error}"))?;
        Ok(Self { pool, address: endpoint.address, authority })
    }
}
