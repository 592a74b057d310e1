//! Guests that mean harm, by name: for each the caller gets the default of its kind, a count goes up, the status says why,
//! the next good call or generation works, and the other kinds answer meanwhile.
//!
//! - [`vices`]: loops, traps, deep recursion, growth of memory and tables, in every export and in the start function.
//! - [`answers`]: answers that are gigantic, lie outside memory, or are no text, no number, no case of their variant.
//! - [`imports`]: clocks, randomness, files, and names that are not what they seem.
//! - [`leaks`]: a million calls to what leaks, traps at random, floods the log, and to what behaves.
//! - [`files`]: what can lie in place of a policy's file, and changes that no event tells of.
//! - [`reloads`]: two thousand of them.
//!
//! What is hard to compile is in `compile_child.rs` (`bombs.rs` here), which has a compiler of its own.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod alone;
mod answers;
mod files;
#[path = "../policies/guest.rs"]
#[allow(dead_code, reason = "shared with the other test programs")]
mod guest;
#[path = "../policies/house.rs"]
#[allow(dead_code, reason = "shared with the other test programs")]
mod house;
mod imports;
mod leaks;
mod reloads;
mod scene;
mod vices;
