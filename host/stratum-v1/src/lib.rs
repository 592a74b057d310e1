//! Stratum V1 as a state machine: bytes and time in, bytes and effects out.
//!
//! Reading order: [`line`] cuts bytes into lines; [`json`] and [`request`] make a typed request of one, [`fast`] does
//! the same for the common shape of a submission; [`phase`] is what a connection is at any moment; [`connection`] acts
//! on requests ([`handshake`], [`configure`], [`submit`]); [`reply`] and [`notify`] are what goes back.
//!
//! Knows nothing of sockets, clocks or tasks: a driver runs [`connection::Connection`] through
//! [`sluice_core::session::Session`]. Rule ids (V1-39) refer to docs/stratum-v1.md.

mod configure;
pub mod connection;
pub mod fast;
mod handshake;
mod hex;
mod json;
mod line;
pub mod notify;
mod phase;
mod reply;
pub mod request;
mod submit;

pub use connection::{Connection, SessionConfig};
pub use notify::Announcement;
