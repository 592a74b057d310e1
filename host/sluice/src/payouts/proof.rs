//! Whether a transaction pays a batch: each line by an output of its own, and no line's address once more.

use std::collections::{HashMap, HashSet};

use bitcoin::{Amount, Network, ScriptBuf, Transaction, TxOut};
use sluice_core::coinbase::parse_address;
use sluice_ledger::payouts::Line;

/// The first thing in which a transaction is not a batch's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("{account} is to get {amount} at {address}, and no output pays that")]
    Missing { account: String, address: String, amount: Amount },
    #[error("{account} is to get {amount} at {address}, and the transaction pays {found} there")]
    WrongAmount { account: String, address: String, amount: Amount, found: Amount },
    #[error("{address} gets {amount} beside what the batch pays there")]
    Beside { address: String, amount: Amount },
    #[error("the batch holds an address that is none here: {0}")]
    Address(String),
}

/// Compares. `own` are scripts of the pool, where change goes even if a line pays there too. Returns the outputs beside
/// the lines.
///
/// # Errors
/// The first difference, in the order of the lines.
pub fn check(
    transaction: &Transaction,
    lines: &[Line],
    network: Network,
    own: &[ScriptBuf],
) -> Result<Vec<TxOut>, Mismatch> {
    let mut left: HashMap<&TxOut, usize> = HashMap::new();
    for output in &transaction.output {
        *left.entry(output).or_default() += 1;
    }
    let wanted = outputs(lines, network)?;
    for (line, output) in lines.iter().zip(&wanted) {
        match left.get_mut(output).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => return Err(missing(transaction, line, output)),
        }
    }
    let paid: HashSet<&ScriptBuf> = wanted.iter().map(|output| &output.script_pubkey).collect();
    let mut beside = Vec::new();
    for output in &transaction.output {
        let Some(count) = left.get_mut(output).filter(|count| **count > 0) else { continue };
        *count -= 1;
        if paid.contains(&output.script_pubkey) && !own.contains(&output.script_pubkey) {
            let address = address_of(lines, &wanted, output);
            return Err(Mismatch::Beside { address, amount: output.value });
        }
        beside.push(output.clone());
    }
    Ok(beside)
}

/// What the lines pay, in their order.
///
/// # Errors
/// [`Mismatch::Address`].
pub fn outputs(lines: &[Line], network: Network) -> Result<Vec<TxOut>, Mismatch> {
    let output = |line: &Line| {
        let address = parse_address(&line.address, network).map_err(Mismatch::Address)?;
        Ok(TxOut { value: line.amount, script_pubkey: address.script_pubkey() })
    };
    lines.iter().map(output).collect()
}

fn missing(transaction: &Transaction, line: &Line, wanted: &TxOut) -> Mismatch {
    let Line { account, address, amount } = line.clone();
    let same_place = |output: &&TxOut| output.script_pubkey == wanted.script_pubkey;
    match transaction.output.iter().find(same_place) {
        Some(output) if output.value != amount => {
            Mismatch::WrongAmount { account, address, amount, found: output.value }
        }
        _ => Mismatch::Missing { account, address, amount },
    }
}

fn address_of(lines: &[Line], wanted: &[TxOut], output: &TxOut) -> String {
    let same = |(_, wanted): &(&Line, &TxOut)| wanted.script_pubkey == output.script_pubkey;
    lines.iter().zip(wanted).find(same).map(|(line, _)| line.address.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
