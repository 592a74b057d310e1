//! The usual `mining.submit`, read without building anything. Whatever looks unusual is left to the JSON parser, so
//! that this never decides anything: it only finds the same texts sooner.

use crate::request::Fields;

/// The most digits of an id that is taken here.
const ID_DIGITS: usize = 15;

/// The id as sent and the texts, if `line` is an object of exactly `id` (a plain number), `method` and `params` in any
/// order, and the parameters are five or six texts without escapes. All is printable ASCII.
pub fn parse(line: &[u8]) -> Option<(&str, Fields<'_>)> {
    let mut cursor = Cursor { line, at: 0 };
    let (mut id, mut fields, mut is_submit) = (None, None, false);
    cursor.expect(b'{')?;
    loop {
        let key = cursor.string()?;
        cursor.expect(b':')?;
        match key {
            b"id" if id.is_none() => id = Some(cursor.number()?),
            b"method" if !is_submit => is_submit = cursor.string()? == b"mining.submit",
            b"params" if fields.is_none() => fields = Some(cursor.fields()?),
            _ => return None,
        }
        match cursor.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    (is_submit && cursor.at == line.len()).then_some(())?;
    Some((std::str::from_utf8(id?).ok()?, fields?))
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.line.get(self.at)?;
            self.at += 1;
            if byte != b' ' {
                return Some(byte);
            }
        }
    }

    fn expect(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = self.line.get(self.at..)?;
        let length = plain_length(rest)?;
        self.at += length + 1;
        rest.get(..length)
    }

    /// A whole number without sign and leading zeros.
    fn number(&mut self) -> Option<&'a [u8]> {
        let first = self.next()?;
        let start = self.at - 1;
        let rest = self.line.get(self.at..)?;
        let more = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !first.is_ascii_digit() || more >= ID_DIGITS || (first == b'0' && more > 0) {
            return None;
        }
        self.at += more;
        self.line.get(start..self.at)
    }

    fn fields(&mut self) -> Option<Fields<'a>> {
        self.expect(b'[')?;
        let worker = self.string()?;
        let job = self.following()?;
        let extranonce2 = self.following()?;
        let ntime = self.following()?;
        let nonce = self.following()?;
        let version = match self.next()? {
            b']' => None,
            b',' => {
                let version = self.string()?;
                self.expect(b']')?;
                Some(version)
            }
            _ => return None,
        };
        Some(Fields { worker, job, extranonce2, ntime, nonce, version })
    }

    fn following(&mut self) -> Option<&'a [u8]> {
        self.expect(b',')?;
        self.string()
    }
}

/// Each byte of a word the same.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// How far the closing quote is, if nothing but printable ASCII without a backslash is before it.
fn plain_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let special = special(u64::from_le_bytes(*chunk));
        if special != 0 {
            at += usize::try_from(special.trailing_zeros() / 8).ok()?;
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    let tail = bytes.get(at..)?;
    let end = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ' | 0x80..))?;
    (tail[end] == b'"').then_some(at + end)
}

/// Marks quotes, backslashes, control characters and what is not ASCII by the high bit of their byte. The lowest mark
/// is exact; a borrow may set wrong ones above it.
const fn special(word: u64) -> u64 {
    let (quote, backslash) = (word ^ each(b'"'), word ^ each(b'\\'));
    let marks = (quote.wrapping_sub(each(1)) & !quote)
        | (backslash.wrapping_sub(each(1)) & !backslash)
        | (word.wrapping_sub(each(b' ')) & !word)
        | word;
    marks & each(0x80)
}
