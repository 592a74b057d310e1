//! The page of one account: for its owner, without a script.

use std::fmt::Write;

use sluice_core::units::{Hashrate, Timestamp};

use super::{
    STYLE, Short, ago, bitcoins, card, escaped, grouped, hash, hash_end, list, pill, signed_bitcoins, source,
    state, tile,
};
use crate::http::money::{AccountInfo, AccountPayoutInfo, AccountWorkerInfo, Forecast, NextBlock};
use crate::http::view::{BlockInfo, CreditInfo};

/// Rows of each table.
pub(in crate::http) const ACCOUNT_ROWS: usize = 50;

/// Where an account's page is.
pub(super) fn link(account: &str) -> String {
    let mut path = String::from("/accounts/");
    for byte in account.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(char::from(byte)),
            other => {
                // A String takes everything.
                let _ = write!(path, "%{other:02X}");
            }
        }
    }
    path
}

/// The whole document.
pub(in crate::http) fn account(account: &AccountInfo, now: Timestamp) -> String {
    let name = escaped(&account.account);
    let address = account.address.as_ref().map_or("no payout address is known".to_owned(), |address| {
        format!("paid to <code>{}</code>", escaped(address))
    });
    let held = account.held.as_ref().map_or(String::new(), |reason| {
        format!(r#"<span class="pill bad">nothing is paid out: {}</span>"#, escaped(reason))
    });
    let (tiles, next, workers) = (tiles(account), next_block(&account.forecast), workers(account, now));
    let (credits, payouts, blocks) = (credits(account, now), payouts(account, now), blocks(account, now));
    let json = format!("/api/v1{}", link(&account.account));
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="30"><link rel="icon" href="data:,">
<title>{name} · Sluice</title><style>{STYLE}</style></head><body>
<main><header><h1>Sluice</h1><span class="pill">{name}</span>{held}<span class="tip">{address}</span></header>
{tiles}{next}{workers}{credits}{payouts}{blocks}</main>
<footer><a href="/">pool</a> <a href="{json}">as JSON</a></footer></body></html>
"#
    )
}

fn tiles(account: &AccountInfo) -> String {
    let (owed, done) = (&account.owed, &account.done);
    let immature = format!("{} of it immature", signed_bitcoins(owed.immature_sat));
    let minimum = account.minimum_sat.map_or("paid from the pool's minimum on".to_owned(), |sat| {
        format!("paid from {} on", bitcoins(sat))
    });
    let tiles = [
        tile("Balance (BTC)", &signed_bitcoins(owed.balance_sat), &immature),
        tile("Due now (BTC)", &bitcoins(owed.due_sat), &minimum),
        tile("Hashrate", &Hashrate(done.hashrate).to_string(), "over ten minutes"),
        tile("Shares", &grouped(done.shares), "accepted"),
        tile("Work", &Short(done.work).to_string(), &format!("{} in ten minutes", Short(done.recent_work))),
    ];
    format!(r#"<section class="tiles">{}</section>"#, tiles.concat())
}

fn next_block(forecast: &Forecast) -> String {
    let body = match forecast {
        Forecast::Unknown { reason } => format!(r#"<p class="none">Not known: {}</p>"#, escaped(reason)),
        Forecast::Known(next) => known(next),
    };
    card("If the pool found the next block now", &body)
}

fn known(next: &NextBlock) -> String {
    let NextBlock { reward_sat, credit_sat, output_sat, accrues, policy } = next;
    let (reward, credit, output) = (bitcoins(*reward_sat), bitcoins(*credit_sat), bitcoins(*output_sat));
    let note = match (accrues, output_sat) {
        (true, _) => "Work is credited as it comes, whether or not a block is found.".to_owned(),
        (false, 0) => "The coinbase has no output for this account; what it earns is owed to it.".to_owned(),
        (false, _) => format!("An output of the coinbase pays it {output}."),
    };
    let (name, version, hash) = (escaped(&policy.name), escaped(&policy.version), hash(&policy.hash));
    let by = format!("As {name} {version} ({hash}) divides the work so far.");
    format!(
        r#"<p>It would bring {reward} BTC, and this account {credit} of it. {note}</p><p class="note">{by}</p>"#
    )
}

fn workers(account: &AccountInfo, now: Timestamp) -> String {
    let head = ["Worker", "Protocol", "Hashrate", "Shares", "Work", "In ten minutes", "Last share"];
    let row = |worker: &AccountWorkerInfo| {
        let name = if worker.worker.is_empty() { "(no name)" } else { &worker.worker };
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(name),
            if worker.protocol.label() == "stratum_v1" { "V1" } else { "V2" },
            Hashrate(worker.done.hashrate),
            grouped(worker.done.shares),
            Short(worker.done.work),
            Short(worker.done.recent_work),
            ago(now, worker.last_share_at),
        )
    };
    listed("Workers", &head, &account.workers, "No share yet.", row)
}

fn credits(account: &AccountInfo, now: Timestamp) -> String {
    let head = ["Amount (BTC)", "Block or shares", "When", "For", "Decided by"];
    let row = |credit: &CreditInfo| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            bitcoins(credit.amount_sat),
            source(credit),
            ago(now, credit.at),
            escaped(&credit.reason),
            hash(&credit.policy_hash),
        )
    };
    listed("Credits", &head, &account.credits, "Nothing was credited yet.", row)
}

fn payouts(account: &AccountInfo, now: Timestamp) -> String {
    let head = ["Batch", "State", "Amount (BTC)", "To", "Transaction", "When"];
    let row = |payout: &AccountPayoutInfo| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            payout.batch,
            pill(&payout.state),
            bitcoins(payout.amount_sat),
            escaped(&payout.address),
            payout.txid.as_deref().map_or(String::new(), hash),
            ago(now, payout.at),
        )
    };
    listed("Payouts", &head, &account.payouts, "Nothing was paid out yet, outside of coinbases.", row)
}

fn blocks(account: &AccountInfo, now: Timestamp) -> String {
    let head = ["Height", "Hash", "State", "Found", "By"];
    let row = |block: &BlockInfo| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            block.height,
            hash_end(&block.hash),
            state(block),
            ago(now, block.at),
            escaped(&block.worker),
        )
    };
    listed("Blocks it found", &head, &account.blocks, "None yet.", row)
}

fn listed<T>(title: &str, head: &[&str], rows: &[T], none: &str, row: impl Fn(&T) -> String) -> String {
    let rows = rows.get(..ACCOUNT_ROWS).unwrap_or(rows);
    card(title, &list(head, rows, none, row))
}
