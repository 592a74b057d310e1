//! What holds of every message. `vectors` are written by hand from the tables of the specification.

mod dispatch;
mod extended_job;
mod round_trip;
mod vectors;

use std::fmt::Debug;

use super::{Message, write_frame};
use crate::wire::{FrameHeader, Reader};

/// Bytes of hex in groups.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    hex::decode(digits).unwrap()
}

/// Header and payload of a frame that is whole.
fn split(frame: &[u8]) -> (FrameHeader, &[u8]) {
    let (header, payload) = frame.split_first_chunk().unwrap();
    let header = FrameHeader::read(*header);
    assert_eq!(header.length as usize, payload.len(), "F-2");
    (header, payload)
}

/// The length of a message's payload, after making sure that the message is read back from its frame, also with bytes
/// behind it (F-29), and from no part of it (F-28). `space` is empty.
fn checked<'a, M: Message<'a> + PartialEq + Debug>(message: &M, space: &'a mut Vec<u8>) -> usize {
    write_frame(message, space);
    let length = space.len() - FrameHeader::LENGTH;
    space.extend_from_slice(b"behind");
    let (header, rest) = space.split_first_chunk().unwrap();
    let header = FrameHeader::read(*header);
    assert_eq!((header.extension, header.message), (M::EXTENSION, M::TYPE));
    assert_eq!(header.channel_message, M::CHANNEL_MESSAGE, "F-7");
    assert_eq!(header.length as usize, length, "F-2");
    let mut reader = Reader::new(rest);
    assert_eq!(M::decode(&mut reader).as_ref(), Ok(message), "{}", M::NAME);
    assert_eq!(reader.rest(), b"behind", "F-29");
    no_part_is_a_message::<M>(&rest[..length]);
    length
}

/// F-28: the payload cut after any byte is malformed.
fn no_part_is_a_message<'a, M: Message<'a> + Debug>(payload: &'a [u8]) {
    for end in 0..payload.len() {
        let read = M::decode(&mut Reader::new(&payload[..end]));
        assert!(read.is_err(), "{end} of {} bytes are {read:?}", payload.len());
    }
}
