//! The keys of `[stratum_v2]`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{
    ADDRESS, Door, Front, door, front, idle_timeout, messages_per_minute, path, rejected_in_a_row, socket,
    stale_grace_ms,
};
use crate::config::reader::{At, Given, Place, Section};

const DEFAULT_LISTEN: &str = "127.0.0.1:3336";
const DEFAULT_NAME: &str = "stratum-v2";

pub(in crate::config) struct StratumV2 {
    pub(in crate::config) place: Place,
    pub(in crate::config) enabled: Option<At<bool>>,
    pub(in crate::config) front: Front,
    pub(in crate::config) authority_key: Given<String>,
    pub(in crate::config) certificate: Given<String>,
    pub(in crate::config) plain_text_listen: Given<SocketAddr>,
    pub(in crate::config) handshake_timeout: Option<At<Duration>>,
    pub(in crate::config) setup_timeout: Option<At<Duration>>,
    pub(in crate::config) channel_timeout: Option<At<Duration>>,
    pub(in crate::config) idle_timeout: Option<At<Duration>>,
    pub(in crate::config) stale_grace_ms: Option<At<u64>>,
    pub(in crate::config) door: Door,
    pub(in crate::config) messages_per_minute: Option<At<u64>>,
    pub(in crate::config) rejected_in_a_row: Option<At<u64>>,
    pub(in crate::config) channels_per_connection: Option<At<u64>>,
    pub(in crate::config) max_channels: Option<At<u64>>,
    pub(in crate::config) max_channels_per_address: Option<At<u64>>,
    pub(in crate::config) max_unfinished_handshakes: Option<At<u64>>,
    pub(in crate::config) acknowledge_shares: Option<At<u64>>,
    pub(in crate::config) acknowledge_after_ms: Option<At<u64>>,
}

pub(super) fn read(v2: &mut Section<'_, '_>) -> StratumV2 {
    StratumV2 {
        place: v2.place(),
        enabled: v2.switch("enabled", false),
        front: front(v2, DEFAULT_NAME, DEFAULT_LISTEN),
        authority_key: v2.optional("authority_key", "the path of an authority's secret key", path),
        certificate: v2.optional("certificate", "the path of a static key with its certificate", path),
        plain_text_listen: v2.optional("plain_text_listen", ADDRESS, socket),
        handshake_timeout: v2.seconds("handshake_timeout_s", 10, 1..=300),
        setup_timeout: v2.seconds("setup_timeout_s", 10, 1..=300),
        channel_timeout: v2.seconds("channel_timeout_s", 60, 1..=3600),
        idle_timeout: idle_timeout(v2),
        stale_grace_ms: stale_grace_ms(v2),
        door: door(v2),
        messages_per_minute: messages_per_minute(v2),
        rejected_in_a_row: rejected_in_a_row(v2),
        channels_per_connection: v2.integer("channels_per_connection", 1000, 1..=100_000),
        max_channels: v2.integer("max_channels", 200_000, 1..=4_000_000),
        max_channels_per_address: v2.integer("max_channels_per_address", 20_000, 1..=4_000_000),
        max_unfinished_handshakes: v2.integer("max_unfinished_handshakes", 1024, 1..=65_536),
        acknowledge_shares: v2.integer("acknowledge_shares", 16, 1..=1024),
        acknowledge_after_ms: v2.integer("acknowledge_after_ms", 1000, 1..=60_000),
    }
}
