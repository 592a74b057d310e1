//! Rows of the share log and the names they use.

use std::collections::BTreeMap;

use rusqlite::{Connection, Statement, params};
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::{AccountId, Protocol};
use sluice_core::units::Timestamp;

use crate::queue::{LoggedShare, NameRow};
use crate::templates::TemplateRow;

/// Rows of one INSERT. Measured; see docs/ledger.md.
const ROWS_PER_STATEMENT: usize = 16;
const COLUMNS: usize = 7;

/// SQLite's integers are signed. Nothing here comes near 2^63.
pub(crate) fn sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The other way; a negative number in the file is read as 0.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Protocols as the log writes them; never renumbered.
pub(crate) fn protocol_number(protocol: Protocol) -> i64 {
    match protocol {
        Protocol::StratumV1 => 0,
        Protocol::StratumV2 => 1,
    }
}

pub(crate) fn protocol_from(number: i64) -> Protocol {
    if number == 1 { Protocol::StratumV2 } else { Protocol::StratumV1 }
}

/// Inserts prepared statements' texts, made once.
pub(crate) struct ShareInsert {
    many: String,
    one: String,
}

impl ShareInsert {
    pub(crate) fn new() -> Self {
        let text = |rows: usize| {
            let row = "(?,?,?,?,?,?,?)";
            format!("INSERT INTO shares VALUES {}", vec![row; rows].join(","))
        };
        Self { many: text(ROWS_PER_STATEMENT), one: text(1) }
    }

    /// Inserts `shares` from the number `first` on. Within the caller's transaction.
    pub(crate) fn run(
        &self,
        connection: &Connection,
        first: u64,
        shares: &[LoggedShare],
    ) -> rusqlite::Result<()> {
        let (chunks, rest) = shares.as_chunks::<ROWS_PER_STATEMENT>();
        let mut seq = first;
        if !chunks.is_empty() {
            let mut statement = connection.prepare_cached(&self.many)?;
            for chunk in chunks {
                insert(&mut statement, &mut seq, chunk)?;
            }
        }
        if !rest.is_empty() {
            let mut statement = connection.prepare_cached(&self.one)?;
            for share in rest {
                insert(&mut statement, &mut seq, std::slice::from_ref(share))?;
            }
        }
        Ok(())
    }
}

fn insert(statement: &mut Statement<'_>, seq: &mut u64, shares: &[LoggedShare]) -> rusqlite::Result<()> {
    let mut column = 1;
    for share in shares {
        bind(statement, column, *seq, share)?;
        column += COLUMNS;
        *seq += 1;
    }
    statement.raw_execute()?;
    Ok(())
}

fn bind(statement: &mut Statement<'_>, column: usize, seq: u64, share: &LoggedShare) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(column, sql(seq))?;
    statement.raw_bind_parameter(column + 1, sql(share.at))?;
    statement.raw_bind_parameter(column + 2, share.worker)?;
    statement.raw_bind_parameter(column + 3, share.template)?;
    statement.raw_bind_parameter(column + 4, protocol_number(share.protocol))?;
    statement.raw_bind_parameter(column + 5, share.difficulty)?;
    statement.raw_bind_parameter(column + 6, share.hash.as_slice())
}

pub(crate) fn insert_names(connection: &Connection, rows: &[NameRow]) -> rusqlite::Result<()> {
    for row in rows {
        match row {
            NameRow::Account(id, name) => connection
                .prepare_cached("INSERT INTO accounts VALUES (?, ?)")?
                .execute(params![id.0, name.as_str()])?,
            NameRow::Worker(id, account, name) => connection
                .prepare_cached("INSERT INTO workers VALUES (?, ?, ?)")?
                .execute(params![id.0, account.0, name.as_str()])?,
            NameRow::Template(template) => insert_template(connection, template)?,
        };
    }
    Ok(())
}

fn insert_template(
    connection: &Connection,
    TemplateRow { row, facts }: &TemplateRow,
) -> rusqlite::Result<usize> {
    connection.prepare_cached("INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?, ?)")?.execute(params![
        row,
        facts.height,
        facts.previous.as_byte_array(),
        facts.network_difficulty.get(),
        sql(facts.subsidy.to_sat()),
        sql(facts.fees.to_sat()),
        sql(facts.at.0),
    ])
}

pub(crate) fn insert_addresses(
    connection: &Connection,
    addresses: &BTreeMap<AccountId, (String, Timestamp)>,
) -> rusqlite::Result<()> {
    for (account, (address, at)) in addresses {
        connection
            .prepare_cached("INSERT INTO addresses (account, at_ms, address) VALUES (?, ?, ?)")?
            .execute(params![account.0, sql(at.0), address])?;
    }
    Ok(())
}
