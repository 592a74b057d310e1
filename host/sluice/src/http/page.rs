//! The status page: one HTML document that needs nothing else. Every text that comes from outside is escaped here.

mod account;
mod generations;
mod lookup;
mod money;
mod protocols;
mod shadow;

use std::fmt::{self, Display, Write};
use std::time::Duration;

use sluice_core::units::{Hashrate, Timestamp};
use sluice_ledger::MATURITY;

use super::money::MoneyInfo;
use super::plot::{Line, plot};
use super::view::{BlockInfo, CreditInfo, PolicyInfo, PoolInfo, PoolView, Tally, ViewError, WorkerInfo};
use crate::figures::{self, bitcoins};
use crate::metrics::history::{History, Point};
pub(super) use account::{ACCOUNT_ROWS, account};

/// Rows of each table.
const ROWS: usize = 20;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Everything the page shows.
pub(super) struct Page {
    pool: PoolInfo,
    ready: Result<(), String>,
    policies: Result<Vec<PolicyInfo>, ViewError>,
    workers: Result<Vec<WorkerInfo>, ViewError>,
    blocks: Result<Vec<BlockInfo>, ViewError>,
    credits: Result<Vec<CreditInfo>, ViewError>,
    money: Result<MoneyInfo, ViewError>,
    points: Vec<Point>,
    now: Timestamp,
}

impl Page {
    pub(super) async fn gather(view: &dyn PoolView, history: &History, now: Timestamp) -> Self {
        let (policies, workers) = tokio::join!(view.policies(), view.workers(ROWS));
        let (blocks, credits, money) = tokio::join!(view.blocks(ROWS), view.credits(ROWS), view.money());
        let (pool, ready, points) = (view.pool(), view.readiness(), history.points());
        Self { pool, ready, policies, workers, blocks, credits, money, points, now }
    }

    pub(super) fn render(&self) -> String {
        let (network, hashrate) = (escaped(&self.pool.network), Hashrate(self.pool.hashrate));
        let (header, tiles, protocols, plots) = (self.header(), self.tiles(), self.protocols(), self.plots());
        let (policies, blocks, workers) = (self.policies(), self.blocks(), self.workers());
        let (money, credits) = (self.money(), self.credits());
        format!(
            r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<title>{hashrate} · Sluice {network}</title><style>{STYLE}</style></head><body>
<p class="lost" role="alert">The pool does not answer. This is what it said last.</p>
<main>{header}{tiles}{protocols}{plots}{policies}{blocks}{workers}{money}{credits}</main>
<footer>Sluice {version} · <a href="/api/v1/pool">pool</a> <a href="/api/v1/policies">policies</a>
<a href="/api/v1/workers">workers</a> <a href="/api/v1/blocks">blocks</a> <a href="/api/v1/credits">credits</a>
<a href="/api/v1/money">money</a> <a href="/api/v1/balances">balances</a> <a href="/api/v1/payouts">payouts</a>
<a href="/api/v1/history">history</a> <a href="/metrics">metrics</a></footer>
<script>{SCRIPT}</script></body></html>
"#,
            version = env!("CARGO_PKG_VERSION"),
        )
    }

    fn header(&self) -> String {
        let network = escaped(&self.pool.network);
        let state = match &self.ready {
            Ok(()) => r#"<span class="pill good">ready</span>"#.to_owned(),
            Err(why) => format!(r#"<span class="pill bad">not ready: {}</span>"#, escaped(why)),
        };
        let tip = self.pool.tip.as_ref().map_or("no tip yet".to_owned(), |tip| {
            format!("tip {} <code title=\"{1}\">{2}</code>", tip.height, escaped(&tip.hash), tail(&tip.hash))
        });
        format!(
            r#"<header><h1>Sluice</h1><span class="pill">{network}</span>{state}<span class="tip">{tip}</span></header>"#
        )
    }

    fn tiles(&self) -> String {
        let PoolInfo { connections, shares, blocks, job, .. } = &self.pool;
        let (percent, reasons) = rejections(&shares.total);
        let (job, age) = job.as_ref().map_or(("none".to_owned(), "waiting for the node".to_owned()), |job| {
            let age = span(Duration::from_millis(job.age_ms));
            (format!("{}", job.height), format!("job {}, {age} old", escaped(&job.id)))
        });
        let tiles = [
            tile("Hashrate", &Hashrate(self.pool.hashrate).to_string(), "over the last minute"),
            tile(
                "Connections",
                &grouped(connections.stratum_v1 + connections.stratum_v2),
                &format!("V1 {}, V2 {}", grouped(connections.stratum_v1), grouped(connections.stratum_v2)),
            ),
            tile("Accepted", &grouped(shares.total.accepted), "shares since the start"),
            tile("Rejected", &percent, reasons.as_deref().unwrap_or("none rejected")),
            tile("Blocks", &grouped(*blocks), "found by this pool"),
            tile("Working on", &job, &age),
        ];
        format!(r#"<section class="tiles">{}</section>"#, tiles.concat())
    }

    fn plots(&self) -> String {
        if self.points.len() < 2 {
            return card("Last hour", r#"<p class="none">The first points come within seconds.</p>"#);
        }
        let of = |value: fn(&Point) -> f64| -> Vec<(u64, f64)> {
            self.points.iter().map(|point| (point.age_s, value(point))).collect()
        };
        let hashrate = [Line { class: "one", points: of(|point| point.hashrate), filled: true }];
        let shares = [
            Line { class: "two", points: of(|point| point.accepted), filled: true },
            Line { class: "three", points: of(|point| point.rejected), filled: false },
        ];
        let legend = r#"<span class="key two">accepted</span><span class="key three">rejected</span>"#;
        let hashrate = plot("Hashrate over the last hour", &hashrate, |value| {
            Hashrate(value).to_string().replace(".00 ", " ")
        });
        let shares = plot("Shares per second over the last hour", &shares, |value| format!("{value}/s"));
        let hashrate = card("Hashrate", &hashrate);
        let shares = card(&format!("Shares {legend}"), &shares);
        format!(r#"<div class="pair">{hashrate}{shares}</div>"#)
    }

    fn policies(&self) -> String {
        let head = ["", "Plugin", "File", "Hash", "Generation", "Loaded", "Calls", "Traps", "Last reload"];
        let row = |policy: &PolicyInfo| {
            let reload = &policy.last_reload;
            let mut row = format!(
                "<tr><th>{}</th><td>{} {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td><td>{}</td><td>{} {}</td></tr>",
                policy.kind,
                escaped(&policy.name),
                escaped(&policy.version),
                escaped(&policy.file),
                hash(&policy.hash),
                policy.generation,
                self.ago(policy.loaded_at),
                grouped(policy.calls),
                grouped(policy.traps),
                pill(&reload.outcome),
                self.ago(reload.at),
            );
            row.push_str(&generations::rows(policy, self.now));
            if policy.pinned {
                let held = policy.held.as_deref().map_or(String::new(), |held| {
                    format!(": the changed file {} is not applied", hash(held))
                });
                let _ = write!(row, r#"<tr class="pin"><td colspan="9">pinned{held}</td></tr>"#);
            }
            if let Some(error) = &reload.error {
                let _ = write!(row, r#"<tr class="why"><td colspan="9">{}</td></tr>"#, escaped(error));
            }
            if let Some(shadow) = &policy.shadow {
                row.push_str(&shadow::rows(shadow));
            }
            if let Some(lookup) = &policy.lookup {
                row.push_str(&lookup::rows(lookup));
            }
            row
        };
        card("Policies", &table(&head, &self.policies, "No policy is loaded.", row))
    }

    fn blocks(&self) -> String {
        let head = ["Height", "Hash", "State", "Found", "By", "Reward (BTC)"];
        let row = |block: &BlockInfo| {
            let reason =
                block.reason.as_deref().map_or(String::new(), |reason| format!(" {}", escaped(reason)));
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}{reason}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                block.height,
                hash_end(&block.hash),
                state(block),
                self.ago(block.at),
                who(&block.account, &block.worker),
                bitcoins(block.reward_sat),
            )
        };
        card("Blocks", &table(&head, &self.blocks, "No block yet. Proof of work takes its time.", row))
    }

    fn workers(&self) -> String {
        let head = ["Worker", "Protocol", "Hashrate", "Shares", "Work", "Last share"];
        let row = |worker: &WorkerInfo| {
            format!(
                "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                account::link(&worker.account),
                who(&worker.account, &worker.worker),
                if worker.protocol.label() == "stratum_v1" { "V1" } else { "V2" },
                Hashrate(worker.hashrate),
                grouped(worker.shares),
                Short(worker.work),
                self.ago(worker.last_share_at),
            )
        };
        let none = "No miner has sent a share yet. Point one at a listener.";
        card("Workers", &table(&head, &self.workers, none, row))
    }

    fn credits(&self) -> String {
        let head = ["Account", "Amount (BTC)", "Block or shares", "When", "For", "Decided by"];
        let row = |credit: &CreditInfo| {
            let account = if credit.account.is_empty() { "the pool" } else { &credit.account };
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                who(account, ""),
                bitcoins(credit.amount_sat),
                source(credit),
                self.ago(credit.at),
                escaped(&credit.reason),
                hash(&credit.policy_hash),
            )
        };
        card("Credits", &table(&head, &self.credits, "Nothing was shared out yet.", row))
    }

    fn ago(&self, at: Timestamp) -> String {
        ago(self.now, at)
    }
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    format!("{} ago", span(Duration::from_millis(now.0.saturating_sub(at.0))))
}

fn tile(name: &str, value: &str, note: &str) -> String {
    format!(
        r#"<div class="tile"><h2>{name}</h2><p class="value">{value}</p><p class="note">{note}</p></div>"#
    )
}

fn card(title: &str, body: &str) -> String {
    format!(r#"<section class="card"><h2>{title}</h2>{body}</section>"#)
}

fn table<T>(
    head: &[&str],
    rows: &Result<Vec<T>, ViewError>,
    none: &str,
    row: impl Fn(&T) -> String,
) -> String {
    match rows {
        Err(error) => format!(r#"<p class="none">Not to be had now: {}</p>"#, escaped(&error.0)),
        Ok(rows) => list(head, rows.get(..ROWS).unwrap_or(rows), none, row),
    }
}

fn list<T>(head: &[&str], rows: &[T], none: &str, row: impl Fn(&T) -> String) -> String {
    if rows.is_empty() {
        return format!(r#"<p class="none">{none}</p>"#);
    }
    let head: String = head.iter().map(|name| format!("<th>{name}</th>")).collect();
    let body: String = rows.iter().map(row).collect();
    format!(r#"<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"#)
}

/// What part of the shares was rejected, and why where there are any.
fn rejections(tally: &Tally) -> (String, Option<String>) {
    let rejected: u64 = tally.rejected.values().sum();
    let all = tally.accepted.saturating_add(rejected);
    let percent = if all == 0 { 0.0 } else { rejected as f64 * 100.0 / all as f64 };
    let mut reasons: Vec<_> = tally.rejected.iter().filter(|(_, count)| **count > 0).collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let reasons: Vec<String> = reasons
        .into_iter()
        .map(|(reason, count)| format!("{} {}", escaped(&reason.replace('_', " ")), grouped(*count)))
        .collect();
    (format!("{percent:.2} %"), (!reasons.is_empty()).then(|| reasons.join(", ")))
}

fn pill(word: &str) -> String {
    let class = match word {
        "applied" | "accepted" | "immature" | "mature" | "active" | "sent" | "confirmed" => "good",
        "rejected" | "orphaned" | "rolled_back" | "cancelled" => "bad",
        _ => "",
    };
    format!(r#"<span class="pill {class}">{}</span>"#, escaped(&word.replace('_', " ")))
}

/// How far an immature block has come is part of its state.
fn state(block: &BlockInfo) -> String {
    let pill = pill(&block.state);
    if block.state == "immature" { format!("{pill} {} of {MATURITY}", block.confirmations) } else { pill }
}

fn who(account: &str, worker: &str) -> String {
    let dot = if worker.is_empty() { "" } else { "." };
    let full = format!("{account}{dot}{worker}");
    format!(
        r#"<span class="who" title="{0}">{1}{dot}{2}</span>"#,
        escaped(&full),
        middle(account),
        escaped(worker)
    )
}

/// What a credit is for: a block by its height, or shares by their numbers.
fn source(credit: &CreditInfo) -> String {
    match (credit.height, credit.shares) {
        (Some(height), _) if credit.state.as_deref() == Some("orphaned") => {
            format!("{height} {}", pill("orphaned"))
        }
        (Some(height), _) => height.to_string(),
        (None, Some([first, through])) => format!("{} to {}", grouped(first), grouped(through)),
        (None, None) => String::new(),
    }
}

/// The first twelve digits.
fn hash(text: &str) -> String {
    let short: String = text.chars().take(12).collect();
    format!(r#"<code title="{}">{}</code>"#, escaped(text), escaped(&short))
}

/// Block hashes begin with zeros: the end tells them apart.
fn hash_end(text: &str) -> String {
    format!(r#"<code title="{}">{}</code>"#, escaped(text), tail(text))
}

fn tail(text: &str) -> String {
    let start = text.char_indices().rev().nth(15).map_or(0, |(index, _)| index);
    let dots = if start > 0 { "…" } else { "" };
    format!("{dots}{}", escaped(&text[start..]))
}

/// Long addresses without their middle.
fn middle(text: &str) -> String {
    if text.len() <= 24 || !text.is_ascii() {
        return escaped(text).to_string();
    }
    format!("{}…{}", escaped(&text[..12]), escaped(&text[text.len() - 8..]))
}

fn signed_bitcoins(sat: i64) -> String {
    let sign = if sat < 0 { "−" } else { "" };
    format!("{sign}{}", bitcoins(sat.unsigned_abs()))
}

/// With narrow spaces that do not break.
fn grouped(number: u64) -> String {
    figures::grouped(number, '\u{202f}')
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A sum of difficulties in four digits or so.
struct Short(f64);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value == 0.0 || (0.01..100_000.0).contains(&value) => write!(f, "{value:.2}"),
            value => write!(f, "{value:.3e}"),
        }
    }
}

/// Text from outside, in a form that HTML takes for text, in elements and in quoted attributes.
struct Escaped<'a>(&'a str);

fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text)
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_str("\u{fffd}")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
