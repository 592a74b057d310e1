//! How things look on the wire (specification file 03): the frame header ([`frame`]), the data types both ways
//! ([`types`] reads, [`put`] writes), the fields that extensions append ([`tlv`]), and names made fit to print
//! ([`text`]).
//!
//! Nothing here allocates while reading: what is not a number borrows from the payload, and a declared length or
//! count is compared with the bytes that are there before anything else happens (F-28).

pub mod frame;
pub mod put;
pub mod text;
pub mod tlv;
pub mod types;

pub use frame::FrameHeader;
pub use types::{Integers, Malformed, Reader};

/// The core messages' extension number (F-6).
pub const CORE: u16 = 0;
/// Extension negotiation (E-1).
pub const NEGOTIATION: u16 = 0x0001;
/// Worker-specific hashrate tracking (E-20). It has no messages of its own, only a TLV.
pub const WORKER_TRACKING: u16 = 0x0002;
