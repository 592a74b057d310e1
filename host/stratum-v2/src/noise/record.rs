//! Frames as encrypted records, after the handshake (04§4.6; N-30 to N-34).
//!
//! A frame is one record for its header and as many as it takes for its payload. The two directions are independent:
//! the writer owns the [`Sealer`], the reader the [`Opener`].

use std::fmt;

use super::cipher::Cipher;
use super::{HEADER, HEADER_RECORD, MAC, RECORD_PLAIN, RECORD_SEALED};

/// A record's authentication code does not match. The session is over: close, and send nothing (N-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record's authentication code does not match")]
pub struct BadMac;

/// Length on the wire of a payload of `plain` bytes; 0 for none, since an empty payload has no record (N-31).
pub const fn sealed_length(plain: usize) -> usize {
    let rest = plain % RECORD_PLAIN;
    (plain / RECORD_PLAIN) * RECORD_SEALED + if rest > 0 { rest + MAC } else { 0 }
}

/// An established session: its two directions.
#[derive(Debug)]
pub struct Transport {
    /// What we send.
    pub send: Sealer,
    /// What we receive.
    pub receive: Opener,
}

/// Seals frames. The order of the calls is the order on the wire.
pub struct Sealer(Cipher);

impl Sealer {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(Cipher::new(key))
    }

    /// Appends one frame to `out`: its header, then the parts of its payload as if they were one.
    pub fn seal(&mut self, header: [u8; HEADER], payload: &[&[u8]], out: &mut Vec<u8>) {
        let length = payload.iter().map(|part| part.len()).sum();
        out.reserve(HEADER_RECORD + sealed_length(length));
        let start = out.len();
        out.extend_from_slice(&header);
        self.finish(start, out);
        self.seal_payload(payload, out);
    }

    fn seal_payload(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        let mut start = out.len();
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                let room = RECORD_PLAIN - (out.len() - start);
                let (now, later) = part.split_at(room.min(part.len()));
                out.extend_from_slice(now);
                part = later;
                if out.len() - start == RECORD_PLAIN {
                    self.finish(start, out);
                    start = out.len();
                }
            }
        }
        if out.len() > start {
            self.finish(start, out);
        }
    }

    /// Makes a record of what `out` holds from `start`.
    fn finish(&mut self, start: usize, out: &mut Vec<u8>) {
        let (_, plain) = out.split_at_mut(start);
        let mac = self.0.seal(plain);
        out.extend_from_slice(&mac);
    }
}

/// Opens frames, in the order of the wire.
pub struct Opener(Cipher);

impl Opener {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(Cipher::new(key))
    }

    /// The header in a frame's first record.
    ///
    /// # Errors
    /// [`BadMac`]: the session is over.
    pub fn open_header(&mut self, record: &[u8; HEADER_RECORD]) -> Result<[u8; HEADER], BadMac> {
        let mut bytes = *record;
        let plain = self.0.open(&mut bytes)?;
        plain.first_chunk().copied().ok_or(BadMac)
    }

    /// Appends the payload in `records`, which are all the records of one payload ([`sealed_length`] bytes), to `out`.
    ///
    /// # Errors
    /// [`BadMac`], also if the last record is too short to be one: the session is over. `out` is as it was.
    pub fn open_payload(&mut self, records: &[u8], out: &mut Vec<u8>) -> Result<(), BadMac> {
        let before = out.len();
        out.reserve(records.len());
        let opened = records.chunks(RECORD_SEALED).try_for_each(|record| self.open_record(record, out));
        opened.inspect_err(|_| out.truncate(before))
    }

    fn open_record(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), BadMac> {
        let start = out.len();
        out.extend_from_slice(record);
        let (_, bytes) = out.split_at_mut(start);
        let plain = self.0.open(bytes)?.len();
        out.truncate(start + plain);
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
