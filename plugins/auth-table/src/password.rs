//! Salted password hashes: `pbkdf2-sha256$ITERATIONS$SALT_HEX$HASH_HEX`.

use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;

/// A hash that a password is checked against. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    iterations: u32,
    salt: Vec<u8>,
    hash: [u8; HASH_LENGTH],
}

/// Bytes of a SHA-256 hash.
const HASH_LENGTH: usize = 32;
/// Bytes of salt.
const SALT: std::ops::RangeInclusive<usize> = 8..=64;
/// A login costs as many rounds, and the host stops a call that computes too long.
const ITERATIONS: std::ops::RangeInclusive<u32> = 1..=10_000;
/// The longest password that is looked at, in bytes. HMAC hashes a longer one down anyway.
const PASSWORD_LIMIT: usize = 1024;

impl PasswordHash {
    /// For messages.
    pub const FORMAT: &str = "pbkdf2-sha256$ITERATIONS$SALT_HEX$HASH_HEX with 1 to 10000 iterations, 8 to 64 bytes of \
                              salt and 32 bytes of hash";

    /// `None`: not of the format.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let (scheme, iterations, salt, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if scheme != "pbkdf2-sha256" || parts.next().is_some() {
            return None;
        }
        let iterations: u32 = iterations.parse().ok().filter(|n| ITERATIONS.contains(n))?;
        let salt = hex::decode(salt).ok().filter(|salt| SALT.contains(&salt.len()))?;
        let hash = hex::decode(hash).ok()?.try_into().ok()?;
        Some(Self { iterations, salt, hash })
    }

    /// Whether `password` is the one. Takes as long for any wrong password.
    pub fn accepts(&self, password: &str) -> bool {
        if password.len() > PASSWORD_LIMIT {
            return false;
        }
        let mut hash = [0u8; HASH_LENGTH];
        pbkdf2_hmac::<Sha256>(password.as_bytes(), &self.salt, self.iterations, &mut hash);
        equal(&hash, &self.hash)
    }
}

/// Looks at every byte, however early the first difference is.
fn equal(a: &[u8; HASH_LENGTH], b: &[u8; HASH_LENGTH]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests;
