//! The messages of the mining protocol, typed, in both directions: the server decodes a [`ClientMessage`] and encodes
//! what goes back; tests, fuzzers and the load program do the opposite.
//!
//! [`common`] sets a connection up (03 §3.6), [`negotiation`] agrees on extensions (extension 0x0001), [`channels`]
//! opens, changes and closes channels, [`jobs`] and [`shares`] are the work (05 §5.3). Structs borrow from the
//! payload; hashes and targets are `[u8; 32]` in wire order. Ids and bits are those of table W (08).
//!
//! SetCustomMiningJob and everything of the other protocols are not here: to this server they are unknown messages
//! (F-10).

#[macro_use]
mod define;

pub mod channels;
pub mod common;
mod direction;
mod extended_job;
pub mod jobs;
mod limit;
pub mod negotiation;
pub mod shares;

#[cfg(test)]
mod tests;

pub use channels::{
    CloseChannel, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess, OpenMiningChannelError,
    OpenStandardMiningChannel, OpenStandardMiningChannelSuccess, SetExtranoncePrefix, SetGroupChannel,
    UpdateChannel, UpdateChannelError,
};
pub use common::{
    ChannelEndpointChanged, Reconnect, SetupConnection, SetupConnectionError, SetupConnectionSuccess,
};
pub use direction::{ClientMessage, Decoded, ServerMessage};
pub use extended_job::{ExtendedJob, ExtendedJobHead, ExtendedJobTail, TailError};
pub use jobs::{NewExtendedMiningJob, NewMiningJob, SetNewPrevHash, SetTarget};
pub use limit::{UNKNOWN_LIMIT, inbound_limit};
pub use negotiation::{RequestExtensions, RequestExtensionsError, RequestExtensionsSuccess};
pub use shares::{SubmitSharesError, SubmitSharesExtended, SubmitSharesStandard, SubmitSharesSuccess};

use crate::wire::FrameHeader;
use crate::wire::types::{Malformed, Reader};

/// One kind of message.
pub trait Message<'a>: Sized {
    /// The name in the specification, for logs.
    const NAME: &'static str;
    const EXTENSION: u16;
    /// Its number within the extension.
    const TYPE: u8;
    /// Whether the header's channel bit is set (F-7).
    const CHANNEL_MESSAGE: bool;

    /// Reads the fields and leaves what follows them in the reader (F-29).
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed>;

    /// Appends the payload. Overlong fields are cut (see [`crate::wire::put`]).
    fn encode(&self, out: &mut Vec<u8>);
}

/// The header of a message with a payload of `length` bytes.
pub const fn header_of<'a, M: Message<'a>>(length: usize) -> FrameHeader {
    FrameHeader {
        extension: M::EXTENSION,
        channel_message: M::CHANNEL_MESSAGE,
        message: M::TYPE,
        // No message reaches 2^24 bytes: the longest is a group of 65,535 channels.
        length: length as u32,
    }
}

/// Appends header and payload, unencrypted.
pub fn write_frame<'a, M: Message<'a>>(message: &M, out: &mut Vec<u8>) {
    write_frame_with(message, &[], out);
}

/// The same with `trailing` behind the last field, such as TLVs (F-41).
pub fn write_frame_with<'a, M: Message<'a>>(message: &M, trailing: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; FrameHeader::LENGTH]);
    message.encode(out);
    out.extend_from_slice(trailing);
    let length = out.len() - start - FrameHeader::LENGTH;
    if let Some(header) = out.get_mut(start..start + FrameHeader::LENGTH) {
        header.copy_from_slice(&header_of::<M>(length).write());
    }
}
