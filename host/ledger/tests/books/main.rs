//! The books computed again, exported and copied.

mod accruals;
mod audit;
mod beginnings;
mod copies;
mod folded;
mod judge;
mod payouts;
mod places;
mod recorded;
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
#[path = "../ledger/support.rs"]
mod support;
mod tables;
