//! A pool with exact credits, and the rules and names of its payouts.

use std::path::Path;

use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, OutPoint, Txid};
use sluice_core::ids::AccountName;
use sluice_core::policy::payout::{Entitlement, Portion, Round, Window};
use sluice_core::policy::split::Credit;
use sluice_ledger::payouts::{Batch, Coin, Desk, Rules, Unpayable};
use sluice_ledger::{BlockRow, Ledger, MATURITY, Payment, Place, Settlement, Verdict, database_in};

use crate::support::{REWARD, block, hash, settlement, share, template, worker};

pub(crate) const DEEP: Place = Place::InChain { confirmations: MATURITY };
pub(crate) const SHALLOW: Place = Place::InChain { confirmations: 3 };

pub(crate) fn sat(value: u64) -> Amount {
    Amount::from_sat(value)
}

pub(crate) fn txid(number: u8) -> Txid {
    Txid::from_byte_array([number; 32])
}

pub(crate) fn coin(number: u8) -> Coin {
    let outpoint = OutPoint { txid: txid(number), vout: u32::from(number) % 3 };
    Coin { outpoint, amount: sat(50_000 + u64::from(number)) }
}

fn any(_: &str, _: Amount) -> Result<(), Unpayable> {
    Ok(())
}

pub(crate) fn rules(minimum: u64, max_lines: usize) -> Rules<'static> {
    Rules { minimum: sat(minimum), max_lines, payable: &any }
}

pub(crate) fn desk(dir: &Path) -> Desk {
    Desk::open(&database_in(dir)).expect("a desk")
}

/// A new batch of everything that is due.
pub(crate) fn prepare(desk: &mut Desk) -> Batch {
    let (batch, new) = desk.prepare(&rules(1, 100)).expect("prepared").expect("something is due");
    assert!(new, "batch {} waits", batch.id);
    batch
}

pub(crate) fn address_of(account: &str) -> String {
    format!("address-of-{account}")
}

pub(crate) fn paid(batch: &Batch) -> Vec<(&str, u64)> {
    batch.lines.iter().map(|line| (line.account.as_str(), line.amount.to_sat())).collect()
}

/// Writes down a block that earned the accounts `credits` and whose coinbase pays `payments`; accepted, not settled.
pub(crate) async fn find(ledger: &Ledger, number: u64, credits: &[(&str, u64)], payments: &[(&str, u64)]) {
    ledger.template(template(1, 100));
    let finder = worker(ledger, "finder", "");
    ledger.append(&[share(finder, number, 1.0)]).await.expect("room");
    for (account, _) in credits {
        let miner = worker(ledger, account, "");
        let name = AccountName::new(account).expect("a name");
        ledger.payout_address(&name, &address_of(account)).expect("room");
        ledger.append(&[share(miner, number, 1.0)]).await.expect("room");
    }
    let payments = payments.iter().map(|(account, amount)| Payment {
        account: (*account).to_owned(),
        address: address_of(account),
        amount: sat(*amount),
    });
    let reward = sat(credits.iter().map(|(_, amount)| amount).sum());
    let row = BlockRow { reward, payments: payments.collect(), ..block(number, finder.1, Window::Round) };
    ledger.block_found(row).await.expect("written");
    ledger.block_verdict(hash(number), Verdict::Accepted).await.expect("known");
}

pub(crate) async fn settle(ledger: &Ledger, number: u64, credits: &[(&str, u64)]) -> bool {
    let input = ledger.round_with(hash(number), Window::Round).await.expect("a round");
    let fixed = |(account, amount): &(&str, u64)| Entitlement {
        account: (*account).to_owned(),
        portion: Portion::Fixed(*amount),
        reason: "work".to_owned(),
    };
    let credit = |(account, amount): &(&str, u64)| Credit {
        account: (*account).to_owned(),
        amount: sat(*amount),
        reason: "work".to_owned(),
    };
    let answer = credits.iter().map(fixed).collect();
    let credits = credits.iter().map(credit).collect();
    // The policy's names, and nothing of what it answers.
    let any = Round { subsidy: REWARD, ..input.clone() };
    let settlement = Settlement { input, answer, credits, ..settlement(any) };
    ledger.settle_round(hash(number), settlement).await.expect("settled")
}

pub(crate) async fn place(ledger: &Ledger, number: u64, place: Place) {
    ledger.block_places(vec![(hash(number), place)]).await.expect("known");
}

/// A settled block whose coinbase paid everything to the pool.
pub(crate) async fn earn(ledger: &Ledger, number: u64, credits: &[(&str, u64)], at: Place) {
    let reward = credits.iter().map(|(_, amount)| amount).sum();
    find(ledger, number, credits, &[("", reward)]).await;
    settle(ledger, number, credits).await;
    place(ledger, number, at).await;
}

/// What the pool owes `account`.
pub(crate) async fn balance(ledger: &Ledger, account: &str) -> i64 {
    let rows = ledger.balances().await.expect("balances");
    rows.iter().find(|row| row.account == account).map_or(0, |row| row.sat)
}
