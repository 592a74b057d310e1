//! NewExtendedMiningJob for thousands: what is the same for all is encoded once, and the few bytes that differ are
//! put before it.

use super::{NewExtendedMiningJob, header_of};
use crate::wire::types::{B0_64K_LIMIT, SEQ0_255_LIMIT};
use crate::wire::{FrameHeader, put};

/// Why a job cannot be told to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    #[error("the {part} of the coinbase has {length} bytes, at most 65535 are allowed")]
    Coinbase { part: &'static str, length: usize },
    #[error("the merkle path has {length} elements, at most 255 are allowed")]
    MerklePath { length: usize },
}

/// Version to suffix, encoded: the part of a NewExtendedMiningJob that does not depend on who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedJobTail {
    bytes: Box<[u8]>,
}

impl ExtendedJobTail {
    /// `merkle_path` in wire order; `prefix` and `suffix` without the BIP141 parts (M-38). Unlike a message, it
    /// refuses what does not fit: a coinbase that was cut would be worked on in vain.
    pub fn new(
        version: u32,
        version_rolling_allowed: bool,
        merkle_path: &[[u8; 32]],
        prefix: &[u8],
        suffix: &[u8],
    ) -> Result<Self, TailError> {
        for (part, length) in [("prefix", prefix.len()), ("suffix", suffix.len())] {
            if length > B0_64K_LIMIT {
                return Err(TailError::Coinbase { part, length });
            }
        }
        if merkle_path.len() > SEQ0_255_LIMIT {
            return Err(TailError::MerklePath { length: merkle_path.len() });
        }
        let mut out = Vec::with_capacity(10 + 32 * merkle_path.len() + prefix.len() + suffix.len());
        put::u32(&mut out, version);
        put::bool(&mut out, version_rolling_allowed);
        put::seq_u256(&mut out, merkle_path);
        put::b0_64k(&mut out, prefix);
        put::b0_64k(&mut out, suffix);
        Ok(Self { bytes: out.into_boxed_slice() })
    }

    /// What ends the payload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One NewExtendedMiningJob on its way to a channel or group. Its payload is [`head`](Self::head), then the bytes of
/// the tail.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedJob<'a> {
    pub channel_id: u32,
    pub job_id: u32,
    /// `None`: a future job (M-35).
    pub min_ntime: Option<u32>,
    pub tail: &'a ExtendedJobTail,
}

/// The bytes before the tail: 9 of a future job, 13 of one that is active at once.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedJobHead {
    bytes: [u8; 13],
    length: usize,
}

impl AsRef<[u8]> for ExtendedJobHead {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl ExtendedJob<'_> {
    /// Bytes of the payload. Devices with small buffers care (F-14).
    pub fn payload_length(&self) -> usize {
        self.head_length() + self.tail.bytes.len()
    }

    pub fn header(&self) -> FrameHeader {
        header_of::<NewExtendedMiningJob<'_>>(self.payload_length())
    }

    pub fn head(&self) -> ExtendedJobHead {
        let [a, b, c, d] = self.channel_id.to_le_bytes();
        let [e, f, g, h] = self.job_id.to_le_bytes();
        let [i, j, k, l] = self.min_ntime.unwrap_or_default().to_le_bytes();
        let count = u8::from(self.min_ntime.is_some());
        ExtendedJobHead { bytes: [a, b, c, d, e, f, g, h, count, i, j, k, l], length: self.head_length() }
    }

    /// Appends header and payload, unencrypted.
    pub fn write_frame(&self, out: &mut Vec<u8>) {
        out.reserve(FrameHeader::LENGTH + self.payload_length());
        out.extend_from_slice(&self.header().write());
        out.extend_from_slice(self.head().as_ref());
        out.extend_from_slice(&self.tail.bytes);
    }

    const fn head_length(&self) -> usize {
        if self.min_ntime.is_some() { 13 } else { 9 }
    }
}
