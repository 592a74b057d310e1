//! The ledger through its public face, and the file it leaves, read by plain SQL.

mod life;
mod log;
mod migrations;
mod opening;
mod rounds;
mod support;
mod windows;
