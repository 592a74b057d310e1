//! The ledger through its public face, and the file it leaves, read by plain SQL.

mod log;
mod opening;
mod rounds;
mod support;
mod windows;
