//! Blocks that count and whose round nobody settled: what they brought is in nobody's books.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};
use sluice_core::bitcoin::BlockHash;
use sluice_core::bitcoin::hashes::Hash;

use super::UnsettledBlock;
use super::scope::Scope;

/// The most that are told one by one.
const TOLD_LIMIT: usize = 100;
/// A pool that runs settles a round as soon as its block is accepted; so long it has for it.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(100);

/// In the order in which they were found.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Vec<UnsettledBlock>> {
    let mut statement = connection.prepare_cached(
        "SELECT hash, height FROM blocks WHERE state IN ('accepted', 'immature', 'mature') \
         AND id NOT IN (SELECT block FROM rounds) ORDER BY id",
    )?;
    let read = |row: &Row<'_>| {
        Ok(UnsettledBlock { block: BlockHash::from_byte_array(row.get(0)?), height: row.get(1)? })
    };
    statement.query_map([], read)?.collect()
}

/// Those of `scope` that are not settled by now: how many, and the first of them.
pub(crate) fn still(connection: &Connection, scope: &Scope) -> rusqlite::Result<(u64, Vec<UnsettledBlock>)> {
    let before: HashSet<BlockHash> = scope.unsettled.iter().map(|one| one.block).collect();
    let end = scope.read_at + PATIENCE;
    loop {
        let mut now = read(connection)?;
        now.retain(|one| before.contains(&one.block));
        if now.is_empty() || Instant::now() >= end {
            let count = u64::try_from(now.len()).unwrap_or(u64::MAX);
            now.truncate(TOLD_LIMIT);
            return Ok((count, now));
        }
        thread::sleep(STEP);
    }
}
