//! From a header to a message, or to none.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::messages::*;
use crate::wire::{FrameHeader, Malformed};

/// Table W: extension, number, channel bit, from the client, from the server, name.
const TABLE: &[(u16, u8, bool, bool, bool, &str)] = &[
    (0, 0x00, false, true, false, "SetupConnection"),
    (0, 0x01, false, false, true, "SetupConnection.Success"),
    (0, 0x02, false, false, true, "SetupConnection.Error"),
    (0, 0x03, true, false, true, "ChannelEndpointChanged"),
    (0, 0x04, false, false, true, "Reconnect"),
    (0, 0x10, false, true, false, "OpenStandardMiningChannel"),
    (0, 0x11, false, false, true, "OpenStandardMiningChannel.Success"),
    (0, 0x12, false, false, true, "OpenMiningChannel.Error"),
    (0, 0x13, false, true, false, "OpenExtendedMiningChannel"),
    (0, 0x14, false, false, true, "OpenExtendedMiningChannel.Success"),
    (0, 0x15, true, false, true, "NewMiningJob"),
    (0, 0x16, true, true, false, "UpdateChannel"),
    (0, 0x17, true, false, true, "UpdateChannel.Error"),
    (0, 0x18, true, true, true, "CloseChannel"),
    (0, 0x19, true, false, true, "SetExtranoncePrefix"),
    (0, 0x1a, true, true, false, "SubmitSharesStandard"),
    (0, 0x1b, true, true, false, "SubmitSharesExtended"),
    (0, 0x1c, true, false, true, "SubmitShares.Success"),
    (0, 0x1d, true, false, true, "SubmitShares.Error"),
    (0, 0x1f, true, false, true, "NewExtendedMiningJob"),
    (0, 0x20, true, false, true, "SetNewPrevHash"),
    (0, 0x21, true, false, true, "SetTarget"),
    (0, 0x25, false, false, true, "SetGroupChannel"),
    (1, 0x00, false, true, false, "RequestExtensions"),
    (1, 0x01, false, false, true, "RequestExtensions.Success"),
    (1, 0x02, false, false, true, "RequestExtensions.Error"),
];

fn header(extension: u16, message: u8, channel_message: bool, payload: &[u8]) -> FrameHeader {
    FrameHeader { extension, channel_message, message, length: payload.len() as u32 }
}

#[test]
fn each_number_is_the_message_of_table_w() {
    // W-00 to W-E1, F-7; zeros are the fields of every message, with empty strings and sequences.
    let zeros = [0; 100];
    for extension in [0, 1] {
        for number in 0..=255u8 {
            let row = TABLE.iter().find(|row| (row.0, row.1) == (extension, number));
            let header = header(extension, number, false, &zeros);
            let sent = match ClientMessage::decode(header, &zeros).unwrap() {
                Decoded::Message { message, .. } => Some((message.name(), message.is_channel_message())),
                other => {
                    assert_eq!(other, Decoded::UnknownMessage, "F-10");
                    None
                }
            };
            assert_eq!(sent, row.filter(|row| row.3).map(|row| (row.5, row.2)));
            let got = match ServerMessage::decode(header, &zeros).unwrap() {
                Decoded::Message { message, .. } => Some((message.name(), message.is_channel_message())),
                other => {
                    assert_eq!(other, Decoded::UnknownMessage, "F-10");
                    None
                }
            };
            assert_eq!(got, row.filter(|row| row.4).map(|row| (row.5, row.2)));
        }
    }
}

#[test]
fn a_wrong_channel_bit_changes_nothing() {
    // F-8
    let payload = [7; 24];
    let right = ClientMessage::decode(header(0, 0x1a, true, &payload), &payload).unwrap();
    let wrong = ClientMessage::decode(header(0, 0x1a, false, &payload), &payload).unwrap();
    assert_eq!(right, wrong);
    let Decoded::Message { message, trailing: [] } = wrong else { panic!("{wrong:?}") };
    assert!(message.is_channel_message());
}

#[test]
fn unknown_extensions_are_neither_messages_nor_errors() {
    // F-9: with and without the bit; F-4: the number is looked up without it. 2 has no messages of its own.
    let payload = [0; 100];
    for (extension, bit) in [(2, false), (2, true), (3, false), (3, true), (0x4000, true), (0x7fff, true)] {
        let read = ClientMessage::decode(header(extension, 0x00, bit, &payload), &payload);
        assert_eq!(read, Ok(Decoded::UnknownExtension));
        assert_eq!(inbound_limit(extension, 0x00), None);
    }
}

#[test]
fn a_channel_message_has_room_for_its_channel() {
    // F-5, also where nothing else is known of the message.
    for (extension, number) in [(0, 0x1a), (0, 0xff), (0x0abc, 0x00)] {
        let read = ClientMessage::decode(header(extension, number, true, &[1, 2, 3]), &[1, 2, 3]);
        assert_eq!(read, Err(Malformed::NoChannel { left: 3 }));
    }
    // Without the bit, nothing is a payload too.
    assert_eq!(ClientMessage::decode(header(0x0abc, 0, false, &[]), &[]), Ok(Decoded::UnknownExtension));
}

#[test]
fn what_follows_the_last_field_is_handed_on() {
    // F-29
    let mut frame = Vec::new();
    let target = SetTarget { channel_id: 1, maximum_target: [2; 32] };
    write_frame_with(&target, b"more", &mut frame);
    let (head, payload) = frame.split_first_chunk().unwrap();
    let read = ServerMessage::decode(FrameHeader::read(*head), payload);
    assert_eq!(read, Ok(Decoded::Message { message: ServerMessage::SetTarget(target), trailing: b"more" }));
}

#[test]
fn limits_have_room_for_table_w_and_no_more_than_sense() {
    // F-13
    assert_eq!(inbound_limit(0, 0x00), Some(1291));
    let longest = [(0x10, 296), (0x13, 298), (0x16, 40), (0x18, 260), (0x1a, 24), (0x1b, 94)];
    for (number, bytes) in longest {
        let limit = inbound_limit(0, number).unwrap();
        assert!((bytes..=1291).contains(&limit), "{number:#x}");
    }
    assert!(inbound_limit(1, 0x00).is_some_and(|limit| limit < 1291));
    for (extension, number, _, from_client, ..) in TABLE {
        assert_eq!(inbound_limit(*extension, *number).is_some(), *from_client);
    }
    // SetCustomMiningJob, job declaration, template distribution.
    for number in [0x22, 0x50, 0x57, 0x60, 0x70, 0x76] {
        assert_eq!(inbound_limit(0, number), None);
    }
}

proptest! {
    #[test]
    fn any_payload_is_read_without_harm(
        extension in 0u16..3, number in 0u8..0x30, bit: bool, payload in vec(any::<u8>(), 0..400),
    ) {
        let header = header(extension, number, bit, &payload);
        if let Ok(Decoded::Message { message, trailing }) = ClientMessage::decode(header, &payload) {
            let mut out = Vec::new();
            message.write_frame(&mut out);
            prop_assert_eq!(&out[6..], &payload[..payload.len() - trailing.len()]);
        }
        // Of the server's messages one has a BOOL, whose other bits are not kept (F-20).
        if let Ok(Decoded::Message { message, trailing }) = ServerMessage::decode(header, &payload) {
            let mut out = Vec::new();
            message.write_frame(&mut out);
            prop_assert_eq!(out.len() - 6, payload.len() - trailing.len());
        }
    }
}
