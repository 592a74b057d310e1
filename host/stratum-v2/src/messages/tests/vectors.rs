//! One frame of each message, byte by byte from the tables of 03 §3.6, 05 §5.3, 08 and extension 0x0001.

use super::{bytes, no_part_is_a_message, split};
use crate::messages::*;
use crate::wire::{FrameHeader, Integers, Reader};

/// 32 bytes whose order shows.
const ASCENDING: &str = "000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f";

fn ascending() -> [u8; 32] {
    std::array::from_fn(|index| index as u8)
}

/// The hex is the frame of the message and nothing else, both ways.
fn same<'a, M: Message<'a> + PartialEq + std::fmt::Debug>(frame: &'a [u8], message: &M) {
    let mut out = b"before".to_vec();
    write_frame(message, &mut out);
    assert_eq!(hex::encode(&out[6..]), hex::encode(frame), "{}", M::NAME);
    let (_, payload) = split(frame);
    let mut reader = Reader::new(payload);
    assert_eq!(M::decode(&mut reader).as_ref(), Ok(message));
    assert!(reader.rest().is_empty());
    no_part_is_a_message::<M>(payload);
}

#[test]
fn setup() {
    // S-3, W-00
    let frame = bytes(
        "0000 00 340000  00 0200 0200 04000000  09 706f6f6c2e74657374 650d
         07 4269746d61696e  08 53392031332e3561  04 76312e30  08 6162632d31323321",
    );
    let setup = SetupConnection {
        protocol: common::MINING,
        min_version: 2,
        max_version: 2,
        flags: common::REQUIRES_VERSION_ROLLING,
        endpoint_host: b"pool.test",
        endpoint_port: 3429,
        vendor: b"Bitmain",
        hardware_version: b"S9 13.5a",
        firmware: b"v1.0",
        device_id: b"abc-123!",
    };
    same(&frame, &setup);
}

#[test]
fn setup_answers() {
    // W-01
    let success = SetupConnectionSuccess { used_version: common::VERSION, flags: 2 };
    same(&bytes("0000 01 060000  0200 02000000"), &success);
    // W-02, S-6
    let error = SetupConnectionError { flags: 0xffff_fffa, error_code: b"banned" };
    same(&bytes("0000 02 0b0000  faffffff 06 62616e6e6564"), &error);
}

#[test]
fn moving() {
    // W-03: the channel bit is the top bit of the second byte (F-3).
    same(&bytes("0080 03 040000  04030201"), &ChannelEndpointChanged { channel_id: 0x0102_0304 });
    // W-04, S-18
    same(&bytes("0000 04 060000  03 622e63 7005"), &Reconnect { new_host: b"b.c", new_port: 0x0570 });
    same(&bytes("0000 04 030000  00 0000"), &Reconnect { new_host: b"", new_port: 0 });
}

#[test]
fn opening_a_standard_channel() {
    // W-10, M-10: 1.0e12 is 0x5368d4a5.
    let frame = bytes(&format!("0000 10 2e0000  0a000000 05 616c696365 a5d46853 {ASCENDING}"));
    let open = OpenStandardMiningChannel {
        request_id: 10,
        user_identity: b"alice",
        nominal_hash_rate: 1.0e12,
        max_target: ascending(),
    };
    same(&frame, &open);
    // W-11, M-17
    let frame = bytes(&format!("0000 11 310000  0a000000 02000000 {ASCENDING} 04 01abcdef 01000000"));
    let success = OpenStandardMiningChannelSuccess {
        request_id: 10,
        channel_id: 2,
        target: ascending(),
        extranonce_prefix: &[0x01, 0xab, 0xcd, 0xef],
        group_channel_id: 1,
    };
    same(&frame, &success);
}

#[test]
fn opening_an_extended_channel() {
    // W-13, M-10
    let frame = bytes(&format!("0000 13 2e0000  0b000000 03 626f62 0000803f {ASCENDING} 0800"));
    let open = OpenExtendedMiningChannel {
        request_id: 11,
        user_identity: b"bob",
        nominal_hash_rate: 1.0,
        max_target: ascending(),
        min_extranonce_size: 8,
    };
    same(&frame, &open);
    // W-14, M-17: the size before the prefix.
    let frame = bytes(&format!("0000 14 310000  0b000000 03000000 {ASCENDING} 1000 02 5566 01000000"));
    let success = OpenExtendedMiningChannelSuccess {
        request_id: 11,
        channel_id: 3,
        target: ascending(),
        extranonce_size: 16,
        extranonce_prefix: &[0x55, 0x66],
        group_channel_id: 1,
    };
    same(&frame, &success);
}

#[test]
fn refusing_a_channel() {
    // W-12: the same for both kinds.
    let error = OpenMiningChannelError { request_id: 0x0102_0304, error_code: b"try-later" };
    same(&bytes("0000 12 0e0000  04030201 09 7472792d6c61746572"), &error);
}

#[test]
fn changing_and_closing_a_channel() {
    // W-16, M-53
    let update = UpdateChannel { channel_id: 5, nominal_hash_rate: 0.0, maximum_target: ascending() };
    same(&bytes(&format!("0080 16 280000  05000000 00000000 {ASCENDING}")), &update);
    // W-17
    let error = UpdateChannelError { channel_id: 5, error_code: b"no" };
    same(&bytes("0080 17 070000  05000000 02 6e6f"), &error);
    // W-18
    same(&bytes("0080 18 050000  05000000 00"), &CloseChannel { channel_id: 5, reason_code: b"" });
    // W-19
    let prefix = SetExtranoncePrefix { channel_id: 5, extranonce_prefix: &[9, 8, 7] };
    same(&bytes("0080 19 080000  05000000 03 090807"), &prefix);
    // W-25, M-100: names channels, yet no bit.
    let ids = [2u32.to_le_bytes(), 0x0102_0304u32.to_le_bytes()];
    let group = SetGroupChannel { group_channel_id: 1, channel_ids: Integers(&ids) };
    same(&bytes("0000 25 0e0000  01000000 0200 02000000 04030201"), &group);
}

#[test]
fn standard_jobs() {
    // W-15, M-31: 45 bytes dormant, 49 active.
    let mut job = NewMiningJob {
        channel_id: 2,
        job_id: 7,
        min_ntime: None,
        version: 0x2000_0000,
        merkle_root: ascending(),
    };
    same(&bytes(&format!("0080 15 2d0000  02000000 07000000 00 00000020 {ASCENDING}")), &job);
    job.min_ntime = Some(0x6655_4433);
    same(&bytes(&format!("0080 15 310000  02000000 07000000 01 33445566 00000020 {ASCENDING}")), &job);
}

#[test]
fn extended_jobs() {
    // W-1f, M-32
    let path = [ascending(), [0xee; 32]];
    let job = NewExtendedMiningJob {
        channel_id: 1,
        job_id: 8,
        min_ntime: None,
        version: 0x2000_0004,
        version_rolling_allowed: true,
        merkle_path: &path,
        coinbase_tx_prefix: &[0xc0, 0xc1, 0xc2],
        coinbase_tx_suffix: &[0xd0],
    };
    let rest = format!("04000020 01 02 {ASCENDING} {} 0300 c0c1c2 0100 d0", "ee".repeat(32));
    same(&bytes(&format!("0080 1f 570000  01000000 08000000 00 {rest}")), &job);
    let active = NewExtendedMiningJob { min_ntime: Some(1), ..job };
    same(&bytes(&format!("0080 1f 5b0000  01000000 08000000 01 01000000 {rest}")), &active);
}

#[test]
fn blocks_and_targets() {
    // W-20, M-41
    let block = SetNewPrevHash {
        channel_id: 1,
        job_id: 8,
        prev_hash: ascending(),
        min_ntime: 0x6655_4433,
        nbits: 0x1d00_ffff,
    };
    same(&bytes(&format!("0080 20 300000  01000000 08000000 {ASCENDING} 33445566 ffff001d")), &block);
    // W-21
    let target = SetTarget { channel_id: 1, maximum_target: ascending() };
    same(&bytes(&format!("0080 21 240000  01000000 {ASCENDING}")), &target);
}

#[test]
fn submissions() {
    // W-1a, M-70
    let standard = SubmitSharesStandard {
        channel_id: 2,
        sequence_number: 1,
        job_id: 7,
        nonce: 0xdead_beef,
        ntime: 0x6655_4433,
        version: 0x2fff_e004,
    };
    same(&bytes("0080 1a 180000  02000000 01000000 07000000 efbeadde 33445566 04e0ff2f"), &standard);
    // W-1b
    let extended = SubmitSharesExtended {
        channel_id: 3,
        sequence_number: 2,
        job_id: 8,
        nonce: 0xdead_beef,
        ntime: 0x6655_4433,
        version: 0x2fff_e004,
        extranonce: &[1, 2, 3, 4],
    };
    let fields = "03000000 02000000 08000000 efbeadde 33445566 04e0ff2f 04 01020304";
    same(&bytes(&format!("0080 1b 1d0000  {fields}")), &extended);
}

#[test]
fn a_submission_with_a_worker() {
    // E-20, F-6: the header stays that of the core message, and its length counts the TLV.
    let fields = "03000000 02000000 08000000 efbeadde 33445566 04e0ff2f 04 01020304";
    let frame = bytes(&format!("0080 1b 250000  {fields} 0200 01 0300 726967"));
    let (header, payload) = split(&frame);
    let Ok(Decoded::Message { message: ClientMessage::SubmitSharesExtended(share), trailing }) =
        ClientMessage::decode(header, payload)
    else {
        panic!("not an extended submission");
    };
    let worker = crate::wire::tlv::worker(trailing).unwrap().unwrap();
    assert_eq!((share.extranonce, worker.name), (&[1u8, 2, 3, 4][..], "rig"));
    let mut again = Vec::new();
    write_frame_with(&share, trailing, &mut again);
    assert_eq!(again, frame);
}

#[test]
fn verdicts() {
    // W-1c, M-80
    let success = SubmitSharesSuccess {
        channel_id: 2,
        last_sequence_number: 0x0102_0304,
        new_submits_accepted_count: 16,
        new_shares_sum: 0x0102_0304_0506_0708,
    };
    same(&bytes("0080 1c 140000  02000000 04030201 10000000 0807060504030201"), &success);
    // W-1d
    let error = SubmitSharesError { channel_id: 2, sequence_number: 5, error_code: b"stale-share" };
    same(&bytes("0080 1d 140000  02000000 05000000 0b 7374616c652d7368617265"), &error);
}

#[test]
fn negotiating_extensions() {
    // W-E1, E-1: request ids of two bytes, extension 1 in the header.
    let two = [2u16.to_le_bytes(), 3u16.to_le_bytes()];
    let request = RequestExtensions { request_id: 0x0102, requested: Integers(&two) };
    same(&bytes("0100 00 080000  0201 0200 0200 0300"), &request);
    let success = RequestExtensionsSuccess { request_id: 0x0102, supported: Integers(&two[..1]) };
    same(&bytes("0100 01 060000  0201 0100 0200"), &success);
    let error = RequestExtensionsError {
        request_id: 0x0102,
        unsupported: Integers(&two[1..]),
        required: Integers(&two[..1]),
    };
    same(&bytes("0100 02 0a0000  0201 0100 0300 0100 0200"), &error);
}

#[test]
fn answering_shares_needs_no_memory() {
    let success = SubmitSharesSuccess {
        channel_id: 2,
        last_sequence_number: 1,
        new_submits_accepted_count: 1,
        new_shares_sum: 1,
    };
    let mut out = Vec::with_capacity(FrameHeader::LENGTH + 20);
    let place = out.as_ptr();
    for _ in 0..3 {
        out.clear();
        write_frame(&success, &mut out);
    }
    assert_eq!((out.as_ptr(), out.len(), out.capacity()), (place, 26, 26));
}
