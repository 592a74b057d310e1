use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];
const HEADER_BYTES: [u8; HEADER] = [1, 2, 3, 4, 5, 6];
/// Payload lengths on both sides of where a record begins or ends.
const LENGTHS: [usize; 8] = [0, 1, 24, 65_518, 65_519, 65_520, 131_038, 131_039];

fn pair() -> (Sealer, Opener) {
    (Sealer::new(KEY), Opener::new(KEY))
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn sealed(sealer: &mut Sealer, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(HEADER_BYTES, parts, &mut out);
    out
}

fn split(frame: &[u8]) -> (&[u8; HEADER_RECORD], &[u8]) {
    frame.split_first_chunk().unwrap()
}

/// The header and payload of a frame, or which of its two parts failed.
fn opened(opener: &mut Opener, frame: &[u8]) -> Result<([u8; HEADER], Vec<u8>), BadMac> {
    let (header, records) = split(frame);
    let header = opener.open_header(header)?;
    let mut out = Vec::new();
    opener.open_payload(records, &mut out)?;
    Ok((header, out))
}

#[test]
fn lengths_on_the_wire() {
    // N-31
    let table =
        [(0, 0), (1, 17), (65_519, 65_535), (65_520, 65_552), (131_038, 131_070), (16_777_215, 16_781_327)];
    for (plain, wire) in table {
        assert_eq!(sealed_length(plain), wire, "{plain}");
    }
    for plain in LENGTHS {
        let frame = sealed(&mut pair().0, &[&payload(plain)]);
        assert_eq!(frame.len(), HEADER_RECORD + sealed_length(plain), "{plain}");
    }
}

#[test]
fn the_largest_payload_of_all_makes_the_round() {
    let plain = payload(16_777_215);
    let (mut sealer, mut opener) = pair();
    let frame = sealed(&mut sealer, &[&plain]);
    assert_eq!(frame.len(), 22 + 16_781_327);
    let (header, read) = opened(&mut opener, &frame).unwrap();
    assert_eq!(header, HEADER_BYTES);
    assert!(read == plain);
}

#[test]
fn records_are_those_of_another_implementation() {
    // N-4, N-30: nonces count records, not frames; no associated data.
    let other = ChaCha20Poly1305::new(&KEY.into());
    let mut counter = 0_u64;
    let mut record = |plain: &[u8]| {
        let mut nonce = Nonce::default();
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        counter += 1;
        other.encrypt(&nonce, plain).unwrap()
    };
    let (mut sealer, _) = pair();
    for length in LENGTHS {
        let plain = payload(length);
        let mut wire = record(&HEADER_BYTES);
        plain.chunks(65_519).for_each(|chunk| wire.extend(record(chunk)));
        assert!(sealed(&mut sealer, &[&plain]) == wire, "{length}");
    }
}

#[test]
fn frames_follow_one_another_in_one_buffer() {
    let (mut sealer, mut opener) = pair();
    let mut out = b"before".to_vec();
    sealer.seal(HEADER_BYTES, &[b"one"], &mut out);
    let first = out.len();
    sealer.seal(HEADER_BYTES, &[], &mut out);
    assert_eq!(&out[..6], b"before");
    assert_eq!(opened(&mut opener, &out[6..first]), Ok((HEADER_BYTES, b"one".to_vec())));
    assert_eq!(opened(&mut opener, &out[first..]), Ok((HEADER_BYTES, Vec::new())));
}

#[test]
fn a_payload_is_appended_to_what_was_there() {
    let (mut sealer, mut opener) = pair();
    let frame = sealed(&mut sealer, &[b"two"]);
    let (header, records) = split(&frame);
    opener.open_header(header).unwrap();
    let mut out = b"one".to_vec();
    opener.open_payload(records, &mut out).unwrap();
    assert_eq!(out, b"onetwo");
}

#[test]
fn every_changed_bit_is_seen_and_does_not_count() {
    // N-20, N-4: after the failure, the true record still opens, so the counter stood.
    let (mut sealer, mut opener) = pair();
    let frame = sealed(&mut sealer, &[&payload(24)]);
    let (header, records) = split(&frame);
    for position in 0..HEADER_RECORD * 8 {
        let mut wrong = *header;
        wrong[position / 8] ^= 1 << (position % 8);
        assert_eq!(opener.open_header(&wrong), Err(BadMac), "bit {position}");
    }
    assert_eq!(opener.open_header(header), Ok(HEADER_BYTES));
    let mut out = Vec::new();
    for position in 0..records.len() * 8 {
        let mut wrong = records.to_vec();
        wrong[position / 8] ^= 1 << (position % 8);
        assert_eq!(opener.open_payload(&wrong, &mut out), Err(BadMac), "bit {position}");
        assert!(out.is_empty());
    }
    opener.open_payload(records, &mut out).unwrap();
    assert_eq!(out, payload(24));
}

#[test]
fn a_failure_in_a_later_record_gives_nothing_away() {
    // N-32
    let (mut sealer, mut opener) = pair();
    let mut frame = sealed(&mut sealer, &[&payload(65_520)]);
    *frame.last_mut().unwrap() ^= 1;
    let (header, records) = split(&frame);
    opener.open_header(header).unwrap();
    let mut out = b"before".to_vec();
    assert_eq!(opener.open_payload(records, &mut out), Err(BadMac));
    assert_eq!(out, b"before");
}

#[test]
fn records_open_once_in_order_and_in_their_own_direction() {
    let (mut sealer, mut opener) = pair();
    let first = sealed(&mut sealer, &[b"one"]);
    let second = sealed(&mut sealer, &[b"two"]);
    assert_eq!(opened(&mut opener, &second), Err(BadMac));
    assert!(opened(&mut opener, &first).is_ok());
    assert_eq!(opened(&mut opener, &first), Err(BadMac));
    assert!(opened(&mut opener, &second).is_ok());
    assert_eq!(opened(&mut Opener::new([8; 32]), &first), Err(BadMac));
}

#[test]
fn exchanged_records_of_one_payload_are_seen() {
    let (mut sealer, mut opener) = pair();
    let frame = sealed(&mut sealer, &[&payload(131_038)]);
    let (header, records) = split(&frame);
    opener.open_header(header).unwrap();
    let (left, right) = records.split_at(RECORD_SEALED);
    assert_eq!(opener.open_payload(&[right, left].concat(), &mut Vec::new()), Err(BadMac));
}

#[test]
fn a_cut_payload_is_seen() {
    // N-33: also where the rest is too short to be a record at all.
    let plain = payload(65_519 + 5);
    for length in (0..=40).chain(65_530..RECORD_SEALED + 5 + MAC) {
        let (mut sealer, mut opener) = pair();
        let frame = sealed(&mut sealer, &[&plain]);
        let (header, records) = split(&frame);
        opener.open_header(header).unwrap();
        let mut out = Vec::new();
        let result = opener.open_payload(&records[..length], &mut out);
        // Cut between two records, what is left is whole; its length was checked against the header before.
        let whole = length == 0 || length == RECORD_SEALED;
        assert_eq!(result.is_ok(), whole, "{length}");
    }
}

#[test]
fn an_idle_session_takes_about_a_kibibyte() {
    assert!(size_of::<Transport>() <= 1152, "{}", size_of::<Transport>());
}

#[test]
fn no_log_shows_a_key() {
    let (send, receive) = pair();
    let shown = format!("{:?}", Transport { send, receive });
    assert!(!shown.contains('7'), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_are_sealed_as_one(
        length in prop::sample::select(&LENGTHS[..]),
        mut cuts in prop::collection::vec(0.0..=1.0_f64, 0..5),
    ) {
        let plain = payload(length);
        cuts.sort_by(f64::total_cmp);
        let mut parts = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().map(|cut| (cut * length as f64) as usize).chain([length]) {
            parts.push(&plain[from..cut]);
            from = cut;
        }
        let frame = sealed(&mut pair().0, &parts);
        prop_assert!(frame == sealed(&mut pair().0, &[&plain]));
        let (header, read) = opened(&mut pair().1, &frame).unwrap();
        prop_assert_eq!(header, HEADER_BYTES);
        prop_assert!(read == plain);
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_long_frame_is_seen(at in 0.0..1.0_f64, change in 1..=255_u8) {
        let frame = sealed(&mut pair().0, &[&payload(65_600)]);
        let mut wrong = frame.clone();
        let at = (at * frame.len() as f64) as usize;
        wrong[at] ^= change;
        prop_assert_eq!(opened(&mut pair().1, &wrong), Err(BadMac));
    }

    #[test]
    fn garbage_opens_nothing(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut out = Vec::new();
        prop_assert_eq!(pair().1.open_payload(&bytes, &mut out), Err(BadMac));
        prop_assert!(out.is_empty());
    }
}
