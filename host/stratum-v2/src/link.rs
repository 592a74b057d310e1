//! The way of bytes to frames and back: Act 1, then records (or, for labs, frames in the clear).

use std::sync::Arc;

use sluice_core::session::Close;

use crate::messages::{self, Message};
use crate::noise::{self, Identity, Responder};
use crate::wire::FrameHeader;

/// Room for the messages that are sent most.
const SHORT: usize = 64;

/// How a connection is protected (N-1).
#[derive(Debug)]
pub enum Security {
    /// `entropy` makes the ephemeral key: fresh for every connection.
    Noise { identity: Arc<Identity>, entropy: [u8; 32] },
    /// For labs, on loopback.
    PlainText,
}

/// What has been agreed on the wire.
#[derive(Debug)]
pub(crate) enum Link {
    /// Act 1 is awaited.
    Greeting {
        identity: Arc<Identity>,
        entropy: [u8; 32],
    },
    Noise(Box<noise::Transport>),
    Plain,
}

/// The bytes of a frame that has begun.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    /// Its header, when that is read.
    header: Option<FrameHeader>,
    /// The record that is not complete. At most one message's largest size.
    partial: Vec<u8>,
}

/// What the next bytes came to.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// More bytes are needed.
    Incomplete,
    /// Act 1 was answered: `answer` goes out as it is.
    Greeted { answer: Box<[u8; noise::ACT_2]> },
    /// A header, before its payload is read: to be checked against the limits (F-13).
    Header(FrameHeader),
    /// A payload, in the buffer given.
    Payload(FrameHeader),
}

impl Link {
    pub(crate) fn new(security: Security) -> Self {
        match security {
            Security::Noise { identity, entropy } => Self::Greeting { identity, entropy },
            Security::PlainText => Self::Plain,
        }
    }

    pub(crate) fn is_greeting(&self) -> bool {
        matches!(self, Self::Greeting { .. })
    }

    /// Takes what comes next from `bytes`, and says how much of them that was. A payload is put into `plain`.
    ///
    /// # Errors
    /// Why the connection must end.
    pub(crate) fn take(
        &mut self,
        arriving: &mut Arriving,
        bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(Arrival, usize), Close> {
        let needed = self.needed(arriving.header);
        let missing = needed.saturating_sub(arriving.partial.len());
        let Some((piece, rest)) = bytes.split_at_checked(missing) else {
            arriving.partial.extend_from_slice(bytes);
            return Ok((Arrival::Incomplete, bytes.len()));
        };
        let arrival = if arriving.partial.is_empty() {
            self.complete(&mut arriving.header, piece, rest, plain)?
        } else {
            arriving.partial.extend_from_slice(piece);
            let whole = std::mem::take(&mut arriving.partial);
            self.complete(&mut arriving.header, &whole, rest, plain)?
        };
        Ok((arrival, missing))
    }

    /// Bytes on the wire of what comes next.
    fn needed(&self, header: Option<FrameHeader>) -> usize {
        let payload = header.map(|header| usize::try_from(header.length).unwrap_or(usize::MAX));
        match (self, payload) {
            (Self::Greeting { .. }, _) => noise::ACT_1,
            (Self::Noise(_), None) => noise::HEADER_RECORD,
            (Self::Noise(_), Some(length)) => noise::sealed_length(length),
            (Self::Plain, None) => FrameHeader::LENGTH,
            (Self::Plain, Some(length)) => length,
        }
    }

    fn complete(
        &mut self,
        header: &mut Option<FrameHeader>,
        whole: &[u8],
        rest: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Arrival, Close> {
        match (&mut *self, header.take()) {
            (Self::Greeting { identity, entropy }, _) => {
                // A client has nothing to send before it has read Act 2 (N-23).
                if !rest.is_empty() {
                    return Err(Close::EarlyBytes);
                }
                let act_1 = whole.try_into().map_err(|_| Close::Malformed)?;
                let (answer, transport) =
                    Responder::answer(identity, act_1, *entropy).map_err(|_| Close::BadMac)?;
                *self = Self::Noise(Box::new(transport));
                Ok(Arrival::Greeted { answer: Box::new(answer) })
            }
            (Self::Noise(transport), None) => {
                let record = whole.try_into().map_err(|_| Close::Malformed)?;
                let bytes = transport.receive.open_header(record).map_err(|_| Close::BadMac)?;
                Ok(Arrival::Header(*header.insert(FrameHeader::read(bytes))))
            }
            (Self::Noise(transport), Some(known)) => {
                plain.clear();
                transport.receive.open_payload(whole, plain).map_err(|_| Close::BadMac)?;
                Ok(Arrival::Payload(known))
            }
            (Self::Plain, None) => {
                let bytes = whole.try_into().map_err(|_| Close::Malformed)?;
                Ok(Arrival::Header(*header.insert(FrameHeader::read(bytes))))
            }
            (Self::Plain, Some(known)) => {
                plain.clear();
                plain.extend_from_slice(whole);
                Ok(Arrival::Payload(known))
            }
        }
    }

    /// Appends a frame as it goes over the wire; its payload in parts.
    pub(crate) fn send(&mut self, header: [u8; FrameHeader::LENGTH], payload: &[&[u8]], out: &mut Vec<u8>) {
        match self {
            // Nothing is sent before Act 2 (S-2).
            Self::Greeting { .. } => {}
            Self::Noise(transport) => transport.send.seal(header, payload, out),
            Self::Plain => {
                out.extend_from_slice(&header);
                payload.iter().for_each(|part| out.extend_from_slice(part));
            }
        }
    }

    /// Appends a message.
    pub(crate) fn send_message<'a, M: Message<'a>>(&mut self, message: &M, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(SHORT);
        message.encode(&mut payload);
        self.send(messages::header_of::<M>(payload.len()).write(), &[&payload], out);
    }

    /// Appends frames that lie one behind the other in the clear.
    pub(crate) fn send_frames(&mut self, frames: &[u8], out: &mut Vec<u8>) {
        let mut rest = frames;
        while let Some((header, behind)) = rest.split_first_chunk::<{ FrameHeader::LENGTH }>() {
            let length = usize::try_from(FrameHeader::read(*header).length).unwrap_or(usize::MAX);
            let (payload, next) = behind.split_at(length.min(behind.len()));
            self.send(*header, &[payload], out);
            rest = next;
        }
    }
}

impl Arriving {
    pub(crate) fn release(&mut self) {
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
    }
}
