//! `[stratum_v2]`: keys compared with each other and with those of the other listeners.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{Taken, at_most, count, difficulties, door, size, value};
use crate::config::raw;
use crate::config::reader::{At, Given, Notes};
use crate::config::{IdentitySource, StratumV2};

/// `Some(None)` where it is not enabled; `None` where a problem is noted.
pub(super) fn validate(
    raw: raw::StratumV2,
    base: &Path,
    taken: &mut Taken,
    notes: &mut Notes<'_>,
) -> Option<Option<StratumV2>> {
    difficulties(&raw.front, notes);
    for limit in [&raw.max_channels, &raw.max_channels_per_address] {
        let pair = raw.channels_per_connection.as_ref().zip(limit.as_ref());
        at_most(pair, "channels_per_connection", &|count: &u64| *count, notes);
    }
    let enabled = value(raw.enabled.clone())?;
    let identity = identity(&raw, enabled, base, notes);
    only_loopback(&raw.plain_text_listen, notes);
    let door = door(raw.door, notes);
    if !enabled {
        // What is wrong by itself is refused all the same; what it would take from others is free.
        return Some(None);
    }
    taken.check_name(raw.front.name.as_ref(), notes);
    taken.take_address(raw.front.listen.as_ref(), notes);
    taken.take_address(right(&raw.plain_text_listen), notes);
    let front = raw.front;
    Some(Some(StratumV2 {
        listen: value(front.listen)?,
        name: value(front.name)?,
        identity: identity?,
        plain_text_listen: raw.plain_text_listen.settled()?,
        proxy_protocol: value(front.proxy_protocol)?,
        start_difficulty: value(front.start_difficulty)?,
        minimum_difficulty: value(front.minimum_difficulty)?,
        maximum_difficulty: value(front.maximum_difficulty)?,
        handshake_timeout: value(raw.handshake_timeout)?,
        setup_timeout: value(raw.setup_timeout)?,
        channel_timeout: value(raw.channel_timeout)?,
        idle_timeout: value(raw.idle_timeout)?,
        stale_grace: Duration::from_millis(value(raw.stale_grace_ms)?),
        door: door?,
        messages_per_minute: count(raw.messages_per_minute)?,
        rejected_in_a_row: count(raw.rejected_in_a_row)?,
        channels_per_connection: size(raw.channels_per_connection)?,
        max_channels: size(raw.max_channels)?,
        max_channels_per_address: size(raw.max_channels_per_address)?,
        max_unfinished_handshakes: size(raw.max_unfinished_handshakes)?,
        acknowledge_shares: count(raw.acknowledge_shares)?,
        acknowledge_after: Duration::from_millis(value(raw.acknowledge_after_ms)?),
    }))
}

fn right<T>(given: &Given<T>) -> Option<&At<T>> {
    match given {
        Given::Right(at) => Some(at),
        Given::Missing | Given::Wrong => None,
    }
}

/// Which of the two files there is; one is enough, and required of a listener.
fn identity(
    raw: &raw::StratumV2,
    enabled: bool,
    base: &Path,
    notes: &mut Notes<'_>,
) -> Option<IdentitySource> {
    const ALLOWED: &str = "either authority_key or certificate (files that `sluice keygen` writes)";
    if let (Some(_), Some(place)) = (raw.authority_key.place(), raw.certificate.place()) {
        notes.wrong(place, "is given beside authority_key", format!("{ALLOWED} is allowed"));
        return None;
    }
    match (raw.authority_key.clone().settled()?, raw.certificate.clone().settled()?) {
        (Some(file), _) => Some(IdentitySource::Authority(base.join(file))),
        (None, Some(file)) => Some(IdentitySource::Certificate(base.join(file))),
        (None, None) => {
            if enabled {
                notes.wrong(&raw.place, "lacks an identity", format!("{ALLOWED} is required"));
            }
            None
        }
    }
}

/// N-1: who listens in on another machine reads and changes everything.
fn only_loopback(given: &Given<SocketAddr>, notes: &mut Notes<'_>) {
    if let Some(at) = right(given).filter(|at| !at.value.ip().is_loopback()) {
        let wrong =
            format!("{} can be reached from other machines, and nothing is encrypted there", at.value);
        notes.wrong(&at.place, wrong, "a loopback address is allowed, for labs (remote miners use `listen`)");
    }
}
