//! ChaCha20-Poly1305 with a counter for a nonce (N-4): one direction of a transport.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::MAC;
use super::record::BadMac;

/// A key and the number of the next record.
pub(super) struct Cipher {
    key: LessSafeKey,
    next: u64,
}

impl Cipher {
    pub(super) fn new(key: [u8; 32]) -> Self {
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, &key).expect("the key has the length that the cipher wants");
        Self { key: LessSafeKey::new(key), next: 0 }
    }

    /// Encrypts in place, and returns the authentication code that follows.
    pub(super) fn seal(&mut self, plain: &mut [u8]) -> [u8; MAC] {
        let sealed = self.key.seal_in_place_separate_tag(nonce(self.next), Aad::empty(), plain);
        let tag = sealed.expect("a record is far below the length that the cipher can take");
        // Cannot wrap: one more record every nanosecond takes 584 years.
        self.next += 1;
        let mut mac = [0; MAC];
        mac.copy_from_slice(tag.as_ref());
        mac
    }

    /// Decrypts a record in place, and returns its plaintext. A failure does not count (N-4).
    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a mut [u8], BadMac> {
        let plain = self.key.open_in_place(nonce(self.next), Aad::empty(), record).map_err(|_| BadMac)?;
        self.next += 1;
        Ok(plain)
    }
}

/// Four zero bytes and the counter, little-endian.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    let (_, low) = bytes.split_at_mut(4);
    low.copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
