use proptest::prelude::*;

use super::FrameHeader;

#[test]
fn fields_are_where_the_specification_puts_them() {
    // F-1, F-3: the example of 03 §3.2.1, 0x8ABC, is extension 0x0ABC of a channel message.
    let header = FrameHeader::read([0xbc, 0x8a, 0x1b, 0x03, 0x02, 0x01]);
    let expected = FrameHeader { extension: 0x0abc, channel_message: true, message: 0x1b, length: 0x01_0203 };
    assert_eq!(header, expected);
    assert_eq!(expected.write(), [0xbc, 0x8a, 0x1b, 0x03, 0x02, 0x01]);
    // F-4: the bit is no part of the number.
    let clear = FrameHeader::read([0xbc, 0x0a, 0x1b, 0x03, 0x02, 0x01]);
    assert_eq!(clear.extension, header.extension);
    assert!(!clear.channel_message);
}

#[test]
fn lengths_go_from_nothing_to_what_24_bits_hold() {
    // F-2
    assert_eq!(FrameHeader::read([0; 6]).length, 0);
    assert_eq!(FrameHeader::read([0, 0, 0, 0xff, 0xff, 0xff]).length, 16_777_215);
    let beyond = FrameHeader { extension: 0xffff, channel_message: false, message: 0, length: 1 << 24 };
    assert_eq!(beyond.write(), [0xff, 0x7f, 0, 0xff, 0xff, 0xff]);
}

proptest! {
    #[test]
    fn every_six_bytes_are_a_header(bytes: [u8; 6]) {
        let header = FrameHeader::read(bytes);
        prop_assert!(header.extension < 0x8000 && header.length < 1 << 24);
        prop_assert_eq!(header.write(), bytes);
    }
}
