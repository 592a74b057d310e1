use proptest::collection::vec;
use proptest::prelude::*;

use super::{Tlv, TlvError, Tlvs, Worker, worker, write, write_worker};

/// Extension 0x0002, field 1, 10 bytes: little-endian, as 03 §3.1 demands.
const LITTLE: &[u8] = b"\x02\x00\x01\x0a\x00Worker_001";
/// The same as printed in the example of extension 0x0002, section 2.
const BIG: &[u8] = b"\x00\x02\x01\x00\x0aWorker_001";

fn named(name: &str, big_endian: bool) -> Result<Option<Worker<'_>>, TlvError> {
    Ok(Some(Worker { name, big_endian }))
}

#[test]
fn a_worker_is_written_and_read_little_endian() {
    // F-40, F-44, E-20
    let mut out = Vec::new();
    write_worker(b"Worker_001", &mut out);
    assert_eq!(out, LITTLE);
    assert_eq!(worker(LITTLE), named("Worker_001", false));
    assert_eq!(worker(b""), Ok(None));
    assert_eq!(worker(b"\x02\x00\x01\x00\x00"), named("", false));
}

#[test]
fn the_big_endian_example_is_accepted_and_told_apart() {
    // F-44
    assert_eq!(worker(BIG), named("Worker_001", true));
    // A length that does not fit makes it what it is by the rules: extension 0x0200, and too short.
    let cut = BIG.split_last().unwrap().1;
    assert_eq!(worker(cut), Err(TlvError::Short { wanted: 0x0a00, left: 9 }));
    // Another field of that extension is not ours to reinterpret.
    assert_eq!(worker(b"\x00\x02\x02\x01\x00x"), Ok(None));
}

#[test]
fn other_extensions_and_any_order_are_passed_over() {
    // F-41, F-43, A-3
    let mut before = Vec::new();
    write(0x0003, 0x01, b"weights", &mut before);
    write(0x0002, 0x07, b"not the worker", &mut before);
    assert_eq!(worker(&before), Ok(None));
    before.extend_from_slice(LITTLE);
    write(0x0001, 0x01, b"", &mut before);
    assert_eq!(worker(&before), named("Worker_001", false));
    let fields: Vec<_> = Tlvs::new(&before).map(|tlv| tlv.map(|tlv| (tlv.extension, tlv.field))).collect();
    assert_eq!(fields, [Ok((3, 1)), Ok((2, 7)), Ok((2, 1)), Ok((1, 1))]);
}

#[test]
fn a_name_over_32_bytes_refuses_the_message() {
    // F-42, E-21
    let mut out = Vec::new();
    write_worker(&[b'w'; 32], &mut out);
    assert_eq!(out.len(), 37); // W-1b
    assert_eq!(worker(&out), named(&"w".repeat(32), false));
    out.clear();
    write_worker(&[b'w'; 33], &mut out);
    assert_eq!(worker(&out), Err(TlvError::WorkerTooLong { length: 33 }));
    // In big-endian it is no worker by F-44, and runs past the end by F-40.
    let mut big = b"\x00\x02\x01\x00\x21".to_vec();
    big.extend_from_slice(&[b'w'; 33]);
    assert_eq!(worker(&big), Err(TlvError::Short { wanted: 0x2100, left: 33 }));
}

#[test]
fn a_name_that_is_not_utf8_counts_as_missing() {
    // E-22
    assert_eq!(worker(b"\x02\x00\x01\x02\x00\xc3\x28"), Ok(None));
}

#[test]
fn what_is_no_list_of_tlvs_is_an_error() {
    // F-40
    assert_eq!(worker(b"\x02"), Err(TlvError::Short { wanted: 5, left: 1 }));
    assert_eq!(worker(b"\x02\x00\x01\x02\x00a"), Err(TlvError::Short { wanted: 2, left: 1 }));
    for end in 1..LITTLE.len() {
        assert!(worker(&LITTLE[..end]).is_err());
    }
    // One error, then the end.
    assert_eq!(Tlvs::new(b"\x02\x00\x01\xff\xffabc").count(), 1);
}

proptest! {
    #[test]
    fn fields_come_back(fields in vec((3u16..0x0200, any::<u8>(), vec(any::<u8>(), 0..40)), 0..6)) {
        let mut out = Vec::new();
        for (extension, field, value) in &fields {
            write(*extension, *field, value, &mut out);
        }
        let read: Vec<_> = Tlvs::new(&out).collect();
        let expected: Vec<_> = fields
            .iter()
            .map(|(extension, field, value)| {
                Ok(Tlv { extension: *extension, field: *field, value, big_endian: false })
            })
            .collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn anything_is_read_without_harm(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Tlvs::new(&bytes).count() <= bytes.len() / 5 + 1);
        if let Ok(Some(worker)) = worker(&bytes) {
            prop_assert!(worker.name.len() <= 32);
        }
    }
}
