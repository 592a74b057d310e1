//! Payouts through the desk's public face, with a pool on the same file.

mod adversary;
mod batches;
mod beside;
mod death;
mod drafts;
mod due;
mod histories;
mod opening;
mod pool;
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
#[path = "../ledger/support.rs"]
mod support;
