//! This crate from outside: the simulated chain's rules, nodes that misbehave, and a real bitcoind.

mod lookup;
mod misbehaving;
mod regtest;
mod simulated;
#[path = "../support/mod.rs"]
mod support;
mod timed;
