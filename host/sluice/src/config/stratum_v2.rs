//! What `[stratum_v2]` means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sluice_core::units::Difficulty;

use super::{Door, ProxyProtocol};

/// The SV2 listener, its limits, and where its identity comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct StratumV2 {
    /// Encrypted, always (N-1).
    pub listen: SocketAddr,
    /// What policies, logs and metrics call the listener; no SV1 listener has it.
    pub name: String,
    pub identity: IdentitySource,
    /// Unencrypted and without a PROXY header, for labs; a loopback address (N-1).
    pub plain_text_listen: Option<SocketAddr>,
    /// Of `listen`.
    pub proxy_protocol: ProxyProtocol,
    pub start_difficulty: Difficulty,
    /// The floor, whatever a client asks for (M-56).
    pub minimum_difficulty: Difficulty,
    pub maximum_difficulty: Difficulty,
    /// From connect, or the end of the PROXY header, to a complete Act 1 (N-22).
    pub handshake_timeout: Duration,
    /// From Act 2 to SetupConnection (N-22).
    pub setup_timeout: Duration,
    /// Without any channel (S-16).
    pub channel_timeout: Duration,
    pub idle_timeout: Duration,
    /// How long shares of the previous tip still count.
    pub stale_grace: Duration,
    pub door: Door,
    /// From one connection, which may carry many miners.
    pub messages_per_minute: u32,
    /// Rejected shares of a channel without an accepted one between them that close it; 0: any number.
    pub rejected_in_a_row: u32,
    /// M-8
    pub channels_per_connection: usize,
    /// On all connections together (M-8); not below `channels_per_connection`.
    pub max_channels: usize,
    /// On all connections from one address; not below `channels_per_connection`.
    pub max_channels_per_address: usize,
    /// Connections that are not through their handshake; one more is refused (N-22).
    pub max_unfinished_handshakes: usize,
    /// Accepted shares of a channel that are acknowledged together, at most (M-84).
    pub acknowledge_shares: u32,
    /// How long an accepted share waits for others to be acknowledged with (M-84).
    pub acknowledge_after: Duration,
}

/// Where the server's static key and its certificate come from. Both files are secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// The authority's secret key: the pool signs certificates itself (N-16).
    Authority(PathBuf),
    /// A static key with a certificate that was signed elsewhere; read again when it changes (N-17).
    Certificate(PathBuf),
}
