//! Bytes between a socket and a session, without a buffer of their own: an idle connection holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sluice_core::session::Session;
use sluice_core::units::Now;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is read before effects are run, in bytes.
const READ_SIZE: usize = 32 * 1024;
/// The most that is read while a session wants nothing, in bytes: only who reads learns that the peer is gone.
const READ_AHEAD: usize = 4 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// What a connection has read or written and could not pass on yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Read, and not yet taken by the session (it waits for an answer). At most [`READ_SIZE`] bytes.
    pub(super) input: Vec<u8>,
    /// To be written. What a session hands over in one go.
    pub(super) output: Vec<u8>,
    pub(super) written: usize,
    /// All is written, and the stream (TLS) may still hold some of it back.
    flushing: bool,
}

/// What the socket did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Read(usize),
    Wrote(usize),
    EndOfFile,
}

impl Pending {
    pub(super) fn has_output(&self) -> bool {
        self.flushing || self.written < self.output.len()
    }

    /// Hands on what was read earlier.
    pub(super) fn feed<S: Session>(&mut self, session: &mut S, now: Now) {
        while !self.input.is_empty() && session.wants_input() {
            let used = session.receive(now, &self.input);
            if used == 0 {
                break;
            }
            self.input.drain(..used.min(self.input.len()));
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// Reads or writes, whatever is possible first; writing comes first. Nothing is read while something read earlier
    /// waits for the session.
    pub(super) fn poll_move<S: Session, T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut T,
        session: &mut S,
        now: impl Fn() -> Now,
    ) -> Poll<io::Result<Moved>> {
        if self.has_output()
            && let Poll::Ready(wrote) = self.poll_write(context, stream)
        {
            return Poll::Ready(wrote);
        }
        if self.input.is_empty() {
            return self.poll_read(context, stream, session, now);
        }
        Poll::Pending
    }

    /// Writes once, if the stream takes anything now. Returns how much.
    pub(super) fn write_some<T: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut T,
    ) -> io::Result<usize> {
        match self.poll_write(context, stream) {
            Poll::Ready(Ok(Moved::Wrote(count))) => Ok(count),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(0),
        }
    }

    fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut T,
    ) -> Poll<io::Result<Moved>> {
        if self.flushing {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.flushing = false;
            return Poll::Ready(Ok(Moved::Wrote(0)));
        }
        let count = ready!(Pin::new(&mut *stream).poll_write(context, &self.output[self.written..]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += count;
        if self.written == self.output.len() {
            self.output = Vec::new();
            self.written = 0;
            // For TCP this is free.
            self.flushing = Pin::new(stream).poll_flush(context)?.is_pending();
        }
        Poll::Ready(Ok(Moved::Wrote(count)))
    }

    fn poll_read<S: Session, T: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut T,
        session: &mut S,
        now: impl Fn() -> Now,
    ) -> Poll<io::Result<Moved>> {
        let is_wanted = session.wants_input();
        SCRATCH.with_borrow_mut(|scratch| {
            let limit = if is_wanted { READ_SIZE } else { READ_AHEAD };
            let mut buffer = ReadBuf::new(&mut scratch[..limit]);
            ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(Moved::EndOfFile));
            }
            let used = if is_wanted { session.receive(now(), bytes).min(bytes.len()) } else { 0 };
            self.input.extend_from_slice(&bytes[used..]);
            Poll::Ready(Ok(Moved::Read(bytes.len())))
        })
    }
}
