//! Sluice's Stratum V2 against the Stratum Reference Implementation (SRI): an implementation that shares no code with
//! ours, as published on crates.io.
//!
//! - `tests/noise.rs`: the handshake and the records, both ways, against `noise_sv2` and `codec_sv2`.
//! - `tests/codec.rs`: every message of the mining protocol, bytes against bytes, against `mining_sv2` and its siblings.
//! - `tests/client.rs`: a mining client made of SRI's crates in front of the pool; `channels_sv2` judges each share too.
//! - `tests/translator.rs`: SRI's SV1-to-SV2 proxy in front of the pool, with SV1 miners behind it.
//! - `tests/mining_device.rs`: SRI's CPU miner.
//!
//! ```text
//! CARGO_TARGET_DIR=target cargo test --manifest-path tests/interop/Cargo.toml
//! ```
//!
//! from the root of the repository; so the pool is the one that lies in `target`, built if it does not (`$SLUICE_BIN`
//! names another). A node is looked for in `$BITCOIND`, then on PATH; SRI's two programs in `$SLUICE_TRANSLATOR` and
//! `$SLUICE_MINING_DEVICE`, then on PATH. They come with
//!
//! ```text
//! cargo install translator_sv2 --version 0.6.0 --locked --debug --no-default-features
//! cargo install integration_tests_sv2 --version 0.6.0 --locked --debug --bin mining_device
//! ```
//!
//! (the second needs Cap'n Proto: Debian's capnproto and libcapnp-dev). What is missing is skipped by name; with
//! `CI` set nothing may be missing.

pub mod channel;
pub mod client;
pub mod miner;
pub mod pool;
pub mod program;
