//! The shipped payout schemes: what each promises, natively over many histories, through WebAssembly over a sample, and
//! in the numbers of docs/payout-schemes.md.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod accruing;
mod examples;
mod histories;
mod native;
mod settling;
mod size;
mod wasm;
