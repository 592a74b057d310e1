//! From what was written to what is meant: keys compared with each other, paths resolved.

mod lookup;
mod pool;
mod stratum_v2;

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitcoin::{Amount, Network};
use sluice_core::units::Difficulty;

use super::raw::{self, DEFAULT_CEILING, DEFAULT_FLOOR, DEFAULT_LISTEN, DEFAULT_NAME, DEFAULT_START, Raw};
use super::reader::{At, Notes, Place};
use super::{
    Chain, Config, Door, Http, Ledger, Listener, Log, Node, NodeAuth, Payouts, Policies, Policy,
    ProxyProtocol, Secret, Simulation, StratumV1, Tls,
};

/// `None` where a problem is noted, here or by the reader.
pub(super) fn validate(raw: Raw, base: &Path, notes: &mut Notes<'_>) -> Option<Config> {
    let network = raw.network.map(|at| at.value);
    let chain = chain(&raw.nodes, raw.simulation, network, base, notes);
    let pool = pool::validate(raw.pool, network, notes);
    let http_listen = raw.http.listen.clone();
    let stratum_v1 = stratum_v1(raw.stratum_v1, base, notes);
    let mut taken = Taken::by(stratum_v1.as_ref());
    let stratum_v2 = stratum_v2::validate(raw.stratum_v2, base, &mut taken, notes);
    let http = http(raw.http, notes);
    let policy = policies(raw.policy, base, notes);
    taken.check_address(http_listen.as_ref(), notes);
    Some(Config {
        network: network?,
        data_dir: resolved(base, raw.data_dir)?,
        pool: pool?,
        chain: chain?,
        stratum_v1: stratum_v1?,
        stratum_v2: stratum_v2?,
        policy: policy?,
        ledger: ledger(raw.ledger)?,
        payouts: payouts(raw.payouts)?,
        http: http?,
        log: Log { format: value(raw.log.format)?, filter: value(raw.log.filter)? },
    })
}

fn value<T>(at: Option<At<T>>) -> Option<T> {
    at.map(|at| at.value)
}

fn size(at: Option<At<u64>>) -> Option<usize> {
    usize::try_from(at?.value).ok()
}

fn count(at: Option<At<u64>>) -> Option<u32> {
    u32::try_from(at?.value).ok()
}

fn resolved(base: &Path, at: Option<At<String>>) -> Option<PathBuf> {
    at.map(|at| base.join(at.value))
}

fn network_name(network: Network) -> &'static str {
    raw::NETWORKS.iter().find(|(_, known)| *known == network).map_or("another network", |(name, _)| *name)
}

fn ledger(raw: raw::Ledger) -> Option<Ledger> {
    let days = value(raw.retention_days)?;
    Some(Ledger {
        durability: value(raw.durability)?,
        retention: (days > 0).then(|| Duration::from_secs(days.saturating_mul(raw::DAY_S))),
        accrue_interval: value(raw.accrue_interval)?,
    })
}

fn payouts(raw: raw::Payouts) -> Option<Payouts> {
    Some(Payouts {
        minimum: Amount::from_sat(value(raw.minimum_sat)?),
        max_lines: size(raw.max_lines)?,
        confirmations: count(raw.confirmations)?,
    })
}

fn chain(
    nodes: &[raw::Node],
    simulation: raw::Simulation,
    network: Option<Network>,
    base: &Path,
    notes: &mut Notes<'_>,
) -> Option<Chain> {
    let enabled = simulation.enabled.clone()?;
    let named: Vec<Option<Node>> = nodes.iter().map(|raw| node(raw, network, base, notes)).collect();
    distinct(nodes, notes);
    if !enabled.value {
        if nodes.is_empty() {
            let place = Place { key: "node".to_owned(), offset: 0 };
            notes.wrong(
                &place,
                "is missing",
                "at least one [[node]], or simulation.enabled = true, is required",
            );
            return None;
        }
        return named.into_iter().collect::<Option<Vec<Node>>>().map(Chain::Nodes);
    }
    if !nodes.is_empty() {
        notes.wrong(&enabled.place, "is true beside [[node]]", "either nodes or the simulation is allowed");
    }
    if network.is_some_and(|network| network != Network::Regtest) {
        notes.wrong(&enabled.place, "is true", "the simulation is allowed with network = \"regtest\" only");
    }
    let interval = value(simulation.block_interval)?;
    Some(Chain::Simulated(Simulation {
        difficulty: value(simulation.difficulty)?,
        transactions: count(simulation.transactions)?,
        block_interval: (!interval.is_zero()).then_some(interval),
        start_height: count(simulation.start_height)?,
    }))
}

fn distinct(nodes: &[raw::Node], notes: &mut Notes<'_>) {
    let urls = nodes.iter().filter_map(|node| node.url.as_ref());
    twice(urls.map(|at| ((at.value.host.clone(), at.value.port), &at.place)), "node", notes);
}

/// Notes every item that was there before.
fn twice<'a, T: Eq + Hash>(items: impl Iterator<Item = (T, &'a Place)>, what: &str, notes: &mut Notes<'_>) {
    let mut seen = HashSet::new();
    for (item, place) in items {
        if !seen.insert(item) {
            notes.wrong(place, format!("is the same as that of an earlier {what}"), "each once is allowed");
        }
    }
}

fn node(raw: &raw::Node, network: Option<Network>, base: &Path, notes: &mut Notes<'_>) -> Option<Node> {
    let auth = node_auth(raw, base, notes);
    let (url, network) = (&raw.url.as_ref()?.value, network?);
    let port = url.port.unwrap_or(match network {
        Network::Testnet4 => 48332,
        Network::Signet => 38332,
        Network::Regtest => 18443,
        _ => 8332,
    });
    Some(Node { url: format!("http://{}:{port}", url.host), auth: auth? })
}

fn node_auth(raw: &raw::Node, base: &Path, notes: &mut Notes<'_>) -> Option<NodeAuth> {
    const ALLOWED: &str = "either cookie, or user and password is required";
    let user_place = raw.user.place().or(raw.password.place());
    if let (Some(_), Some(place)) = (raw.cookie.place(), user_place) {
        notes.wrong(place, "is given beside cookie", ALLOWED);
        return None;
    }
    let cookie = raw.cookie.clone().settled()?;
    match (cookie, raw.user.clone().settled()?, raw.password.clone().settled()?) {
        (Some(cookie), None, None) => Some(NodeAuth::Cookie(base.join(cookie))),
        (None, Some(user), Some(password)) => {
            Some(NodeAuth::Password { user, password: Secret::new(password) })
        }
        _ => {
            notes.wrong(user_place.unwrap_or(&raw.place), "lacks the other half of its credentials", ALLOWED);
            None
        }
    }
}

fn stratum_v1(raw: raw::StratumV1, base: &Path, notes: &mut Notes<'_>) -> Option<StratumV1> {
    let pair = raw.subscribe_timeout.as_ref().zip(raw.authorize_timeout.as_ref());
    at_most(pair, "subscribe_timeout_s", &|time: &Duration| time.as_secs(), notes);
    let door = door(raw.door, notes);
    let listeners = listeners(raw.listeners, base, notes);
    Some(StratumV1 {
        listeners: listeners?,
        extranonce2_size: size(raw.extranonce2_size)?,
        version_mask: value(raw.version_mask)?,
        line_limit: size(raw.line_limit)?,
        subscribe_timeout: value(raw.subscribe_timeout)?,
        authorize_timeout: value(raw.authorize_timeout)?,
        idle_timeout: value(raw.idle_timeout)?,
        refresh: value(raw.refresh)?,
        stale_grace: Duration::from_millis(value(raw.stale_grace_ms)?),
        no_work_grace: value(raw.no_work_grace)?,
        door: door?,
        messages_per_minute: count(raw.messages_per_minute)?,
        workers_per_connection: size(raw.workers_per_connection)?,
        rejected_in_a_row: count(raw.rejected_in_a_row)?,
    })
}

fn door(raw: raw::Door, notes: &mut Notes<'_>) -> Option<Door> {
    let pair = raw.max_connections_per_address.as_ref().zip(raw.max_connections.as_ref());
    at_most(pair, "max_connections_per_address", &|count: &u64| *count, notes);
    Some(Door {
        max_connections: size(raw.max_connections)?,
        max_connections_per_address: size(raw.max_connections_per_address)?,
        reconnects_per_minute: count(raw.reconnects_per_minute)?,
        ban: value(raw.ban)?,
        never_ban: value(raw.never_ban)?,
    })
}

/// Notes a pair whose first is above its second, at the second. Whether it is in order, as far as known.
fn at_most<T, N: PartialOrd + Display>(
    pair: Option<(&At<T>, &At<T>)>,
    first: &str,
    number: &impl Fn(&T) -> N,
    notes: &mut Notes<'_>,
) -> bool {
    let Some((low, high)) = pair else { return true };
    let (low, high_number) = (number(&low.value), number(&high.value));
    if low > high_number {
        let allowed = format!("at least that is allowed (raise this or lower {first})");
        notes.wrong(&high.place, format!("is {high_number}, below {first} = {low}"), allowed);
        return false;
    }
    true
}

fn listeners(raw: Vec<raw::Listener>, base: &Path, notes: &mut Notes<'_>) -> Option<Vec<Listener>> {
    if raw.is_empty() {
        return default_listener().map(|listener| vec![listener]);
    }
    let names = raw.iter().filter_map(|listener| listener.front.name.as_ref());
    twice(names.map(|at| (at.value.clone(), &at.place)), "listener", notes);
    let addresses = raw.iter().filter_map(|listener| listener.front.listen.as_ref());
    // Port 0 is a new port each time.
    let fixed = addresses.filter(|at| at.value.port() != 0);
    twice(fixed.map(|at| (at.value, &at.place)), "listener", notes);
    raw.into_iter().map(|raw| listener(raw, base, notes)).collect::<Vec<_>>().into_iter().collect()
}

fn default_listener() -> Option<Listener> {
    Some(Listener {
        name: DEFAULT_NAME.to_owned(),
        listen: DEFAULT_LISTEN.parse().ok()?,
        tls: None,
        proxy_protocol: ProxyProtocol::Off,
        start_difficulty: Difficulty::saturating(DEFAULT_START),
        minimum_difficulty: Difficulty::saturating(DEFAULT_FLOOR),
        maximum_difficulty: Difficulty::saturating(DEFAULT_CEILING),
    })
}

fn listener(raw: raw::Listener, base: &Path, notes: &mut Notes<'_>) -> Option<Listener> {
    let raw::Listener { front, tls } = raw;
    difficulties(&front, notes);
    let tls = match tls {
        None => None,
        Some(tls) => {
            Some(Tls { certificate: resolved(base, tls.certificate)?, key: resolved(base, tls.key)? })
        }
    };
    Some(Listener {
        name: value(front.name)?,
        listen: value(front.listen)?,
        tls,
        proxy_protocol: value(front.proxy_protocol)?,
        start_difficulty: value(front.start_difficulty)?,
        minimum_difficulty: value(front.minimum_difficulty)?,
        maximum_difficulty: value(front.maximum_difficulty)?,
    })
}

/// Notes difficulties that are not in order.
fn difficulties(front: &raw::Front, notes: &mut Notes<'_>) {
    let (floor, start, ceiling) = (
        front.minimum_difficulty.as_ref(),
        front.start_difficulty.as_ref(),
        front.maximum_difficulty.as_ref(),
    );
    let number = |difficulty: &Difficulty| difficulty.get();
    // Where those two cross, nothing lies between them.
    if at_most(floor.zip(ceiling), "minimum_difficulty", &number, notes) {
        at_most(floor.zip(start), "minimum_difficulty", &number, notes);
        at_most(start.zip(ceiling), "start_difficulty", &number, notes);
    }
}

fn http(raw: raw::Http, notes: &mut Notes<'_>) -> Option<Http> {
    let (listen, allow_remote) = (raw.listen?, raw.allow_remote?);
    if !listen.value.ip().is_loopback() && !allow_remote.value {
        let wrong = format!("{} can be reached from other machines", listen.value);
        notes.wrong(
            &listen.place,
            wrong,
            "a loopback address, or http.allow_remote = true as well, is allowed",
        );
    }
    Some(Http { listen: listen.value })
}

/// The addresses and listener names that are given away.
#[derive(Default)]
struct Taken {
    addresses: Vec<(SocketAddr, String)>,
    names: Vec<String>,
}

impl Taken {
    /// What SV1 has, as far as known; its listeners were compared with each other.
    fn by(v1: Option<&StratumV1>) -> Self {
        let listeners = v1.map_or(&[][..], |v1| &v1.listeners);
        let owner = |listener: &Listener| format!("stratum_v1 listener \"{}\"", listener.name);
        Self {
            addresses: listeners.iter().map(|listener| (listener.listen, owner(listener))).collect(),
            names: listeners.iter().map(|listener| listener.name.clone()).collect(),
        }
    }

    /// Notes an address that somebody has. Port 0 is a new port each time.
    fn check_address(&self, at: Option<&At<SocketAddr>>, notes: &mut Notes<'_>) {
        let Some(at) = at.filter(|at| at.value.port() != 0) else { return };
        if let Some((address, owner)) = self.addresses.iter().find(|(address, _)| *address == at.value) {
            let wrong = format!("{address} is taken by {owner}");
            notes.wrong(&at.place, wrong, "an address of its own is allowed");
        }
    }

    fn take_address(&mut self, at: Option<&At<SocketAddr>>, notes: &mut Notes<'_>) {
        self.check_address(at, notes);
        self.addresses.extend(at.map(|at| (at.value, at.place.key.clone())));
    }

    fn check_name(&self, at: Option<&At<String>>, notes: &mut Notes<'_>) {
        if let Some(at) = at.filter(|at| self.names.contains(&at.value)) {
            let wrong = format!("\"{}\" is the name of a stratum_v1 listener", at.value);
            notes.wrong(&at.place, wrong, "a name of its own is allowed");
        }
    }
}

fn policies(raw: raw::Policies, base: &Path, notes: &mut Notes<'_>) -> Option<Policies> {
    let lookup = lookup::validate(raw.lookup, base, notes);
    Some(Policies {
        dir: resolved(base, raw.dir)?,
        auth: policy(raw.auth)?,
        vardiff: policy(raw.vardiff)?,
        payout: policy(raw.payout)?,
        lookup: lookup?,
    })
}

fn policy(raw: raw::Policy) -> Option<Policy> {
    let (shadow, shadow_settings) = (raw.shadow.settled()?, raw.shadow_settings?);
    Some(Policy {
        file: value(raw.file)?,
        settings: raw.settings?,
        shadow,
        shadow_settings,
        limits: raw.limits?,
    })
}
