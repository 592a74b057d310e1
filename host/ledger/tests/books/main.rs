//! The books computed again, exported and copied.

mod audit;
mod copies;
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
#[path = "../ledger/support.rs"]
mod support;
