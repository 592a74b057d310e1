//! The data types of 03 §3.1 that messages of the mining protocol have, read (F-20 to F-29). All integers are
//! little-endian.

use bitcoin::Target;
use sluice_core::units::Hashrate;

#[cfg(test)]
mod tests;

/// The most bytes in a `B0_32` (F-23).
pub const B0_32_LIMIT: usize = 32;
/// The most bytes in a `STR0_255`.
pub const STR0_255_LIMIT: usize = 255;
/// The most bytes in a `B0_64K`.
pub const B0_64K_LIMIT: usize = 65_535;
/// The most elements of a `SEQ0_255`.
pub const SEQ0_255_LIMIT: usize = 255;
/// The most elements of a `SEQ0_64K`.
pub const SEQ0_64K_LIMIT: usize = 65_535;

/// Why a payload is not the message it says it is. The connection ends: no message exists to say so (F-28).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The payload ends inside this field, or its length or count goes beyond the payload.
    #[error("{field} needs {wanted} bytes, the payload has {left} left")]
    Short { field: &'static str, wanted: usize, left: usize },
    /// F-23.
    #[error("{field} has {length} bytes, at most {limit} are allowed")]
    TooLong { field: &'static str, length: usize, limit: usize },
    /// F-24.
    #[error("{field} is an option with {count} values, at most one is allowed")]
    Option { field: &'static str, count: u8 },
    /// F-5.
    #[error("a channel message needs 4 bytes of channel id, the payload has {left}")]
    NoChannel { left: usize },
}

/// What is left of a payload. Every method takes the field's name, for the error.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The bytes not read yet; after the last field, what F-29 is about.
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], Malformed> {
        let short = Malformed::Short { field, wanted: N, left: self.rest.len() };
        let (head, rest) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = rest;
        Ok(head)
    }

    fn take(&mut self, field: &'static str, wanted: usize) -> Result<&'a [u8], Malformed> {
        let short = Malformed::Short { field, wanted, left: self.rest.len() };
        let (head, rest) = self.rest.split_at_checked(wanted).ok_or(short)?;
        self.rest = rest;
        Ok(head)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array(field).map(|[byte]| *byte)
    }

    pub fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(|bytes| u16::from_le_bytes(*bytes))
    }

    pub fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(|bytes| u32::from_le_bytes(*bytes))
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Only bit 0 counts (F-20).
    pub fn bool(&mut self, field: &'static str) -> Result<bool, Malformed> {
        self.u8(field).map(|byte| byte & 1 == 1)
    }

    /// Any bits, so also NaN: see [`nominal_hash_rate`] (F-27).
    pub fn f32(&mut self, field: &'static str) -> Result<f32, Malformed> {
        self.array(field).map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// In wire order: least significant byte first, for hashes the order SHA-256d gives (F-21).
    pub fn u256(&mut self, field: &'static str) -> Result<[u8; 32], Malformed> {
        self.array(field).copied()
    }

    /// Bytes, not necessarily UTF-8 (F-25).
    pub fn str0_255(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u8(field)?;
        self.take(field, usize::from(length))
    }

    /// A prefix above 32 is malformed (F-23), whether or not the bytes are there.
    pub fn b0_32(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.u8(field)?);
        if length > B0_32_LIMIT {
            return Err(Malformed::TooLong { field, length, limit: B0_32_LIMIT });
        }
        self.take(field, length)
    }

    pub fn b0_64k(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u16(field)?;
        self.take(field, usize::from(length))
    }

    /// `OPTION[U32]` (F-24).
    pub fn option_u32(&mut self, field: &'static str) -> Result<Option<u32>, Malformed> {
        match self.u8(field)? {
            0 => Ok(None),
            1 => self.u32(field).map(Some),
            count => Err(Malformed::Option { field, count }),
        }
    }

    /// `SEQ0_64K[U16]`.
    pub fn seq_u16(&mut self, field: &'static str) -> Result<Integers<'a, 2>, Malformed> {
        let count = self.u16(field)?;
        self.elements(field, usize::from(count)).map(Integers)
    }

    /// `SEQ0_64K[U32]`.
    pub fn seq_u32(&mut self, field: &'static str) -> Result<Integers<'a, 4>, Malformed> {
        let count = self.u16(field)?;
        self.elements(field, usize::from(count)).map(Integers)
    }

    /// `SEQ0_255[U256]`: elements in wire order.
    pub fn seq_u256(&mut self, field: &'static str) -> Result<&'a [[u8; 32]], Malformed> {
        let count = self.u8(field)?;
        self.elements(field, usize::from(count))
    }

    /// A count is at most 2^16 and an element 32 bytes, so the product is far from overflow.
    fn elements<const N: usize>(
        &mut self,
        field: &'static str,
        count: usize,
    ) -> Result<&'a [[u8; N]], Malformed> {
        self.take(field, count * N).map(|bytes| bytes.as_chunks().0)
    }
}

/// A sequence of integers of `WIDTH` bytes as it is on the wire, little-endian each. To make one, collect
/// `to_le_bytes` of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integers<'a, const WIDTH: usize>(pub &'a [[u8; WIDTH]]);

impl<'a, const WIDTH: usize> Integers<'a, WIDTH> {
    pub const fn len(self) -> usize {
        self.0.len()
    }

    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Integers<'a, 2> {
    pub fn iter(self) -> impl ExactSizeIterator<Item = u16> + 'a {
        self.0.iter().map(|bytes| u16::from_le_bytes(*bytes))
    }
}

impl<'a> Integers<'a, 4> {
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// A target of the wire; it compares as a little-endian integer (F-21).
pub fn target(wire: [u8; 32]) -> Target {
    Target::from_le_bytes(wire)
}

/// The same, the other way.
pub fn wire_target(target: Target) -> [u8; 32] {
    target.to_le_bytes()
}

/// What a client says it hashes per second. `None` for NaN, infinities, negatives and negative zero (F-27), which
/// must not reach any arithmetic (M-13). Zero is allowed: a proxy without devices.
pub fn nominal_hash_rate(wire: f32) -> Option<Hashrate> {
    (wire.is_finite() && wire.is_sign_positive()).then_some(Hashrate(f64::from(wire)))
}
