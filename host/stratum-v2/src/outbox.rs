//! Frames that wait to be sent, in the clear; they are encrypted when they go, so that the order on the wire is that of
//! the nonces (N-34).

use crate::link::Link;
use crate::messages::{self, Message};
use crate::noise::ACT_2;

/// The most bytes that may wait; beyond it nothing is read.
const BYTES_LIMIT: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Act 2: goes out first, and as it is.
    greeting: Option<Box<[u8; ACT_2]>>,
    frames: Vec<u8>,
}

impl Outbox {
    pub(crate) fn greet(&mut self, answer: Box<[u8; ACT_2]>) {
        self.greeting = Some(answer);
    }

    pub(crate) fn push<'a, M: Message<'a>>(&mut self, message: &M) {
        messages::write_frame(message, &mut self.frames);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= BYTES_LIMIT
    }

    /// Appends what goes over the wire.
    pub(crate) fn flush(&mut self, link: &mut Link, out: &mut Vec<u8>) {
        if let Some(greeting) = self.greeting.take() {
            out.extend_from_slice(&*greeting);
        }
        if !self.frames.is_empty() {
            link.send_frames(&self.frames, out);
            self.frames.clear();
        }
    }

    /// Frees what holds nothing.
    pub(crate) fn release(&mut self) {
        if self.frames.is_empty() {
            self.frames = Vec::new();
        }
    }
}
