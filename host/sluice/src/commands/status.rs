//! `sluice status`: asks a running pool over HTTP and prints what it says.
//!
//! A GET on a plain socket: one request a connection, stop at the length that was announced.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use super::printable;
use crate::cli::{Status, exit};
use crate::figures;
use crate::http::StratumV2Info;

/// How long one read or write may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest line of a response's head, in bytes.
const LINE_LIMIT: u64 = 16 * 1024;
/// The most lines of a response's head.
const HEADER_LIMIT: usize = 100;
/// The largest body, in bytes.
const BODY_LIMIT: u64 = 16 << 20;

/// Why a pool could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("{0:?} is no address of a pool; one such as http://127.0.0.1:8080 is")]
    Url(String),
    #[error("no pool answers at {address}: {source}; is it running, and is [http] listen this address?")]
    Connect { address: String, source: io::Error },
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("what answered is no pool: {0}")]
    Protocol(&'static str),
    #[error("the pool answered {status}: {message}")]
    Refused { status: u16, message: String },
}

/// A response: its status and its body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// Asks and prints; the returned code is for `main`.
///
/// # Errors
/// Nothing answers, or not as a pool does.
pub fn run(args: &Status, out: &mut dyn Write) -> Result<u8, StatusError> {
    let pool = json(&args.url, "/api/v1/pool")?;
    let policies = json(&args.url, "/api/v1/policies")?;
    let ready = get(&args.url, "/readyz")?;
    let ready = String::from_utf8_lossy(&ready.body).trim().to_owned();
    let money = match json(&args.url, "/api/v1/money") {
        // What the books do not say must not hide the rest.
        Err(StatusError::Refused { message, .. }) => Err(message),
        answer => Ok(answer?),
    };
    if args.json {
        let money = money.unwrap_or_default();
        let all = serde_json::json!({"pool": pool, "policies": policies, "ready": ready, "money": money});
        serde_json::to_writer_pretty(&mut *out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        table(&pool, &policies, &ready, out)?;
        money_rows(&money, out)?;
    }
    Ok(exit::OK)
}

fn json(url: &str, path: &str) -> Result<Value, StatusError> {
    let response = get(url, path)?;
    let value: Value = serde_json::from_slice(&response.body)
        .map_err(|_| StatusError::Protocol("its answer is not JSON"))?;
    if response.status != 200 {
        let message = printable(value["error"]["message"].as_str().unwrap_or("no reason given"));
        return Err(StatusError::Refused { status: response.status, message });
    }
    Ok(value)
}

/// GET `path` from the pool at `url` (`http://host:port`).
///
/// # Errors
/// The URL is wrong, nothing answers in time, or the answer is no HTTP or too large.
pub fn get(url: &str, path: &str) -> Result<Response, StatusError> {
    let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let authority = authority
        .filter(|rest| !rest.is_empty() && !rest.contains(['/', '@', '\r', '\n', ' ']))
        .ok_or_else(|| StatusError::Url(url.to_owned()))?;
    let stream = connect(url, authority)?;
    let mut writer = &stream;
    write!(writer, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    receive(&mut BufReader::new(&stream))
}

fn connect(url: &str, authority: &str) -> Result<TcpStream, StatusError> {
    let ends_with_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if ends_with_port { authority.to_owned() } else { format!("{authority}:80") };
    let refused = |source| StatusError::Connect { address: address.clone(), source };
    let mut last = None;
    for socket in address.to_socket_addrs().map_err(refused)? {
        match TcpStream::connect_timeout(&socket, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| StatusError::Url(url.to_owned()), refused))
}

/// How the end of a body is known.
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

fn receive(reader: &mut impl BufRead) -> Result<Response, StatusError> {
    let first = line(reader)?;
    let status =
        first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    let status = status.ok_or(StatusError::Protocol("it does not speak HTTP/1.1"))?;
    let mut framing = Framing::UntilClose;
    let mut content_type = String::new();
    for _ in 0..HEADER_LIMIT {
        let header = line(reader)?;
        if header.is_empty() {
            let body = body(reader, &framing)?;
            return Ok(Response { status, content_type, body });
        }
        let Some((name, value)) = header.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-type" => value.trim().clone_into(&mut content_type),
            "content-length" => {
                let length =
                    value.trim().parse().map_err(|_| StatusError::Protocol("its length is no number"))?;
                framing = Framing::Length(length);
            }
            "transfer-encoding" if value.trim().eq_ignore_ascii_case("chunked") => framing = Framing::Chunked,
            _ => {}
        }
    }
    Err(StatusError::Protocol("its answer has too many headers"))
}

/// One line without its end.
fn line(reader: &mut impl BufRead) -> Result<String, StatusError> {
    let mut bytes = Vec::new();
    reader.take(LINE_LIMIT).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Err(StatusError::Protocol("its answer ends early, or has too long a line"));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| StatusError::Protocol("its headers are not text"))
}

fn body(reader: &mut impl BufRead, framing: &Framing) -> Result<Vec<u8>, StatusError> {
    let mut body = Vec::new();
    match framing {
        Framing::Length(length) => exactly(reader, *length, &mut body)?,
        Framing::UntilClose => {
            reader.take(BODY_LIMIT + 1).read_to_end(&mut body)?;
            within_limit(body.len() as u64)?;
        }
        Framing::Chunked => loop {
            let size = line(reader)?;
            let digits = size.split(';').next().unwrap_or("").trim();
            let size = u64::from_str_radix(digits, 16)
                .map_err(|_| StatusError::Protocol("a chunk's size is no number"))?;
            if size == 0 {
                break;
            }
            exactly(reader, size, &mut body)?;
            line(reader)?;
        },
    }
    Ok(body)
}

fn exactly(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<(), StatusError> {
    within_limit(length.saturating_add(body.len() as u64))?;
    let read = reader.take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(StatusError::Protocol("its answer ends early")) }
}

fn within_limit(length: u64) -> Result<(), StatusError> {
    if length > BODY_LIMIT { Err(StatusError::Protocol("its answer is too large")) } else { Ok(()) }
}

fn write_row(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:<12} {}", printable(value))
}

fn table(pool: &Value, policies: &Value, ready: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |name: &str, value: String| write_row(out, name, &value);
    row("state", ready.to_owned())?;
    row("network", shown(&pool["network"]))?;
    row("tip", format!("{} {}", shown(&pool["tip"]["height"]), shown(&pool["tip"]["hash"])))?;
    let age = pool["job"]["age_ms"].as_u64().map_or("-".to_owned(), |ms| format!("{} s", ms / 1000));
    row(
        "job",
        format!("{} for height {}, {age} old", shown(&pool["job"]["id"]), shown(&pool["job"]["height"])),
    )?;
    let connections = &pool["connections"];
    let (v1, v2) = (shown(&connections["stratum_v1"]), shown(&connections["stratum_v2"]));
    row("connections", format!("stratum_v1 {v1}, stratum_v2 {v2}"))?;
    let hashrate = sluice_core::units::Hashrate(pool["hashrate"].as_f64().unwrap_or(0.0));
    row("hashrate", hashrate.to_string())?;
    row("accepted", shown(&pool["shares"]["accepted"]))?;
    row("rejected", rejected(&pool["shares"]["rejected"]))?;
    row("blocks", shown(&pool["blocks"]))?;
    row("stratum_v1", carried(pool, "stratum_v1"))?;
    match serde_json::from_value::<StratumV2Info>(pool["stratum_v2"].clone()) {
        Ok(info) => {
            row("stratum_v2", format!("{}; {}", carried(pool, "stratum_v2"), channels(&pool["channels"])))?;
            row("sv2 url", info.url())?;
        }
        Err(_) => row("stratum_v2", "off".to_owned())?,
    }
    for policy in policies.as_array().into_iter().flatten() {
        row(&shown(&policy["kind"]), policy_line(policy))?;
        if policy["shadow"].is_object() {
            row("  shadow", super::policy::shadow_line(&policy["shadow"]))?;
        }
    }
    Ok(())
}

/// What is owed, what the pool has, and what waits; or why it is not known.
fn money_rows(money: &Result<Value, String>, out: &mut dyn Write) -> io::Result<()> {
    let money = match money {
        Ok(money) => money,
        Err(why) => return write_row(out, "owed", &format!("not to be had now: {why}")),
    };
    let (accounts, house) = (&money["accounts"], &money["house"]);
    let owed = format!(
        "{} to {} accounts; {} due now, {} immature",
        bitcoins(&accounts["balance_sat"]),
        shown(&money["creditors"]),
        bitcoins(&accounts["due_sat"]),
        bitcoins(&accounts["immature_sat"])
    );
    write_row(out, "owed", &owed)?;
    let house = format!("{}; {} immature", bitcoins(&house["balance_sat"]), bitcoins(&house["immature_sat"]));
    write_row(out, "house", &house)?;
    for payout in money["open_payouts"].as_array().into_iter().flatten() {
        let (batch, state) = (shown(&payout["batch"]), shown(&payout["state"]));
        let (amount, lines) = (bitcoins(&payout["amount_sat"]), shown(&payout["lines"]));
        write_row(out, "payout batch", &format!("{batch} {state}, {amount} to {lines} accounts"))?;
    }
    let unaccrued = match &money["unaccrued_shares"] {
        Value::Null => String::new(),
        shares => format!(", {} shares to be credited", shown(shares)),
    };
    write_row(out, "held", &format!("{} rounds{unaccrued}", shown(&money["held_rounds"])))
}

/// Satoshis as bitcoins.
fn bitcoins(sat: &Value) -> String {
    let Some(sat) = sat.as_i64() else { return "-".to_owned() };
    let sign = if sat < 0 { "-" } else { "" };
    format!("{sign}{} BTC", figures::bitcoins(sat.unsigned_abs()))
}

/// What came by one protocol.
fn carried(pool: &Value, protocol: &str) -> String {
    let tally = &pool["shares"]["by_protocol"][protocol];
    let (accepted, rejected) = (shown(&tally["accepted"]), rejected(&tally["rejected"]));
    format!("accepted {accepted}, rejected {rejected}")
}

fn channels(open: &Value) -> String {
    format!("channels: standard {}, extended {}", shown(&open["standard"]), shown(&open["extended"]))
}

fn rejected(reasons: &Value) -> String {
    let counts: Vec<String> = reasons
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

fn policy_line(policy: &Value) -> String {
    let hash: String = shown(&policy["hash"]).chars().take(12).collect();
    let (name, version) = (shown(&policy["name"]), shown(&policy["version"]));
    let (generation, calls, traps) =
        (shown(&policy["generation"]), shown(&policy["calls"]), shown(&policy["traps"]));
    let reload = &policy["last_reload"];
    let failed = reload["error"]
        .as_str()
        .map_or(String::new(), |error| format!("; last reload {}: {error}", shown(&reload["outcome"])));
    let pinned = if policy["pinned"] == Value::Bool(true) { ", pinned" } else { "" };
    format!(
        "{name} {version} ({hash}), generation {generation}, {calls} calls, {traps} traps{pinned}{failed}"
    )
}

/// A JSON value as a person reads it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
