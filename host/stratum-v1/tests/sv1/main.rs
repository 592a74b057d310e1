//! What a miner sees on the wire, rule by rule. Rule ids are those of docs/stratum-v1.md.

mod bad_input;
mod difficulty;
mod firmware;
mod handshake;
mod jobs;
mod limits;
mod logins;
mod properties;
mod submits;
mod support;
