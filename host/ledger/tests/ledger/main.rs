//! The ledger through its public face, and the file it leaves, read by plain SQL.

mod account;
mod accruals;
mod damage;
mod folding;
mod life;
mod log;
mod migrations;
mod opening;
mod owed;
mod rounds;
mod support;
mod windows;
