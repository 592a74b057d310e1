//! The policy host against guests that behave and guests that do not.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod accruals;
mod answers;
mod conformance;
mod guest;
mod house;
mod loading;
mod orders;
mod reload;
mod shadow;
