//! The certificate in Act 2: an authority's signature under a server's static key, for a span of time (04§4.5.2,
//! 04§4.5.3; N-13 to N-16).

use sha2::{Digest, Sha256};

use super::{AuthorityKey, AuthoritySecret, StaticKey};

/// Length of a certificate on the wire, `SIGNATURE_NOISE_MESSAGE` in the specification (N-13).
pub const CERTIFICATE: usize = 2 + 4 + 4 + 64;
/// The version that clients accept: SRI's refuse every other (N-15).
const VERSION: u16 = 0;

/// The seconds, Unix time, in which a certificate holds. Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Validity {
    /// The first second. Worth back-dating: many devices have no clock (N-16).
    pub valid_from: u32,
    /// The last second.
    pub not_valid_after: u32,
}

impl Validity {
    /// Whether the certificate holds at that second.
    pub const fn contains(self, now: u32) -> bool {
        self.valid_from <= now && now <= self.not_valid_after
    }
}

/// Why a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A version that nobody has specified (N-15).
    #[error("certificate version {0}; only version 0 is known")]
    Version(u16),
    /// Too early. Times are Unix seconds.
    #[error("the certificate holds from {valid_from}, and it is {now} (unix seconds)")]
    NotYetValid {
        /// Its first second.
        valid_from: u32,
        /// The time given.
        now: u32,
    },
    /// Too late. Times are Unix seconds.
    #[error("the certificate held until {not_valid_after}, and it is {now} (unix seconds)")]
    Expired {
        /// Its last second.
        not_valid_after: u32,
        /// The time given.
        now: u32,
    },
    /// Not signed by that authority, or not for that static key or span of time.
    #[error("the certificate was not signed by the authority {authority} for this server's key")]
    Signature {
        /// The authority that was expected.
        authority: AuthorityKey,
    },
}

/// A certificate of version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    validity: Validity,
    signature: [u8; 64],
}

impl Certificate {
    /// The authority's certificate for a server's static key.
    pub fn sign(authority: &AuthoritySecret, server: StaticKey, validity: Validity) -> Self {
        Self { validity, signature: authority.sign(digest(server, validity)) }
    }

    /// When it holds.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The wire form (N-13): version, first second, last second, all little-endian, then the signature.
    pub fn to_bytes(&self) -> [u8; CERTIFICATE] {
        let mut bytes = [0; CERTIFICATE];
        let (claims, signature) = bytes.split_at_mut(CERTIFICATE - 64);
        claims.copy_from_slice(&claims_of(self.validity));
        signature.copy_from_slice(&self.signature);
        bytes
    }

    /// Reads the wire form. This checks the version only; see [`Self::verify`].
    ///
    /// # Errors
    /// [`CertificateError::Version`].
    pub fn from_bytes(bytes: &[u8; CERTIFICATE]) -> Result<Self, CertificateError> {
        let [v0, v1, f0, f1, f2, f3, a0, a1, a2, a3, signature @ ..] = *bytes;
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(CertificateError::Version(version));
        }
        let valid_from = u32::from_le_bytes([f0, f1, f2, f3]);
        let not_valid_after = u32::from_le_bytes([a0, a1, a2, a3]);
        Ok(Self { validity: Validity { valid_from, not_valid_after }, signature })
    }

    /// Whether the authority vouches for that static key now (Unix seconds; no tolerance).
    ///
    /// # Errors
    /// Every [`CertificateError`] but the version.
    pub fn verify(
        &self,
        authority: &AuthorityKey,
        server: StaticKey,
        now: u32,
    ) -> Result<(), CertificateError> {
        let Validity { valid_from, not_valid_after } = self.validity;
        if now < valid_from {
            return Err(CertificateError::NotYetValid { valid_from, now });
        }
        if now > not_valid_after {
            return Err(CertificateError::Expired { not_valid_after, now });
        }
        if !self.signed_by(authority, server) {
            return Err(CertificateError::Signature { authority: *authority });
        }
        Ok(())
    }

    /// Whether the authority signed it for that static key, at whatever time.
    pub fn signed_by(&self, authority: &AuthorityKey, server: StaticKey) -> bool {
        authority.signed(digest(server, self.validity), &self.signature)
    }
}

/// What the signature covers beside the key.
fn claims_of(Validity { valid_from, not_valid_after }: Validity) -> [u8; CERTIFICATE - 64] {
    let [v0, v1] = VERSION.to_le_bytes();
    let [f0, f1, f2, f3] = valid_from.to_le_bytes();
    let [a0, a1, a2, a3] = not_valid_after.to_le_bytes();
    [v0, v1, f0, f1, f2, f3, a0, a1, a2, a3]
}

/// What is signed (N-14).
fn digest(server: StaticKey, validity: Validity) -> [u8; 32] {
    Sha256::new().chain_update(claims_of(validity)).chain_update(server.to_bytes()).finalize().into()
}

#[cfg(test)]
mod tests;
