//! Stratum V2 as a state machine: bytes and time in, bytes and effects out.
//!
//! Where the specification's files live: 03 in [`wire`] (types, frames, TLVs) and `setup`, 04 in [`noise`], 05 in
//! [`messages`] and, what is done with them, in `open`, `change`, `delivery` (jobs and targets) and `submit`; extension
//! 0x0001 in `extensions`, 0x0002 in [`wire::tlv`] and `submit`. Error codes: [`codes`].
//!
//! Reading order: `link` makes frames of bytes; [`connection`] is how far a peer has come; `serving` is a peer that is
//! set up, with its channels (`line`); [`work`] is a job as it goes out.
//!
//! Knows nothing of sockets, clocks or tasks: a driver runs [`Connection`] through [`sluice_core::session::Session`].
//! Rule ids (M-41) refer to docs/stratum-v2.md.

mod change;
pub mod codes;
pub mod connection;
mod delivery;
mod extensions;
mod line;
mod link;
pub mod messages;
pub mod noise;
mod open;
mod outbox;
mod serving;
mod setup;
mod submit;
pub mod wire;
pub mod work;

pub use connection::{Connection, SessionConfig};
pub use link::Security;
pub use work::Broadcast;
