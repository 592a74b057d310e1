//! The usual `mining.submit`, read without building anything. Whatever looks unusual is left to the JSON parser, so
//! that this never decides anything: it only finds the same texts sooner.

use std::borrow::Cow;

use crate::request::Fields;

/// The most digits of an id that is taken here.
const ID_DIGITS: usize = 15;

/// The id as sent and the texts, if `line` is an object of exactly `id` (a plain number), `method` and `params` in any
/// order, and the parameters are five or six texts without escapes.
pub fn parse(line: &[u8]) -> Option<(&str, Fields<'_>)> {
    // From here on: no escapes, no control characters, one byte per character.
    let text = plain(line)?;
    let mut cursor = Cursor { text, at: 0 };
    let (mut id, mut fields, mut is_submit) = (None, None, false);
    cursor.expect(b'{')?;
    loop {
        let key = cursor.string()?;
        cursor.expect(b':')?;
        match key {
            "id" if id.is_none() => id = Some(cursor.number()?),
            "method" if !is_submit => is_submit = cursor.string()? == "mining.submit",
            "params" if fields.is_none() => fields = Some(cursor.fields()?),
            _ => return None,
        }
        match cursor.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    (is_submit && cursor.at == text.len()).then_some(())?;
    Some((id?, fields?))
}

/// The line as text if all of it is printable ASCII without a backslash.
fn plain(line: &[u8]) -> Option<&str> {
    let unusual = line.iter().fold(false, |sum, byte| sum | !matches!(byte, b' '..=b'~') | (*byte == b'\\'));
    if unusual { None } else { std::str::from_utf8(line).ok() }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.at += 1;
            if byte != b' ' {
                return Some(byte);
            }
        }
    }

    fn expect(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        self.rest_of_string()
    }

    fn rest_of_string(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let length = memchr::memchr(b'"', rest.as_bytes())?;
        self.at += length + 1;
        rest.get(..length)
    }

    /// A whole number without sign and leading zeros.
    fn number(&mut self) -> Option<&'a str> {
        let first = self.next()?;
        let start = self.at - 1;
        let rest = self.text.as_bytes().get(self.at..)?;
        let more = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !first.is_ascii_digit() || more >= ID_DIGITS || (first == b'0' && more > 0) {
            return None;
        }
        self.at += more;
        self.text.get(start..self.at)
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
                Some(Cow::Borrowed(version))
            }
            _ => return None,
        };
        Some(Fields { worker: worker.into(), job, extranonce2, ntime, nonce, version })
    }

    fn following(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b',')?;
        self.string().map(Cow::Borrowed)
    }
}
