//! The policy host against guests that behave and guests that do not.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod accruals;
mod answers;
mod conformance;
mod contract;
mod frozen;
#[allow(dead_code, reason = "shared with the hostile suite")]
mod guest;
mod house;
mod limits;
mod loading;
mod lookup;
mod orders;
mod reload;
mod shadow;
mod suggestion;
