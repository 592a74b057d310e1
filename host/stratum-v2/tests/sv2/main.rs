//! What an SV2 client sees on the wire, rule by rule, in the clear and encrypted. Rule ids are those of
//! docs/stratum-v2.md.

#![allow(clippy::unwrap_used, reason = "test code: a failure is to stop the test where it is")]

mod bad_input;
mod board;
mod changes;
mod extensions;
mod jobs;
mod limits;
mod miner;
mod opening;
mod phases;
mod properties;
mod setup;
mod shares;
mod support;
mod targets;
mod timeouts;
