//! What the fuzz targets do, as plain functions: libFuzzer drives them at length on nightly, the smoke test of
//! sluice-tests for seconds on stable. A property that does not hold is a panic.
//!
//! At length: `cargo +nightly fuzz run --fuzz-dir tests/fuzz sv1_connection` (cargo-fuzz), seeds are in `corpus`.

pub mod config;
pub mod policy_answer;
pub mod policy_component;
pub mod sv1_connection;
pub mod sv1_line;
pub mod sv2_connection;
pub mod sv2_frame;
pub mod sv2_handshake;
pub mod sv2_message;

#[path = "../../../host/policy/tests/policies/guest.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a workbench of another package's tests")]
mod guest;
mod policy;
