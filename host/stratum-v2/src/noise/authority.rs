//! The authority: the key pair that signs the certificates of all servers of a pool (N-42), and its text forms.

use std::fmt;
use std::str::FromStr;

use bitcoin::base58;
use bitcoin::secp256k1::{Keypair, Message, SecretKey, XOnlyPublicKey, schnorr};

use super::curve::curve;

/// Version prefix of a public key's text form, little-endian (N-40).
const KEY_VERSION: [u8; 2] = [1, 0];
/// Bytes of a public key's text form: the version, then the key.
const PUBLIC_BYTES: usize = 34;
/// Bytes of a secret key's text form: no version (N-41).
const SECRET_BYTES: usize = 32;
/// Longer texts are refused unread: 34 bytes with a checksum need at most 52 characters.
const MAX_TEXT: usize = 64;

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// Not base58check text at all.
    #[error("not a key in base58check: a character is wrong or missing (the checksum does not match)")]
    Base58,
    /// Neither of the two lengths.
    #[error("a key of {found} bytes; a key has {expected} bytes here")]
    Length {
        /// Bytes in the text.
        found: usize,
        /// Bytes of a key of the kind that was asked for.
        expected: usize,
    },
    /// The 32 bytes of a secret where a public key belongs: worth its own words, since somebody may have published it.
    #[error("this has the length of a secret key, but the public key belongs here")]
    SecretForPublic,
    /// The 34 bytes of a public key where a secret belongs.
    #[error("this has the length of a public key, but the secret key belongs here")]
    PublicForSecret,
    /// A version of the text form that nobody has specified.
    #[error("key version {0}; only version 1 is known")]
    Version(u16),
    /// An x coordinate without a point.
    #[error("the public key is not on the curve secp256k1")]
    NotOnCurve,
    /// Zero, or not below the order of the group.
    #[error("the secret key is outside the range of the curve secp256k1")]
    OutOfRange,
}

/// The public key of an authority, x-only (BIP340).
///
/// Its text is what miners put behind the pool's address: `stratum2+tcp://host:port/KEY` (04§4.7, N-40).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorityKey([u8; 32]);

impl AuthorityKey {
    /// The key with this x coordinate, big-endian.
    ///
    /// # Errors
    /// [`KeyTextError::NotOnCurve`].
    pub fn from_bytes(x: [u8; 32]) -> Result<Self, KeyTextError> {
        XOnlyPublicKey::from_slice(&x).map(|_| Self(x)).map_err(|_| KeyTextError::NotOnCurve)
    }

    /// The x coordinate, big-endian.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether this authority signed the digest.
    pub(super) fn signed(&self, digest: [u8; 32], signature: &[u8; 64]) -> bool {
        let (Ok(key), Ok(signature)) =
            (XOnlyPublicKey::from_slice(&self.0), schnorr::Signature::from_slice(signature))
        else {
            return false;
        };
        curve().verify_schnorr(&signature, &Message::from_digest(digest), &key).is_ok()
    }
}

impl FromStr for AuthorityKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let bytes = decode(text, PUBLIC_BYTES)?;
        if bytes.len() == SECRET_BYTES {
            return Err(KeyTextError::SecretForPublic);
        }
        let Some((&version, &key)) = split(&bytes) else {
            return Err(KeyTextError::Length { found: bytes.len(), expected: PUBLIC_BYTES });
        };
        if version != KEY_VERSION {
            return Err(KeyTextError::Version(u16::from_le_bytes(version)));
        }
        Self::from_bytes(key)
    }
}

/// The version and the key, if there are exactly these two.
fn split(bytes: &[u8]) -> Option<(&[u8; 2], &[u8; 32])> {
    let (version, key) = bytes.split_first_chunk::<2>()?;
    Some((version, key.try_into().ok()?))
}

fn decode(text: &str, expected: usize) -> Result<Vec<u8>, KeyTextError> {
    if text.len() > MAX_TEXT {
        return Err(KeyTextError::Length { found: text.len(), expected });
    }
    base58::decode_check(text).map_err(|_| KeyTextError::Base58)
}

impl fmt::Display for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; PUBLIC_BYTES];
        let (version, key) = bytes.split_at_mut(KEY_VERSION.len());
        version.copy_from_slice(&KEY_VERSION);
        key.copy_from_slice(&self.0);
        base58::encode_check_to_fmt(f, &bytes)
    }
}

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityKey({self})")
    }
}

/// The secret key of an authority. It signs certificates, off the pool's machine if the operator wishes (N-17).
#[derive(Clone)]
pub struct AuthoritySecret(Keypair);

impl AuthoritySecret {
    /// The secret with these bytes, which must be secret and uniformly random; `None` for the few values (fewer than
    /// one in 2^127) that are no key: try again with others.
    pub fn from_entropy(bytes: [u8; 32]) -> Option<Self> {
        let secret = SecretKey::from_slice(&bytes).ok()?;
        Some(Self(Keypair::from_secret_key(curve(), &secret)))
    }

    /// The public half, for miners and for the pool's configuration.
    pub fn public(&self) -> AuthorityKey {
        AuthorityKey(self.0.x_only_public_key().0.serialize())
    }

    /// The secret's text form (N-41), as SRI's configuration has it. Named so that no log shows it by accident.
    pub fn reveal(&self) -> String {
        base58::encode_check(&self.0.secret_bytes())
    }

    /// The BIP340 signature of the digest, without auxiliary randomness: the same certificate has the same bytes.
    pub(super) fn sign(&self, digest: [u8; 32]) -> [u8; 64] {
        curve().sign_schnorr_no_aux_rand(&Message::from_digest(digest), &self.0).serialize()
    }
}

impl FromStr for AuthoritySecret {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let bytes = decode(text, SECRET_BYTES)?;
        if bytes.len() == PUBLIC_BYTES {
            return Err(KeyTextError::PublicForSecret);
        }
        let Ok(secret) = <[u8; SECRET_BYTES]>::try_from(bytes.as_slice()) else {
            return Err(KeyTextError::Length { found: bytes.len(), expected: SECRET_BYTES });
        };
        Self::from_entropy(secret).ok_or(KeyTextError::OutOfRange)
    }
}

impl fmt::Debug for AuthoritySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthoritySecret(of {})", self.public())
    }
}

#[cfg(test)]
mod tests;
