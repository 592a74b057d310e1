//! The data types of 03 §3.1 that messages of the mining protocol have, written. Each function appends one value under the name that
//! [`Reader`](super::Reader) gives its method.
//!
//! Writing cannot fail: a string, byte array or sequence longer than its prefix can state is cut to what fits, so
//! that a frame stays one. Where being cut would be wrong, the maker of the message checks first, as
//! [`ExtendedJobTail`](crate::messages::ExtendedJobTail) does.

use super::types::{B0_32_LIMIT, B0_64K_LIMIT, Integers, SEQ0_64K_LIMIT, SEQ0_255_LIMIT, STR0_255_LIMIT};

pub fn u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

pub fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

pub fn f32(out: &mut Vec<u8>, value: f32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn u256(out: &mut Vec<u8>, value: [u8; 32]) {
    out.extend_from_slice(&value);
}

/// Cut at 255 bytes.
pub fn str0_255(out: &mut Vec<u8>, value: &[u8]) {
    let value = first(value, STR0_255_LIMIT);
    count8(out, value.len());
    out.extend_from_slice(value);
}

/// Cut at 32 bytes.
pub fn b0_32(out: &mut Vec<u8>, value: &[u8]) {
    let value = first(value, B0_32_LIMIT);
    count8(out, value.len());
    out.extend_from_slice(value);
}

/// Cut at 65,535 bytes.
pub fn b0_64k(out: &mut Vec<u8>, value: &[u8]) {
    let value = first(value, B0_64K_LIMIT);
    count16(out, value.len());
    out.extend_from_slice(value);
}

pub fn option_u32(out: &mut Vec<u8>, value: Option<u32>) {
    match value {
        None => u8(out, 0),
        Some(value) => {
            u8(out, 1);
            u32(out, value);
        }
    }
}

/// Cut at 65,535 elements.
pub fn seq_u16(out: &mut Vec<u8>, values: Integers<'_, 2>) {
    let values = first(values.0, SEQ0_64K_LIMIT);
    count16(out, values.len());
    out.extend_from_slice(values.as_flattened());
}

/// Cut at 65,535 elements.
pub fn seq_u32(out: &mut Vec<u8>, values: Integers<'_, 4>) {
    let values = first(values.0, SEQ0_64K_LIMIT);
    count16(out, values.len());
    out.extend_from_slice(values.as_flattened());
}

/// Cut at 255 elements.
pub fn seq_u256(out: &mut Vec<u8>, values: &[[u8; 32]]) {
    let values = first(values, SEQ0_255_LIMIT);
    count8(out, values.len());
    out.extend_from_slice(values.as_flattened());
}

fn first<T>(values: &[T], limit: usize) -> &[T] {
    values.get(..limit).unwrap_or(values)
}

fn count8(out: &mut Vec<u8>, count: usize) {
    u8(out, u8::try_from(count).expect("cut to what the prefix can state"));
}

fn count16(out: &mut Vec<u8>, count: usize) {
    u16(out, u16::try_from(count).expect("cut to what the prefix can state"));
}
