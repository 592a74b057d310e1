//! The pool from outside: the built program, real sockets, a real node, real files.
//!
//! Every module starts pools of its own, so that all tests run beside each other.

mod accounts;
mod audit;
mod backtest;
mod classes;
mod cli;
mod crash;
mod damage;
mod demo;
mod files;
#[path = "../../host/policy/tests/policies/guest.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a workbench of another package's tests")]
mod guest;
mod hostile;
mod interrupted;
mod keeping;
mod limits;
mod lookup;
mod mishaps;
mod nodes;
mod paying;
mod pipelined;
mod promotion;
mod regtest;
mod reload;
mod reorg;
mod scene;
mod schemes;
mod shadow;
mod shipped;
mod sv2_abuse;
mod sv2_identity;
mod sv2_limits;
mod sv2_parity;
mod sv2_regtest;
mod tls;
mod transcripts;
