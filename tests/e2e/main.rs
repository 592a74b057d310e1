//! The pool from outside: the built program, real sockets, a real node, real files.
//!
//! Every module starts pools of its own, so that all tests run beside each other.

mod audit;
mod cli;
mod crash;
mod damage;
mod demo;
mod files;
mod nodes;
mod pipelined;
mod regtest;
mod reload;
mod reorg;
mod shipped;
mod sv2_abuse;
mod sv2_identity;
mod sv2_limits;
mod sv2_parity;
mod sv2_regtest;
mod tls;
mod transcripts;
