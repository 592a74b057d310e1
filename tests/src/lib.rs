//! What the tests and the load program share: the built pool as a process, miners that speak SV1 or SV2 on a
//! socket, a real node, plugin files, and the ledger file as SQLite sees it.
//!
//! Black box: nothing here links the pool, but for the bytes of SV2, which both sides share. Every wait is for an event and has a deadline.

pub mod binary;
pub mod bitcoind;
pub mod browser;
pub mod fake_node;
pub mod http;
pub mod ledger;
pub mod miner;
pub mod output;
pub mod payouts;
pub mod plugins;
pub mod pool;
pub mod psbt;
pub mod share;
pub mod spend;
pub mod stress;
pub mod sv2;

use std::time::Duration;

/// For anything that should take moments: generous, for machines that are slow and busy.
pub const SOON: Duration = Duration::from_secs(60);

/// The pause between two looks at what has no event to wait for.
pub const POLL: Duration = Duration::from_millis(50);
