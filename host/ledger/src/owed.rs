//! What accounts are owed and could be paid at once, for coinbases that pay balances.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use sluice_core::bitcoin::Amount;

use crate::error::LedgerError;
use crate::insert::{sql, unsigned};
use crate::ledger::Ledger;
use crate::life::{INCONCLUSIVE, MATURITY};

/// Accounts that are told, those owed most: more than any coinbase has room for.
const ACCOUNTS_LIMIT: usize = 10_000;

impl Ledger {
    /// What each account is owed for good: of its balance, what no reorganisation can take away. Nobody's is in it that is
    /// not above zero, or that an operator holds; the house's is not. At most 10,000 accounts, those owed most.
    ///
    /// What a block's coinbase paid that is not in the chain now is kept back until the chain is 100 blocks beyond it: it
    /// may come back, and the first template on it must not pay the same again.
    ///
    /// Empty while a block of the pool is not settled yet: its coinbase may have paid what the books still owe.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn owed(&self) -> Result<BTreeMap<String, Amount>, LedgerError> {
        self.read_aside(|connection, _| Ok(owed(connection)?)).await
    }
}

/// Rejected and orphaned blocks owe nothing; a settled one has its round.
const WAITS: &str = "SELECT EXISTS (SELECT 1 FROM blocks b WHERE b.state NOT IN ('rejected', 'orphaned') \
    AND NOT EXISTS (SELECT 1 FROM rounds WHERE block = b.id))";

/// Names are looked up only for those that are told; SQLite takes `held` from the row with the maximum.
const OWED: &str = "WITH held AS MATERIALIZED ( \
        SELECT account FROM (SELECT account, held, max(id) FROM terms GROUP BY account) WHERE held = 1 \
    ), immature AS MATERIALIZED ( \
        SELECT e.account AS account, sum(e.amount) AS amount FROM blocks b CROSS JOIN journal j CROSS JOIN entries e \
        WHERE b.state IN ('accepted', 'immature') AND j.block = b.id AND e.journal = j.id AND e.book = 'account' \
        GROUP BY e.account \
    ), gone AS MATERIALIZED ( \
        SELECT id FROM blocks WHERE (state = 'orphaned' OR (state = 'rejected' AND reason = ?2)) \
            AND height + ?3 > (SELECT height FROM templates ORDER BY id DESC LIMIT 1) \
    ), kept AS MATERIALIZED ( \
        SELECT account, sum(amount) AS amount FROM ( \
            SELECT a.id AS account, p.amount AS amount FROM gone g CROSS JOIN block_payments p ON p.block = g.id \
            JOIN accounts a ON a.name = p.account WHERE g.id NOT IN (SELECT block FROM rounds) \
            UNION ALL SELECT e.account, max(0, -sum(e.amount)) FROM gone g CROSS JOIN journal j ON j.block = g.id \
            CROSS JOIN entries e ON e.journal = j.id WHERE j.number = 1 AND e.book = 'account' GROUP BY g.id, e.account \
        ) GROUP BY account \
    ), due AS MATERIALIZED ( \
        SELECT s.account AS account, \
            min(s.amount, s.amount - coalesce(i.amount, 0)) - coalesce(k.amount, 0) AS amount \
        FROM sums s LEFT JOIN immature i ON i.account = s.account LEFT JOIN kept k ON k.account = s.account \
        WHERE s.account >= 0 AND s.amount > 0 AND s.account NOT IN (SELECT account FROM held) \
        ORDER BY 2 DESC LIMIT ?1 \
    ) SELECT a.name, d.amount FROM due d JOIN accounts a ON a.id = d.account WHERE d.amount > 0";

fn owed(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Amount>> {
    let waits: bool = connection.prepare_cached(WAITS)?.query_row([], |row| row.get(0))?;
    if waits {
        return Ok(BTreeMap::new());
    }
    let mut statement = connection.prepare_cached(OWED)?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, Amount::from_sat(unsigned(row.get(1)?))));
    let values = params![sql(ACCOUNTS_LIMIT as u64), INCONCLUSIVE, MATURITY];
    statement.query_map(values, read)?.collect()
}
