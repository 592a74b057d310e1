use bitcoin::Target;
use proptest::prelude::*;

use super::{Integers, Malformed, Reader, nominal_hash_rate, target, wire_target};
use crate::wire::put;

const F: &str = "field";

#[test]
fn integers_are_little_endian() {
    // F-21
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.u8(F), Ok(0x01));
    assert_eq!(reader.u16(F), Ok(0x0302));
    assert_eq!(reader.u32(F), Ok(0x0706_0504));
    assert_eq!(reader.u64(F), Ok(0x0f0e_0d0c_0b0a_0908));
    assert_eq!(reader.u8(F), Err(Malformed::Short { field: F, wanted: 1, left: 0 }));
}

#[test]
fn only_the_lowest_bit_of_a_bool_counts() {
    // F-20
    for byte in 0..=255u8 {
        assert_eq!(Reader::new(&[byte]).bool(F), Ok(byte % 2 == 1));
    }
}

#[test]
fn hash_rates_that_are_none_are_recognised() {
    // F-27, M-13
    assert_eq!(Reader::new(&[0, 0, 0x80, 0x3f]).f32(F), Ok(1.0));
    assert!(Reader::new(&[0, 0, 0xc0, 0x7f]).f32(F).is_ok_and(f32::is_nan));
    for refused in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -0.0, -f32::NAN] {
        assert!(nominal_hash_rate(refused).is_none(), "{refused}");
    }
    for allowed in [0.0f32, f32::MIN_POSITIVE, 1e14, f32::MAX] {
        assert!(nominal_hash_rate(allowed).is_some_and(|rate| rate.0 == f64::from(allowed)));
    }
}

#[test]
fn targets_are_little_endian_numbers() {
    // F-21: difficulty 1 is 0xffff << 208, so bytes 26 and 27 counted from the least significant.
    let mut wire = [0; 32];
    wire[26] = 0xff;
    wire[27] = 0xff;
    assert_eq!(target(wire), Target::MAX_ATTAINABLE_MAINNET);
    assert_eq!(wire_target(Target::MAX_ATTAINABLE_MAINNET), wire);
    let mut larger = [0; 32];
    larger[31] = 1;
    assert!(target(larger) > target(wire));
}

#[test]
fn prefixes_have_the_width_of_their_type() {
    // F-22
    let mut reader = Reader::new(&[2, b'a', b'b', 1, b'c', 0, 3, 0, b'd', b'e', b'f', 9]);
    assert_eq!(reader.str0_255(F), Ok(&b"ab"[..]));
    assert_eq!(reader.b0_32(F), Ok(&b"c"[..]));
    assert_eq!(reader.str0_255(F), Ok(&b""[..]));
    assert_eq!(reader.b0_64k(F), Ok(&b"def"[..]));
    assert_eq!(reader.rest(), [9]);
}

#[test]
fn strings_need_not_be_text() {
    // F-25
    assert_eq!(Reader::new(&[3, 0xff, 0, 0xc3]).str0_255(F), Ok(&[0xff, 0, 0xc3][..]));
}

#[test]
fn thirty_three_bytes_are_too_many_for_b0_32() {
    // F-23
    let mut bytes = vec![33];
    bytes.resize(40, 7);
    assert_eq!(Reader::new(&bytes).b0_32(F), Err(Malformed::TooLong { field: F, length: 33, limit: 32 }));
    bytes[0] = 32;
    assert_eq!(Reader::new(&bytes).b0_32(F).map(<[u8]>::len), Ok(32));
}

#[test]
fn an_option_has_one_value_at_most() {
    // F-24
    assert_eq!(Reader::new(&[0, 9]).option_u32(F), Ok(None));
    assert_eq!(Reader::new(&[1, 4, 3, 2, 1]).option_u32(F), Ok(Some(0x0102_0304)));
    let two = [2, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Reader::new(&two).option_u32(F), Err(Malformed::Option { field: F, count: 2 }));
    assert!(Reader::new(&[1, 4, 3, 2]).option_u32(F).is_err());
}

#[test]
fn sequences_borrow_their_elements() {
    // F-22
    assert_eq!(Reader::new(&[2, 0, 1, 0, 0, 1]).seq_u16(F).map(|s| s.iter().collect()), Ok(vec![1, 256]));
    let bytes = [1, 0, 4, 3, 2, 1, 0xee];
    let mut reader = Reader::new(&bytes);
    let list = reader.seq_u32(F).unwrap();
    assert_eq!((list.len(), list.is_empty(), list.iter().next()), (1, false, Some(0x0102_0304)));
    assert_eq!(reader.rest(), [0xee]);
    let mut path = vec![2];
    path.extend_from_slice(&[1; 32]);
    path.extend_from_slice(&[2; 32]);
    assert_eq!(Reader::new(&path).seq_u256(F), Ok(&[[1; 32], [2; 32]][..]));
}

#[test]
fn counts_beyond_the_payload_are_refused() {
    // F-28
    let short = |wanted, left| Malformed::Short { field: F, wanted, left };
    assert_eq!(Reader::new(&[0xff, 0xff, 1, 2]).seq_u16(F), Err(short(131_070, 2)));
    assert_eq!(Reader::new(&[0xff, 0xff, 1, 2]).seq_u32(F), Err(short(262_140, 2)));
    assert_eq!(Reader::new(&[0xff, 1, 2]).seq_u256(F), Err(short(8_160, 2)));
    assert_eq!(Reader::new(&[0xff, 0xff, 1]).b0_64k(F), Err(short(65_535, 1)));
    assert_eq!(Reader::new(&[4, 1, 2, 3]).str0_255(F), Err(short(4, 3)));
    assert_eq!(short(4, 3).to_string(), "field needs 4 bytes, the payload has 3 left");
}

#[test]
fn what_a_prefix_cannot_state_is_cut() {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    let long = vec![7; 70_000];
    assert_eq!(written(&|out| put::str0_255(out, &long)).len(), 1 + 255);
    assert_eq!(written(&|out| put::b0_32(out, &long)).len(), 1 + 32);
    assert_eq!(written(&|out| put::b0_64k(out, &long)).len(), 2 + 65_535);
    assert_eq!(written(&|out| put::seq_u256(out, &[[0; 32]; 300])).len(), 1 + 255 * 32);
    assert_eq!(written(&|out| put::seq_u16(out, Integers(&[[0; 2]; 65_600]))).len(), 2 + 65_535 * 2);
    assert_eq!(written(&|out| put::seq_u32(out, Integers(&[[0; 4]; 65_600]))).len(), 2 + 65_535 * 4);
}

proptest! {
    #[test]
    fn numbers_come_back(a: u8, b: u16, c: u32, d: u64, e: bool, f: u32, g: [u8; 32]) {
        let mut out = Vec::new();
        put::u8(&mut out, a);
        put::u16(&mut out, b);
        put::u32(&mut out, c);
        put::u64(&mut out, d);
        put::bool(&mut out, e);
        put::f32(&mut out, f32::from_bits(f));
        put::u256(&mut out, g);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.u8(F), Ok(a));
        prop_assert_eq!(reader.u16(F), Ok(b));
        prop_assert_eq!(reader.u32(F), Ok(c));
        prop_assert_eq!(reader.u64(F), Ok(d));
        prop_assert_eq!(reader.bool(F), Ok(e));
        prop_assert_eq!(reader.f32(F).map(f32::to_bits), Ok(f));
        prop_assert_eq!(reader.u256(F), Ok(g));
        prop_assert!(reader.rest().is_empty());
    }
}
