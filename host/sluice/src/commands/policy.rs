//! `sluice policy`: asks the running pool through its control socket, and prints what it says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sluice_core::policy::PolicyKind;
use sluice_policy::Budgets;

use super::printable;
use crate::cli::{Policy, PolicyCommand, exit};
use crate::config::Config;
use crate::control::{ANSWER_LIMIT, Answer, FILE, ORDER_LIMIT, Request};

/// How long the pool may take to take a request.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// Beyond what an order may take.
const ANSWER_SLACK: Duration = Duration::from_secs(10);

/// Why a running pool could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum PolicyCommandError {
    #[error("no pool answers at {path}: {source}; is one running on this data directory, as this user?", path = path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the pool did not answer: {0}")]
    Io(#[from] io::Error),
    #[error("what answered is no pool: {0}")]
    Protocol(String),
    #[error("{0}")]
    Refused(String),
}

/// Asks and prints; the returned code is for `main`. What is wrong with the configuration goes to `notes`.
///
/// # Errors
/// [`PolicyCommandError`].
pub fn run(args: &Policy, out: &mut dyn Write, notes: &mut dyn Write) -> Result<u8, PolicyCommandError> {
    let (file, request) = match &args.command {
        PolicyCommand::Status(args) => (&args.config, Request::Status),
        PolicyCommand::Promote(args) => {
            let (kind, reason) = (args.change.kind, args.change.reason.clone());
            (&args.change.config, Request::Promote { kind, reason })
        }
        PolicyCommand::Rollback(args) => {
            let (kind, reason, to) = (args.change.kind, args.change.reason.clone(), args.to.clone());
            (&args.change.config, Request::Rollback { kind, to, reason })
        }
        PolicyCommand::Pin(args) => {
            let (kind, reason) = (args.change.kind, args.change.reason.clone());
            (&args.change.config, Request::Pin { kind, reason })
        }
        PolicyCommand::Unpin(args) => {
            let (kind, reason) = (args.change.kind, args.change.reason.clone());
            (&args.change.config, Request::Unpin { kind, reason })
        }
    };
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(errors) => {
            writeln!(notes, "{errors}")?;
            return Ok(exit::USAGE);
        }
    };
    let told = ask(&config.data_dir.join(FILE), &request)?;
    match &args.command {
        PolicyCommand::Status(args) => show(&told, args.kind, args.json, out)?,
        _ => done(&told, out)?,
    }
    Ok(exit::OK)
}

/// Sends one request to the socket at `path`.
///
/// # Errors
/// Nobody answers, or the answer is a refusal.
pub fn ask(path: &Path, request: &Request) -> Result<Value, PolicyCommandError> {
    let connect = |source| PolicyCommandError::Connect { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(connect)?;
    stream.set_write_timeout(Some(SEND_LIMIT))?;
    stream.set_read_timeout(Some(ORDER_LIMIT + ANSWER_SLACK))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(ANSWER_LIMIT)).read_until(b'\n', &mut answer)?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ok(value)) => Ok(value),
        Ok(Answer::Error(why)) => Err(PolicyCommandError::Refused(printable(&why))),
        Err(error) => Err(PolicyCommandError::Protocol(error.to_string())),
    }
}

fn done(told: &Value, out: &mut dyn Write) -> io::Result<()> {
    let pinned = if told["pinned"] == Value::Bool(true) { ", pinned" } else { "" };
    let (kind, name, version) = (text(&told["kind"]), text(&told["name"]), text(&told["version"]));
    let generation = text(&told["generation"]);
    writeln!(
        out,
        "{kind}: {name} {version} ({}) serves as generation {generation}{pinned}",
        short(&told["hash"])
    )
}

fn show(told: &Value, kind: Option<PolicyKind>, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let wanted = |slot: &&Value| kind.is_none_or(|kind| slot["kind"] == kind.label());
    let slots: Vec<&Value> = told.as_array().into_iter().flatten().filter(wanted).collect();
    if json {
        serde_json::to_writer_pretty(&mut *out, &slots)?;
        return writeln!(out);
    }
    for slot in slots {
        let policy = &slot["policy"];
        writeln!(out, "{:<8} {}", text(&slot["kind"]), serving(policy))?;
        figures(policy).iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        if policy["shadow"].is_object() {
            show_shadow(&policy["shadow"], out)?;
        }
        for entry in slot["history"].as_array().into_iter().flatten() {
            writeln!(out, "  {}", change(entry))?;
        }
    }
    Ok(())
}

fn serving(policy: &Value) -> String {
    let pinned = match &policy["held"] {
        Value::String(held) => format!(", pinned; {} is not applied", short(&Value::String(held.clone()))),
        _ if policy["pinned"] == Value::Bool(true) => ", pinned".to_owned(),
        _ => String::new(),
    };
    let (name, version, state) = (text(&policy["name"]), text(&policy["version"]), text(&policy["state"]));
    let generation = text(&policy["generation"]);
    format!("{name} {version} ({}), generation {generation}, {state}{pinned}", short(&policy["hash"]))
}

/// What a call may use beside what one has used, the last failure, and each generation's counts.
fn figures(policy: &Value) -> Vec<String> {
    let budgets = serde_json::from_value::<Budgets>(policy["budgets"].clone());
    let mut lines: Vec<String> = budgets.iter().map(ToString::to_string).collect();
    let count = |name: &str| policy[name].as_u64().unwrap_or(0);
    if count("unavailable") + count("queue_full") > 0 {
        let (backing_off, full) = (count("unavailable"), count("queue_full"));
        lines.push(format!("default given: {backing_off} while backing off, {full} with the queue full"));
    }
    let failure = &policy["last_failure"];
    if failure.is_object() {
        let at = time(failure["at"].as_i64().unwrap_or(0));
        let (generation, cause) = (text(&failure["generation"]), text(&failure["cause"]));
        let mut line =
            format!("last failure {at}, generation {generation}, {cause}: {}", text(&failure["why"]));
        if failure["said"].is_string() {
            line.push_str(&format!("; it last said: {}", text(&failure["said"])));
        }
        lines.push(line);
    }
    lines.extend(policy["generations"].as_array().into_iter().flatten().map(generation));
    lines
}

fn generation(one: &Value) -> String {
    let count = |name: &str| one[name].as_u64().unwrap_or(0);
    let mut line =
        format!("generation {} ({}): {} calls", count("generation"), short(&one["hash"]), count("calls"));
    if let Some(micros) = one["latency"]["p99_micros"].as_u64().filter(|micros| *micros > 0) {
        line.push_str(&format!(", {micros} us at p99"));
    }
    for (name, what) in [
        ("traps", "traps"),
        ("bad_answers", "bad answers"),
        ("internal", "errors"),
        ("bad_input", "refused inputs"),
        ("log_dropped", "log lines dropped"),
    ] {
        if count(name) > 0 {
            line.push_str(&format!(", {} {what}", count(name)));
        }
    }
    let causes = one["traps_by_cause"].as_object().into_iter().flatten();
    let causes = causes.filter_map(|(cause, count)| count.as_u64().filter(|count| *count > 0).map(|_| cause));
    let causes: Vec<&str> = causes.map(String::as_str).collect();
    if !causes.is_empty() {
        line.push_str(&format!(" (stopped for {})", causes.join(", ")));
    }
    line
}

fn show_shadow(shadow: &Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  shadow {}", shadow_line(shadow))?;
    for example in shadow["examples"].as_array().into_iter().flatten().take(5) {
        writeln!(out, "    {}", text(&example["input"]))?;
        writeln!(out, "      serves: {}", text(&example["live"]))?;
        writeln!(out, "      shadow: {}", text(&example["shadow"]))?;
    }
    Ok(())
}

/// A shadow in one line, from the API or the control socket.
pub(super) fn shadow_line(shadow: &Value) -> String {
    let count = |name: &str| shadow[name].as_u64().unwrap_or(0);
    let mut line = format!(
        "{} {} ({}), {}: {} of {} agree, {} differ",
        text(&shadow["name"]),
        text(&shadow["version"]),
        short(&shadow["hash"]),
        text(&shadow["state"]),
        count("agreed"),
        count("compared"),
        count("differed"),
    );
    for (name, what) in
        [("failed", "failed"), ("traps", "traps"), ("dropped", "dropped"), ("skipped", "skipped")]
    {
        if count(name) > 0 {
            line.push_str(&format!(", {} {what}", count(name)));
        }
    }
    let nanos = shadow["latency"]["mean_nanos"].as_u64().or_else(|| shadow["call_mean_nanos"].as_u64());
    if let Some(nanos) = nanos.filter(|nanos| *nanos > 0) {
        line.push_str(&format!(", {} us a call", nanos.div_ceil(1000)));
    }
    if let Some(error) = shadow["error"].as_str() {
        line.push_str(&format!("; its file is refused: {}", printable(error)));
    }
    line
}

fn change(entry: &Value) -> String {
    let at = entry["at"].as_i64().unwrap_or(0);
    let mut line = format!("{} {} {}", time(at), text(&entry["action"]), short(&entry["to"]));
    if entry["from"].is_string() {
        line.push_str(&format!(" after {}", short(&entry["from"])));
    }
    line.push_str(&format!(" by {}", text(&entry["who"])));
    match entry["why"].as_str() {
        None | Some("") => line,
        Some(why) => format!("{line}: {}", printable(why)),
    }
}

/// Milliseconds since 1970 as a date and time in UTC.
fn time(millis: i64) -> String {
    let seconds = millis.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1970 to a date of the Gregorian calendar, in years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}", year + era * 400)
}

fn short(hash: &Value) -> String {
    text(hash).chars().take(12).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
