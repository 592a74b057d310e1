//! Fields that extensions append to a payload: type, length, value (03 §3.4.3; F-40 to F-44), and the one field
//! understood here, the worker of a share (extension 0x0002; E-20 to E-22).

use super::{WORKER_TRACKING, put};

#[cfg(test)]
mod tests;

/// The field of [`WORKER_TRACKING`] that names the worker.
pub const WORKER_FIELD: u8 = 0x01;
/// The longest worker name, in bytes (E-20).
pub const WORKER_LIMIT: usize = 32;
/// Bytes of type and length before the value.
const HEAD: usize = 5;

/// Why the message with these fields is refused (F-42): for a share with SubmitShares.Error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// The bytes behind the last known field are not a list of TLVs.
    #[error("a tlv needs {wanted} bytes, the payload has {left} left")]
    Short { wanted: usize, left: usize },
    /// E-21.
    #[error("the worker's name has {length} bytes, at most 32 are allowed")]
    WorkerTooLong { length: usize },
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    pub extension: u16,
    pub field: u8,
    pub value: &'a [u8],
    /// Its integers were big-endian, as in the examples of the specification and against its rules (F-44). To be
    /// counted.
    pub big_endian: bool,
}

/// The fields of what follows the last known field of a payload, in the order of the wire (F-41). Ends after the
/// first error.
#[derive(Clone, Copy, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Tlvs<'a> {
    pub const fn new(trailing: &'a [u8]) -> Self {
        Self { rest: trailing }
    }

    fn read(&mut self) -> Result<Tlv<'a>, TlvError> {
        let short = TlvError::Short { wanted: HEAD, left: self.rest.len() };
        let (head, values) = self.rest.split_first_chunk::<HEAD>().ok_or(short)?;
        let tlv = match big_endian_worker(*head, values) {
            Some(tlv) => tlv,
            None => little_endian(*head, values)?,
        };
        self.rest = values.get(tlv.value.len()..).unwrap_or_default();
        Ok(tlv)
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, TlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

fn little_endian(head: [u8; HEAD], values: &[u8]) -> Result<Tlv<'_>, TlvError> {
    let [low, high, field, a, b] = head;
    let wanted = usize::from(u16::from_le_bytes([a, b]));
    let value = values.get(..wanted).ok_or(TlvError::Short { wanted, left: values.len() })?;
    Ok(Tlv { extension: u16::from_le_bytes([low, high]), field, value, big_endian: false })
}

/// F-44: only where the little-endian reading names another extension (0x0200, which nobody negotiates) and the
/// big-endian one is exactly the worker field with a length that is allowed and there.
fn big_endian_worker(head: [u8; HEAD], values: &[u8]) -> Option<Tlv<'_>> {
    let [high, low, field, a, b] = head;
    let length = usize::from(u16::from_be_bytes([a, b]));
    let is_worker = u16::from_be_bytes([high, low]) == WORKER_TRACKING && field == WORKER_FIELD;
    let value = values.get(..length).filter(|_| is_worker && length <= WORKER_LIMIT)?;
    Some(Tlv { extension: WORKER_TRACKING, field, value, big_endian: true })
}

/// The worker that a share is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker<'a> {
    /// At most 32 bytes, may be empty; not yet free of control characters (see [`super::text::printable`]).
    pub name: &'a str,
    /// See [`Tlv::big_endian`].
    pub big_endian: bool,
}

/// The worker in what follows the last field of a SubmitSharesExtended, where extension 0x0002 was negotiated; do
/// not ask otherwise (E-20). `None` if there is none or it is not UTF-8 (E-21, E-22). Fields of other extensions are
/// passed over, in any order (F-41); of several workers the first counts.
pub fn worker(trailing: &[u8]) -> Result<Option<Worker<'_>>, TlvError> {
    for tlv in Tlvs::new(trailing) {
        let Tlv { extension, field, value, big_endian } = tlv?;
        if (extension, field) != (WORKER_TRACKING, WORKER_FIELD) {
            continue;
        }
        if value.len() > WORKER_LIMIT {
            return Err(TlvError::WorkerTooLong { length: value.len() });
        }
        return Ok(str::from_utf8(value).ok().map(|name| Worker { name, big_endian }));
    }
    Ok(None)
}

/// Appends a field, little-endian (F-44). The value is cut at 65,535 bytes; several fields are to be written in the
/// order of their extensions (F-41).
pub fn write(extension: u16, field: u8, value: &[u8], out: &mut Vec<u8>) {
    put::u16(out, extension);
    put::u8(out, field);
    put::b0_64k(out, value);
}

/// Appends a worker's name as a client does (E-20).
pub fn write_worker(name: &[u8], out: &mut Vec<u8>) {
    write(WORKER_TRACKING, WORKER_FIELD, name, out);
}
