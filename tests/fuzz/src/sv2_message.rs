//! One Stratum V2 message of either direction: two bytes say which, the rest is its payload. What is read is written
//! as it was, no part of it is the same message, and what is appended to it is found again.

use std::fmt::Debug;

use sluice_stratum_v2::messages::{ClientMessage, Decoded, ServerMessage, inbound_limit};
use sluice_stratum_v2::wire::tlv::{Tlvs, WORKER_LIMIT, worker};
use sluice_stratum_v2::wire::types::{Malformed, nominal_hash_rate};
use sluice_stratum_v2::wire::{FrameHeader, text};

pub fn run(data: &[u8]) {
    let Some(([extension, message], payload)) = data.split_first_chunk() else { return };
    let Ok(length) = u32::try_from(payload.len()) else { return };
    let header = FrameHeader {
        extension: u16::from(extension & 0x7f),
        channel_message: extension & 0x80 != 0,
        message: *message,
        length,
    };
    read(header, payload);
}

/// What a connection does with a frame, and what must then hold.
pub fn read(header: FrameHeader, payload: &[u8]) {
    let client = ClientMessage::decode(header, payload);
    if let Ok(Decoded::Message { message, trailing }) = client {
        assert!(inbound_limit(header.extension, header.message).is_some());
        consistent(header, payload, trailing, ClientMessage::decode, |out| message.write_frame(out));
        strings(&message);
        fields(trailing);
    }
    let server = ServerMessage::decode(header, payload);
    if let Ok(Decoded::Message { message, trailing }) = server {
        consistent(header, payload, trailing, ServerMessage::decode, |out| message.write_frame(out));
    }
    // One extension or message is known or not, whichever the direction.
    assert_eq!(
        matches!(client, Ok(Decoded::UnknownExtension)),
        matches!(server, Ok(Decoded::UnknownExtension))
    );
}

type Decode<'a, M> = fn(FrameHeader, &'a [u8]) -> Result<Decoded<'a, M>, Malformed>;

fn consistent<'a, M: Debug>(
    header: FrameHeader,
    payload: &'a [u8],
    trailing: &[u8],
    decode: Decode<'a, M>,
    write: impl Fn(&mut Vec<u8>),
) {
    let known = payload.len() - trailing.len();
    let mut frame = Vec::new();
    write(&mut frame);
    let (head, written) = frame.split_first_chunk().expect("a header");
    let again = FrameHeader::read(*head);
    assert_eq!((again.extension, again.message), (header.extension, header.message));
    assert_eq!(again.length as usize, written.len());
    // A BOOL keeps one bit of eight; everything else comes back.
    let differing = written.iter().zip(&payload[..known]).filter(|(a, b)| a != b).count();
    assert!(written.len() == known && differing <= 1, "{written:?} of {payload:?}");
    if known > 0 {
        let cut = decode(header, &payload[..known - 1]);
        assert!(cut.is_err(), "{cut:?}");
    }
}

/// What reaches logs and arithmetic.
fn strings(message: &ClientMessage<'_>) {
    let (bytes, rate) = match message {
        ClientMessage::OpenStandardMiningChannel(open) => (open.user_identity, open.nominal_hash_rate),
        ClientMessage::OpenExtendedMiningChannel(open) => (open.user_identity, open.nominal_hash_rate),
        ClientMessage::SetupConnection(setup) => (setup.vendor, 0.0),
        ClientMessage::CloseChannel(close) => (close.reason_code, 0.0),
        ClientMessage::UpdateChannel(update) => (&[][..], update.nominal_hash_rate),
        _ => return,
    };
    assert!(!text::printable(bytes).contains(char::is_control));
    assert!(nominal_hash_rate(rate).is_none_or(|rate| rate.0.is_finite() && rate.0 >= 0.0));
}

fn fields(trailing: &[u8]) {
    let length: usize = Tlvs::new(trailing).flatten().map(|tlv| 5 + tlv.value.len()).sum();
    assert!(length <= trailing.len());
    if let Ok(Some(worker)) = worker(trailing) {
        assert!(worker.name.len() <= WORKER_LIMIT);
    }
}
