//! Bytes to lines (V1-1): a line may come in pieces, and many may come at once.

/// A line longer than the limit (V1-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// The beginning of a line whose end has not come. Holds no memory between lines.
#[derive(Debug, Default)]
pub(crate) struct PartialLine(Vec<u8>);

/// A line taken from the front of some bytes.
#[derive(Debug)]
pub(crate) enum Cut<'a> {
    /// In the bytes as they came.
    Whole(&'a [u8]),
    /// Begun earlier; give the buffer back with [`PartialLine::recycle`].
    Joined(Vec<u8>),
    /// The end has not come; all bytes are kept.
    Partial,
}

impl PartialLine {
    /// Cuts one line off `bytes`. Returns it without its line feed, and how many bytes were used.
    pub(crate) fn cut<'a>(&mut self, bytes: &'a [u8], limit: usize) -> Result<(Cut<'a>, usize), TooLong> {
        let end = memchr::memchr(b'\n', bytes);
        let length = end.unwrap_or(bytes.len());
        if self.0.len() + length > limit {
            return Err(TooLong);
        }
        match end {
            Some(end) if self.0.is_empty() => Ok((Cut::Whole(&bytes[..end]), end + 1)),
            Some(end) => {
                self.0.extend_from_slice(&bytes[..end]);
                Ok((Cut::Joined(std::mem::take(&mut self.0)), end + 1))
            }
            None => {
                self.0.extend_from_slice(bytes);
                Ok((Cut::Partial, bytes.len()))
            }
        }
    }

    /// Undoes a cut that used `length` bytes: the line is not taken now, and is cut again when they come again.
    pub(crate) fn put_back(&mut self, cut: Cut<'_>, length: usize) {
        if let Cut::Joined(mut buffer) = cut {
            // All of them but the line feed were appended.
            buffer.truncate((buffer.len() + 1).saturating_sub(length));
            self.0 = buffer;
        }
    }

    /// Takes a used buffer back, so that a busy connection does not allocate one for every piece.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0 = buffer;
    }

    /// Frees the buffer if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

/// Without the carriage return and blanks around (V1-1).
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}
