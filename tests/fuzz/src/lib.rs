//! What the fuzz targets do, as plain functions: libFuzzer drives them at length on nightly, the smoke test of
//! sluice-tests for seconds on stable. A property that does not hold is a panic.

pub mod config;
pub mod sv1_connection;
pub mod sv1_line;
