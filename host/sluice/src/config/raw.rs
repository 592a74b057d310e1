//! The configuration as it was written: every key right by itself, none compared with another yet.
//!
//! `None` means wrong or missing, and that a problem is noted.

mod limits;
mod lookup;
mod pool;
mod stratum_v2;

use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::Network;
use sluice_core::policy::PolicyKind;
use sluice_core::units::{Difficulty, VersionMask};
use sluice_policy::Limits;
use tracing_subscriber::EnvFilter;

use super::address_range::AddressRange;
use super::problem::quoted;
use super::reader::{At, Given, Place, Section};
use super::{Durability, LogFormat, ProxyProtocol, Settings};
pub(super) use lookup::{Grant, Lookup};
pub(super) use pool::{CoinbaseClass, Pool};
pub(super) use stratum_v2::StratumV2;

/// The longest name of a listener or a class, in bytes.
const NAME_LIMIT: usize = 32;
/// More nodes than this do not help.
const NODE_LIMIT: usize = 16;
const LISTENER_LIMIT: usize = 64;
pub(super) const DAY_S: u64 = 86_400;
/// More than all bitcoins are never owed.
const MINIMUM_SAT_LIMIT: u64 = 1 << 51;
/// No output below it is passed on by Bitcoin Core, whatever its script.
const DUST_SAT: u64 = 546;
/// A hundred years.
const RETENTION_DAYS_LIMIT: u64 = 36_500;
/// What [`name`] takes.
const NAME: &str = "1 to 32 letters, digits, - and _";
/// What [`socket`] takes.
const ADDRESS: &str = "an address with a port";

pub(super) const NETWORKS: [(&str, Network); 4] = [
    ("main", Network::Bitcoin),
    ("testnet4", Network::Testnet4),
    ("signet", Network::Signet),
    ("regtest", Network::Regtest),
];

pub(super) struct Raw {
    pub(super) network: Option<At<Network>>,
    pub(super) data_dir: Option<At<String>>,
    pub(super) pool: Pool,
    pub(super) nodes: Vec<Node>,
    pub(super) simulation: Simulation,
    pub(super) stratum_v1: StratumV1,
    pub(super) stratum_v2: StratumV2,
    pub(super) policy: Policies,
    pub(super) ledger: Ledger,
    pub(super) payouts: Payouts,
    pub(super) http: Http,
    pub(super) log: Log,
}

pub(super) struct Node {
    pub(super) place: Place,
    pub(super) url: Option<At<NodeUrl>>,
    pub(super) cookie: Given<String>,
    pub(super) user: Given<String>,
    pub(super) password: Given<String>,
}

/// Host and, if it was written, port.
#[derive(Clone)]
pub(super) struct NodeUrl {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

pub(super) struct Simulation {
    pub(super) enabled: Option<At<bool>>,
    pub(super) difficulty: Option<At<Difficulty>>,
    pub(super) transactions: Option<At<u64>>,
    pub(super) block_interval: Option<At<Duration>>,
    pub(super) start_height: Option<At<u64>>,
}

pub(super) struct StratumV1 {
    pub(super) listeners: Vec<Listener>,
    pub(super) extranonce2_size: Option<At<u64>>,
    pub(super) version_mask: Option<At<VersionMask>>,
    pub(super) line_limit: Option<At<u64>>,
    pub(super) subscribe_timeout: Option<At<Duration>>,
    pub(super) authorize_timeout: Option<At<Duration>>,
    pub(super) idle_timeout: Option<At<Duration>>,
    pub(super) refresh: Option<At<Duration>>,
    pub(super) stale_grace_ms: Option<At<u64>>,
    pub(super) no_work_grace: Option<At<Duration>>,
    pub(super) door: Door,
    pub(super) messages_per_minute: Option<At<u64>>,
    pub(super) workers_per_connection: Option<At<u64>>,
    pub(super) rejected_in_a_row: Option<At<u64>>,
}

/// Keys of the same names and meanings for both protocols.
pub(super) struct Door {
    pub(super) max_connections: Option<At<u64>>,
    pub(super) max_connections_per_address: Option<At<u64>>,
    pub(super) reconnects_per_minute: Option<At<u64>>,
    pub(super) ban: Option<At<Duration>>,
    pub(super) never_ban: Option<At<Vec<AddressRange>>>,
}

pub(super) struct Listener {
    pub(super) front: Front,
    pub(super) tls: Option<Tls>,
}

/// What every address that miners connect to has, with either protocol.
pub(super) struct Front {
    pub(super) name: Option<At<String>>,
    pub(super) listen: Option<At<SocketAddr>>,
    pub(super) proxy_protocol: Option<At<ProxyProtocol>>,
    pub(super) start_difficulty: Option<At<Difficulty>>,
    pub(super) minimum_difficulty: Option<At<Difficulty>>,
    pub(super) maximum_difficulty: Option<At<Difficulty>>,
}

pub(super) struct Tls {
    pub(super) certificate: Option<At<String>>,
    pub(super) key: Option<At<String>>,
}

pub(super) struct Policies {
    pub(super) dir: Option<At<String>>,
    pub(super) auth: Policy,
    pub(super) vardiff: Policy,
    pub(super) payout: Policy,
    /// Of the auth policy, which alone may look something up.
    pub(super) lookup: Lookup,
}

pub(super) struct Policy {
    pub(super) file: Option<At<String>>,
    pub(super) settings: Option<Settings>,
    pub(super) shadow: Given<String>,
    pub(super) shadow_settings: Option<Settings>,
    pub(super) limits: Option<Limits>,
}

pub(super) struct Ledger {
    pub(super) durability: Option<At<Durability>>,
    pub(super) retention_days: Option<At<u64>>,
    pub(super) accrue_interval: Option<At<Duration>>,
}

pub(super) struct Payouts {
    pub(super) minimum_sat: Option<At<u64>>,
    pub(super) max_lines: Option<At<u64>>,
    pub(super) confirmations: Option<At<u64>>,
}

pub(super) struct Http {
    pub(super) listen: Option<At<SocketAddr>>,
    pub(super) allow_remote: Option<At<bool>>,
}

pub(super) struct Log {
    pub(super) format: Option<At<LogFormat>>,
    pub(super) filter: Option<At<String>>,
}

pub(super) fn read(root: &mut Section<'_, '_>) -> Raw {
    Raw {
        network: root.required_word("network", &NETWORKS),
        data_dir: root.required("data_dir", "the path of a directory", path),
        pool: root.section("pool", pool::read),
        nodes: root.sections("node", NODE_LIMIT, node),
        simulation: root.section("simulation", simulation),
        stratum_v1: root.section("stratum_v1", stratum_v1),
        stratum_v2: root.section("stratum_v2", stratum_v2::read),
        policy: root.section("policy", policies),
        ledger: root.section("ledger", ledger),
        payouts: root.section("payouts", payouts),
        http: root.section("http", |http| Http {
            listen: http.parsed("listen", "127.0.0.1:8080", ADDRESS, socket),
            allow_remote: http.switch("allow_remote", false),
        }),
        log: root.section("log", |log| Log {
            format: log.word("format", "text", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            filter: log.parsed("filter", "info", "a filter such as \"info,sluice=debug\"", filter),
        }),
    }
}

fn ledger(ledger: &mut Section<'_, '_>) -> Ledger {
    let words = [("process", Durability::Process), ("power", Durability::Power)];
    Ledger {
        durability: ledger.word("durability", "process", &words),
        retention_days: ledger.integer("retention_days", 0, 0..=RETENTION_DAYS_LIMIT),
        accrue_interval: ledger.seconds("accrue_interval_s", 600, 1..=DAY_S),
    }
}

fn payouts(payouts: &mut Section<'_, '_>) -> Payouts {
    Payouts {
        minimum_sat: payouts.integer("minimum_sat", 100_000, DUST_SAT..=MINIMUM_SAT_LIMIT),
        max_lines: payouts.integer("max_lines", 500, 1..=2000),
        confirmations: payouts.integer("confirmations", 6, 1..=100),
    }
}

fn node(node: &mut Section<'_, '_>) -> Node {
    Node {
        place: node.place(),
        url: node.required("url", "an address such as \"http://127.0.0.1:8332\"", node_url),
        cookie: node.optional("cookie", "the path of the node's cookie file", path),
        user: node.optional("user", "a name", not_empty),
        password: node.optional("password", "a text that is not empty", not_empty),
    }
}

fn simulation(simulation: &mut Section<'_, '_>) -> Simulation {
    Simulation {
        enabled: simulation.switch("enabled", false),
        difficulty: simulation.difficulty("difficulty", 0.001),
        transactions: simulation.integer("transactions", 200, 0..=10_000),
        block_interval: simulation.seconds("block_interval_s", 60, 0..=DAY_S),
        start_height: simulation.integer("start_height", 1000, 1..=100_000_000),
    }
}

fn stratum_v1(v1: &mut Section<'_, '_>) -> StratumV1 {
    StratumV1 {
        listeners: v1.sections("listener", LISTENER_LIMIT, listener),
        extranonce2_size: v1.integer("extranonce2_size", 8, 4..=8),
        version_mask: v1.parsed("version_mask", "1fffe000", "8 hex digits within 1fffe000 (BIP 320)", mask),
        line_limit: v1.integer("line_limit", 8192, 1024..=65_536),
        subscribe_timeout: v1.seconds("subscribe_timeout_s", 30, 1..=3600),
        authorize_timeout: v1.seconds("authorize_timeout_s", 60, 1..=3600),
        idle_timeout: idle_timeout(v1),
        refresh: v1.seconds("refresh_s", 30, 1..=600),
        stale_grace_ms: stale_grace_ms(v1),
        no_work_grace: v1.seconds("no_work_grace_s", 300, 0..=DAY_S),
        door: door(v1),
        messages_per_minute: messages_per_minute(v1),
        workers_per_connection: v1.integer("workers_per_connection", 128, 1..=10_000),
        rejected_in_a_row: rejected_in_a_row(v1),
    }
}

fn idle_timeout(protocol: &mut Section<'_, '_>) -> Option<At<Duration>> {
    protocol.seconds("idle_timeout_s", 600, 10..=DAY_S)
}

fn stale_grace_ms(protocol: &mut Section<'_, '_>) -> Option<At<u64>> {
    protocol.integer("stale_grace_ms", 2000, 0..=5000)
}

fn messages_per_minute(protocol: &mut Section<'_, '_>) -> Option<At<u64>> {
    protocol.integer("messages_per_minute", 6000, 60..=1_000_000_000)
}

fn rejected_in_a_row(protocol: &mut Section<'_, '_>) -> Option<At<u64>> {
    protocol.integer("rejected_in_a_row", 1000, 0..=1_000_000)
}

fn door(protocol: &mut Section<'_, '_>) -> Door {
    Door {
        max_connections: protocol.integer("max_connections", 20_000, 1..=1_000_000),
        max_connections_per_address: protocol.integer("max_connections_per_address", 1000, 1..=1_000_000),
        reconnects_per_minute: protocol.integer("reconnects_per_minute", 120, 1..=1_000_000),
        ban: protocol.seconds("ban_s", 600, 0..=30 * DAY_S),
        never_ban: protocol.list(
            "never_ban",
            &["127.0.0.0/8", "::1/128"],
            "an address or a range such as \"10.0.0.0/8\"",
            |text| text.parse::<AddressRange>().map_err(|_| format!("{} is no range", quoted(text))),
        ),
    }
}

/// The listener that is there when none is configured.
pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:3333";
pub(super) const DEFAULT_NAME: &str = "main";
pub(super) const DEFAULT_START: f64 = 1024.0;
pub(super) const DEFAULT_FLOOR: f64 = 1.0;
pub(super) const DEFAULT_CEILING: f64 = 1e15;

fn listener(listener: &mut Section<'_, '_>) -> Listener {
    Listener {
        front: front(listener, DEFAULT_NAME, DEFAULT_LISTEN),
        tls: listener.section("tls", |tls| tls.is_given().then(|| read_tls(tls))),
    }
}

fn front(section: &mut Section<'_, '_>, default_name: &'static str, default_listen: &'static str) -> Front {
    let words = [
        ("off", ProxyProtocol::Off),
        ("v1", ProxyProtocol::V1),
        ("v2", ProxyProtocol::V2),
        ("any", ProxyProtocol::Any),
    ];
    Front {
        name: section.parsed("name", default_name, NAME, name),
        listen: section.parsed("listen", default_listen, ADDRESS, socket),
        proxy_protocol: section.word("proxy_protocol", "off", &words),
        start_difficulty: section.difficulty("start_difficulty", DEFAULT_START),
        minimum_difficulty: section.difficulty("minimum_difficulty", DEFAULT_FLOOR),
        maximum_difficulty: section.difficulty("maximum_difficulty", DEFAULT_CEILING),
    }
}

fn read_tls(tls: &mut Section<'_, '_>) -> Tls {
    Tls {
        certificate: tls.required("certificate", "the path of a PEM file", path),
        key: tls.required("key", "the path of a PEM file", path),
    }
}

fn policies(policies: &mut Section<'_, '_>) -> Policies {
    let dir = policies.required("dir", "the path of the directory that holds the plugins", path);
    let (auth, lookup) = policies.section("auth", |section| {
        (policy(section, PolicyKind::Auth, "auth-address.wasm"), lookup::read(section))
    });
    let mut without_lookups = |kind: PolicyKind, file| {
        policies.section(kind.label(), |section| {
            for key in ["lookup", "lookup_limits"] {
                section.misplaced(key, "only an auth policy may look something up: policy.auth has this key");
            }
            policy(section, kind, file)
        })
    };
    let vardiff = without_lookups(PolicyKind::Vardiff, "vardiff-steady.wasm");
    let payout = without_lookups(PolicyKind::Payout, "payout-solo.wasm");
    Policies { dir, auth, vardiff, payout, lookup }
}

fn policy(policy: &mut Section<'_, '_>, kind: PolicyKind, file: &'static str) -> Policy {
    let file = policy.parsed("file", file, "the name of a .wasm file in policy.dir", wasm);
    let settings = policy.free_table("settings");
    let shadow = policy.optional("shadow", "the name of a .wasm file in policy.dir", wasm);
    let shadow_settings = policy.free_table("shadow_settings");
    let limits = policy.section("limits", |section| limits::read(section, kind));
    Policy { file, settings, shadow, shadow_settings, limits }
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn path(text: &str) -> Result<String, String> {
    if text.contains('\0') { Err("holds a zero byte".to_owned()) } else { not_empty(text) }
}

fn printable(text: &str, limit: usize) -> Result<String, String> {
    if text.len() > limit {
        return Err(format!("has {} bytes", text.len()));
    }
    match text.chars().find(|c| !matches!(c, ' '..='~')) {
        Some(found) => Err(format!("holds {found:?}")),
        None => Ok(text.to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=NAME_LIMIT).contains(&text.len());
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits && plain { Ok(text.to_owned()) } else { Err(format!("{} is no name", quoted(text))) }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{} is no IP address with a port", quoted(text)))
}

fn mask(text: &str) -> Result<VersionMask, String> {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = u32::from_str_radix(text, 16).ok().filter(|_| digits);
    let mask = bits.ok_or_else(|| format!("{} is not 8 hex digits", quoted(text)))?;
    if VersionMask::BIP320.allows(mask) {
        Ok(VersionMask(mask))
    } else {
        Err(format!("{} has bits that consensus or BIP 320 needs otherwise", quoted(text)))
    }
}

fn wasm(text: &str) -> Result<String, String> {
    let plain = !text.contains(['/', '\\', '\0']) && !text.starts_with('.');
    if plain && text.len() > ".wasm".len() && text.ends_with(".wasm") {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is not allowed", quoted(text)))
    }
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{} is no filter ({error})", quoted(text)))
}

fn node_url(text: &str) -> Result<NodeUrl, String> {
    let refused = |why: &str| Err(format!("{} {why}", quoted(text)));
    let Some(rest) = text.strip_prefix("http://") else {
        return refused("does not begin with http:// (bitcoind speaks nothing else)");
    };
    if rest.contains('@') {
        // Not quoted: it may hold a password.
        return Err("holds credentials, which belong in `user` and `password`".to_owned());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of a bare IPv6 address are inside brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || !(bracketed || host.bytes().all(plain)) {
        return refused("has no host, or more than a host and a port");
    }
    match port.map(str::parse::<u16>).transpose() {
        Ok(port) if port != Some(0) => Ok(NodeUrl { host: host.to_owned(), port }),
        _ => refused("has a port that is not from 1 to 65535"),
    }
}
