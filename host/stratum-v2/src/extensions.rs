//! Agreeing on extensions (extension 0x0001; E-1…E-7). None is required (E-6).

use sluice_core::session::Note;

use crate::connection::Desk;
use crate::messages::{RequestExtensions, RequestExtensionsError, RequestExtensionsSuccess};
use crate::wire::{Integers, WORKER_TRACKING};

/// What has been agreed on; for the connection as a whole (E-7).
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    /// Shares name their worker (extension 0x0002).
    workers: bool,
}

impl Extensions {
    /// Whether shares are searched for the worker's name (E-20).
    pub(crate) fn names_workers(&self) -> bool {
        self.workers
    }

    /// Answers a request, unless channels were opened before it (E-2).
    pub(crate) fn request(&mut self, desk: &mut Desk, request: &RequestExtensions<'_>, has_channels: bool) {
        if has_channels {
            return desk.note(Note::Strayed("late_extensions"));
        }
        self.workers = request.requested.iter().any(|extension| extension == WORKER_TRACKING);
        let supported: &[[u8; 2]] = if self.workers { &[WORKER_TRACKING.to_le_bytes()] } else { &[] };
        let request_id = request.request_id;
        if supported.is_empty() && !request.requested.is_empty() {
            // None of them (E-3).
            desk.outbox.push(&RequestExtensionsError {
                request_id,
                unsupported: request.requested,
                required: Integers(&[]),
            });
        } else {
            desk.outbox.push(&RequestExtensionsSuccess { request_id, supported: Integers(supported) });
        }
    }
}
