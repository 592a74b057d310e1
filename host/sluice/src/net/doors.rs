//! Every listener of the pool: bound first, opened when the rest of it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sluice_core::channel::Rules;
use sluice_core::ids::Protocol;
use sluice_stratum_v1 as v1;
use sluice_stratum_v2 as v2;
use tokio::task::JoinSet;

use crate::clock;
use crate::config::{self, Config, ProxyProtocol, StratumV2 as StratumV2Config};
use crate::identity::{self, Endpoint, Identities};

use super::connection::Shared;
use super::gate::{Gate, GateConfig};
use super::greeter::{Greeter, Protection, StratumV1, StratumV2};
use super::listener::{Entrance, Listener};
use super::prefixes::Quota;
use super::tls::Certificate;

/// Accepted shares of one connection that may wait for the ledger; then its input waits.
const HELD_SHARES: usize = 1024;

/// A listener that is bound.
#[derive(Clone, Debug)]
pub struct Listening {
    pub name: String,
    pub address: SocketAddr,
    pub tls: bool,
}

/// Listeners that are bound and not open yet, by protocol.
pub struct Doors {
    stratum_v1: Vec<Listener<StratumV1>>,
    stratum_v2: Option<SecondDoor>,
}

/// What SV2 miners find.
struct SecondDoor {
    encrypted: Listener<StratumV2>,
    plain_text: Option<Listener<StratumV2>>,
    identities: Identities,
    keeper: identity::Keeper,
}

impl Doors {
    /// # Errors
    /// An address cannot be bound, a certificate or a key cannot be used.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let listeners = config.stratum_v1.listeners.iter();
        let stratum_v1 =
            listeners.map(|listener| bind_v1(config, listener)).collect::<anyhow::Result<_>>()?;
        let stratum_v2 = config.stratum_v2.as_ref().map(|v2| SecondDoor::bind(config, v2)).transpose()?;
        Ok(Self { stratum_v1, stratum_v2 })
    }

    /// Where SV1 miners connect.
    ///
    /// # Errors
    /// The system does not say.
    pub fn listening(&self) -> anyhow::Result<Vec<Listening>> {
        self.stratum_v1.iter().map(listening).collect()
    }

    /// Where SV2 miners connect, if they can.
    ///
    /// # Errors
    /// The system does not say.
    pub fn endpoint(&self) -> anyhow::Result<Option<Endpoint>> {
        self.stratum_v2.as_ref().map(SecondDoor::endpoint).transpose()
    }

    /// Lets miners in. Each protocol has a gate of its own; connections are numbered through.
    pub fn open(self, config: &Config, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
        let ids = Arc::new(AtomicU64::new(1));
        let entrance = |door: &config::Door| Entrance {
            shared: Arc::clone(shared),
            gate: Gate::new(gate_config(door)),
            ids: Arc::clone(&ids),
        };
        let first = entrance(&config.stratum_v1.door);
        for listener in self.stratum_v1 {
            tasks.spawn(listener.serve(first.clone()));
        }
        if let (Some(door), Some(v2)) = (self.stratum_v2, &config.stratum_v2) {
            let second = entrance(&v2.door);
            tasks.spawn(door.keeper.run(Arc::clone(&shared.metrics)));
            if let Some(plain_text) = door.plain_text {
                tasks.spawn(plain_text.serve(second.clone()));
            }
            tasks.spawn(door.encrypted.serve(second));
        }
    }
}

impl SecondDoor {
    fn bind(config: &Config, v2: &StratumV2Config) -> anyhow::Result<Self> {
        let (identities, keeper) = identity::start(&v2.identity, clock::wall())?;
        let session = Arc::new(v2_session(config, v2));
        let greeter = |protection| StratumV2 {
            session: Arc::clone(&session),
            protection,
            handshakes_limit: v2.max_unfinished_handshakes,
        };
        let noise = greeter(Protection::Noise(identities.current.clone()));
        let encrypted = Listener::bind(v2.listen, noise, v2.proxy_protocol, None)?;
        let plain_text = v2
            .plain_text_listen
            .map(|address| Listener::bind(address, greeter(Protection::PlainText), ProxyProtocol::Off, None))
            .transpose()?;
        Ok(Self { encrypted, plain_text, identities, keeper })
    }

    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let plain_text = self.plain_text.as_ref().map(Listener::address).transpose()?;
        Ok(Endpoint { address: self.encrypted.address()?, authority: self.identities.authority, plain_text })
    }
}

/// Channels of a protocol (M-8); an SV1 connection is one, and the gate limits how many an address has.
pub fn quota(config: &Config, protocol: Protocol) -> Quota {
    let first = || Quota { channels: config.stratum_v1.door.max_connections, ..Quota::default() };
    let second = |v2: &StratumV2Config| Quota {
        channels: v2.max_channels,
        channels_per_address: Some(v2.max_channels_per_address),
        exempt: v2.door.never_ban.clone(),
    };
    match protocol {
        Protocol::StratumV1 => first(),
        Protocol::StratumV2 => config.stratum_v2.as_ref().map(second).unwrap_or_default(),
    }
}

fn bind_v1(config: &Config, listener: &config::Listener) -> anyhow::Result<Listener<StratumV1>> {
    let certificate = listener.tls.clone().map(Certificate::load).transpose()?;
    let greeter = StratumV1(Arc::new(v1_session(config, listener)));
    Listener::bind(listener.listen, greeter, listener.proxy_protocol, certificate)
}

fn listening<G: Greeter>(bound: &Listener<G>) -> anyhow::Result<Listening> {
    Ok(Listening { name: bound.name().to_owned(), address: bound.address()?, tls: bound.has_tls() })
}

fn gate_config(door: &config::Door) -> GateConfig {
    GateConfig {
        connections: door.max_connections,
        connections_per_address: door.max_connections_per_address,
        reconnects_per_minute: door.reconnects_per_minute,
        ban: door.ban,
        never_ban: door.never_ban.clone(),
    }
}

fn v2_session(config: &Config, v2: &StratumV2Config) -> v2::SessionConfig {
    v2::SessionConfig {
        listener: v2.name.as_str().into(),
        start: v2.start_difficulty,
        floor: v2.minimum_difficulty,
        ceiling: v2.maximum_difficulty,
        // Jobs are the same for both protocols, and with them the room in the coinbase.
        extranonce_size: config.stratum_v1.extranonce2_size,
        rules: Rules { stale_grace: v2.stale_grace },
        handshake_timeout: v2.handshake_timeout,
        setup_timeout: v2.setup_timeout,
        channel_timeout: v2.channel_timeout,
        idle_timeout: v2.idle_timeout,
        messages_per_minute: v2.messages_per_minute,
        channels: v2.channels_per_connection,
        held_shares: HELD_SHARES,
        rejected_in_a_row: v2.rejected_in_a_row,
        acknowledge_shares: v2.acknowledge_shares,
        acknowledge_after: v2.acknowledge_after,
    }
}

fn v1_session(config: &Config, listener: &config::Listener) -> v1::SessionConfig {
    let v1 = &config.stratum_v1;
    v1::SessionConfig {
        listener: listener.name.as_str().into(),
        start: listener.start_difficulty,
        floor: listener.minimum_difficulty,
        ceiling: listener.maximum_difficulty,
        extranonce2_length: v1.extranonce2_size,
        version_mask: v1.version_mask,
        rules: Rules { stale_grace: v1.stale_grace },
        line_limit: v1.line_limit,
        subscribe_timeout: v1.subscribe_timeout,
        authorize_timeout: v1.authorize_timeout,
        idle_timeout: v1.idle_timeout,
        messages_per_minute: v1.messages_per_minute,
        workers_per_connection: v1.workers_per_connection,
        held_replies: HELD_SHARES,
        rejected_in_a_row: v1.rejected_in_a_row,
    }
}
