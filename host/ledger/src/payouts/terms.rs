//! What an operator says of an account: its minimum, and whether it is held. Nothing is forgotten; the latest row counts.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use sluice_core::bitcoin::{Amount, amount};

use super::Desk;
use super::error::DeskError;
use crate::insert::{sql, unsigned};
use crate::open::now;

/// The longest reason of a hold.
pub const REASON_BYTES: usize = 200;

/// An account's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// The least that is paid to it; `None`: the pool's.
    #[serde(rename = "minimum_sat", with = "amount::serde::as_sat::opt")]
    pub minimum: Option<Amount>,
    /// Why nothing is paid to it.
    pub held: Option<String>,
}

impl Desk {
    /// # Errors
    /// [`DeskError::UnknownAccount`].
    pub fn terms(&mut self, account: &str) -> Result<Terms, DeskError> {
        self.read(|moment| {
            let id = account_id(moment, account)?;
            Ok(latest(moment, id)?)
        })
    }

    /// Pays nothing more to `account` until it is released. A batch that was prepared before is not changed: cancel it.
    /// `false`: it was held for that reason already.
    ///
    /// # Errors
    /// [`DeskError::UnknownAccount`], [`DeskError::Reason`].
    pub fn hold(&mut self, account: &str, reason: &str) -> Result<bool, DeskError> {
        if reason.is_empty() || reason.len() > REASON_BYTES || reason.chars().any(char::is_control) {
            return Err(DeskError::Reason);
        }
        self.change(account, |terms| terms.held = Some(reason.to_owned()))
    }

    /// `false`: it was not held.
    ///
    /// # Errors
    /// [`DeskError::UnknownAccount`].
    pub fn release(&mut self, account: &str) -> Result<bool, DeskError> {
        self.change(account, |terms| terms.held = None)
    }

    /// Pays `account` from this amount on; `None`: from the pool's minimum. `false`: that was so already.
    ///
    /// # Errors
    /// [`DeskError::UnknownAccount`], [`DeskError::Minimum`].
    pub fn minimum(&mut self, account: &str, minimum: Option<Amount>) -> Result<bool, DeskError> {
        match minimum {
            Some(amount) if amount == Amount::ZERO || amount > Amount::MAX_MONEY => {
                Err(DeskError::Minimum(amount))
            }
            _ => self.change(account, |terms| terms.minimum = minimum),
        }
    }

    fn change(&mut self, account: &str, edit: impl FnOnce(&mut Terms)) -> Result<bool, DeskError> {
        self.write(|transaction| {
            let id = account_id(transaction, account)?;
            let before = latest(transaction, id)?;
            let mut terms = before.clone();
            edit(&mut terms);
            if terms != before {
                insert(transaction, id, &terms)?;
            }
            Ok(terms != before)
        })
    }
}

/// By the account's number.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<HashMap<i64, Terms>> {
    let mut statement = connection
        .prepare_cached("SELECT minimum, held, reason, account, max(id) FROM terms GROUP BY account")?;
    statement.query_map([], |row| Ok((row.get(3)?, read(row)?)))?.collect()
}

fn account_id(connection: &Connection, account: &str) -> Result<i64, DeskError> {
    let mut statement = connection.prepare_cached("SELECT id FROM accounts WHERE name = ?")?;
    let id = statement.query_row([account], |row| row.get(0)).optional()?;
    id.ok_or_else(|| DeskError::UnknownAccount(account.to_owned()))
}

/// Those of today.
pub(crate) fn latest(connection: &Connection, account: i64) -> rusqlite::Result<Terms> {
    let mut statement = connection.prepare_cached(
        "SELECT minimum, held, reason FROM terms WHERE account = ? ORDER BY id DESC LIMIT 1",
    )?;
    Ok(statement.query_row([account], read).optional()?.unwrap_or_default())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Terms> {
    let minimum = row.get::<_, Option<i64>>(0)?.map(|sat| Amount::from_sat(unsigned(sat)));
    let held = row.get::<_, bool>(1)?;
    Ok(Terms { minimum, held: held.then(|| row.get(2)).transpose()? })
}

fn insert(transaction: &Transaction<'_>, account: i64, terms: &Terms) -> rusqlite::Result<()> {
    let minimum = terms.minimum.map(|amount| sql(amount.to_sat()));
    let reason = terms.held.as_deref().unwrap_or_default();
    transaction
        .prepare_cached("INSERT INTO terms (account, at_ms, minimum, held, reason) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![account, sql(now().0), minimum, terms.held.is_some(), reason])?;
    Ok(())
}
