//! How long a payload may be before a byte of it is read (F-13).

use super::{
    CloseChannel, Message, OpenExtendedMiningChannel, OpenStandardMiningChannel, RequestExtensions,
    SetupConnection, SubmitSharesExtended, SubmitSharesStandard, UpdateChannel,
};

/// Room for fields that a later specification may append and that are passed over (F-29).
const TRAILING: u32 = 256;
/// The most extensions that a client may ask for at once (E-7); two are in the registry.
const EXTENSIONS: u32 = 256;

/// The most that is taken of a message which this server does not know, to be passed over (F-9, F-10): more than any
/// that it does know (F-13).
pub const UNKNOWN_LIMIT: u32 = 4096;

/// The longest payload, in bytes, that a mining server takes of each message of a client: the sizes of table W and,
/// except before the setup, room for what may follow the known fields. `None`: not a message that a client of a
/// mining server sends, or not one known here; see [`UNKNOWN_LIMIT`].
pub const fn inbound_limit(extension: u16, message: u8) -> Option<u32> {
    Some(match (extension, message) {
        (SubmitSharesStandard::EXTENSION, SubmitSharesStandard::TYPE) => 24 + TRAILING,
        // Worker names and whatever else extensions will append.
        (SubmitSharesExtended::EXTENSION, SubmitSharesExtended::TYPE) => 1024,
        (UpdateChannel::EXTENSION, UpdateChannel::TYPE) => 40 + TRAILING,
        (CloseChannel::EXTENSION, CloseChannel::TYPE) => 260 + TRAILING,
        (OpenStandardMiningChannel::EXTENSION, OpenStandardMiningChannel::TYPE) => 296 + TRAILING,
        (OpenExtendedMiningChannel::EXTENSION, OpenExtendedMiningChannel::TYPE) => 298 + TRAILING,
        (RequestExtensions::EXTENSION, RequestExtensions::TYPE) => 4 + 2 * EXTENSIONS + TRAILING,
        (SetupConnection::EXTENSION, SetupConnection::TYPE) => 1291,
        _ => return None,
    })
}
