//! Which messages go which way, and from a frame to one of them.

use super::{
    ChannelEndpointChanged, CloseChannel, Message, NewExtendedMiningJob, NewMiningJob,
    OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess, OpenMiningChannelError,
    OpenStandardMiningChannel, OpenStandardMiningChannelSuccess, Reconnect, RequestExtensions,
    RequestExtensionsError, RequestExtensionsSuccess, SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash,
    SetTarget, SetupConnection, SetupConnectionError, SetupConnectionSuccess, SubmitSharesError,
    SubmitSharesExtended, SubmitSharesStandard, SubmitSharesSuccess, UpdateChannel, UpdateChannelError,
    write_frame,
};
use crate::wire::types::{Malformed, Reader};
use crate::wire::{CORE, FrameHeader, NEGOTIATION};

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decoded<'a, M> {
    Message {
        message: M,
        /// Bytes behind the last known field: TLVs, or to be ignored (F-29).
        trailing: &'a [u8],
    },
    /// A number that this direction of a known extension does not have (F-10).
    UnknownMessage,
    /// To be discarded in silence (F-9).
    UnknownExtension,
}

/// F-5: whatever the message is, its channel id must be there if the header says so.
fn check_channel(header: FrameHeader, payload: &[u8]) -> Result<(), Malformed> {
    if header.channel_message && payload.len() < 4 {
        return Err(Malformed::NoChannel { left: payload.len() });
    }
    Ok(())
}

/// Extensions with messages of their own.
const fn is_known(extension: u16) -> bool {
    matches!(extension, CORE | NEGOTIATION)
}

macro_rules! direction {
    ($(#[$about:meta])* $name:ident { $($variant:ident($type:ty),)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum $name<'a> {
            $($variant($type),)*
        }

        impl<'a> $name<'a> {
            /// Reads a payload by its header. A wrong channel bit is no obstacle (F-8): compare it with
            /// [`Self::is_channel_message`] to count it. `payload` is what belongs to the header, of any length.
            pub fn decode(
                header: FrameHeader,
                payload: &'a [u8],
            ) -> Result<Decoded<'a, Self>, Malformed> {
                check_channel(header, payload)?;
                let kind = (header.extension, header.message);
                let mut reader = Reader::new(payload);
                $(if kind == (<$type as Message<'a>>::EXTENSION, <$type as Message<'a>>::TYPE) {
                    let message = Self::$variant(<$type as Message<'a>>::decode(&mut reader)?);
                    return Ok(Decoded::Message { message, trailing: reader.rest() });
                })*
                Ok(if is_known(header.extension) { Decoded::UnknownMessage } else { Decoded::UnknownExtension })
            }

            /// The name in the specification.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$type as Message<'a>>::NAME,)*
                }
            }

            /// Whether its header is to have the channel bit (F-7).
            pub const fn is_channel_message(&self) -> bool {
                match self {
                    $(Self::$variant(_) => <$type as Message<'a>>::CHANNEL_MESSAGE,)*
                }
            }

            /// Appends header and payload, unencrypted.
            pub fn write_frame(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(message) => write_frame(message, out),)*
                }
            }
        }
    };
}

direction! {
    /// What a client of a mining server sends.
    ClientMessage {
        // The usual ones first: they are looked for in this order.
        SubmitSharesStandard(SubmitSharesStandard),
        SubmitSharesExtended(SubmitSharesExtended<'a>),
        UpdateChannel(UpdateChannel),
        OpenStandardMiningChannel(OpenStandardMiningChannel<'a>),
        OpenExtendedMiningChannel(OpenExtendedMiningChannel<'a>),
        CloseChannel(CloseChannel<'a>),
        SetupConnection(SetupConnection<'a>),
        RequestExtensions(RequestExtensions<'a>),
    }
}

direction! {
    /// What a mining server sends.
    ServerMessage {
        SubmitSharesSuccess(SubmitSharesSuccess),
        SubmitSharesError(SubmitSharesError<'a>),
        NewMiningJob(NewMiningJob),
        NewExtendedMiningJob(NewExtendedMiningJob<'a>),
        SetNewPrevHash(SetNewPrevHash),
        SetTarget(SetTarget),
        OpenStandardMiningChannelSuccess(OpenStandardMiningChannelSuccess<'a>),
        OpenExtendedMiningChannelSuccess(OpenExtendedMiningChannelSuccess<'a>),
        OpenMiningChannelError(OpenMiningChannelError<'a>),
        UpdateChannelError(UpdateChannelError<'a>),
        CloseChannel(CloseChannel<'a>),
        SetExtranoncePrefix(SetExtranoncePrefix<'a>),
        SetGroupChannel(SetGroupChannel<'a>),
        SetupConnectionSuccess(SetupConnectionSuccess),
        SetupConnectionError(SetupConnectionError<'a>),
        ChannelEndpointChanged(ChannelEndpointChanged),
        Reconnect(Reconnect<'a>),
        RequestExtensionsSuccess(RequestExtensionsSuccess<'a>),
        RequestExtensionsError(RequestExtensionsError<'a>),
    }
}
