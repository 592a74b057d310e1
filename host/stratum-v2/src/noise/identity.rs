//! What a server presents: a static key with the authority's certificate for it.
//!
//! The authority's secret need not be where the pool runs (N-17): [`Identity::issue`] can run elsewhere, and the
//! identity then travels as a file ([`Identity::to_file_text`], [`Identity::parse`]).

use std::fmt;
use std::sync::Arc;

use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::SecretKey;

use super::certificate::CERTIFICATE;
use super::ellswift::KeyPair;
use super::{AuthorityKey, AuthoritySecret, Certificate, CertificateError, StaticKey, Validity};

/// The lines of the file.
const SECRET_LINE: &str = "static-secret";
const CERTIFICATE_LINE: &str = "certificate";
/// A longer file is no identity. Ours has some 400 bytes.
const MAX_FILE: usize = 4096;

/// Why there is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Zero, or not below the order of the group.
    #[error("the static secret is outside the range of the curve secp256k1")]
    SecretOutOfRange,
    /// A certificate that no client would take.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Not the file that was written.
    #[error("{0} bytes; an identity file has at most {MAX_FILE}")]
    FileTooLong(usize),
    /// A line that is neither a comment nor one of the two. Its text is not repeated: it may be the secret.
    #[error("line {0}: neither a comment (#), nor `static-secret = ...`, nor `certificate = ...`")]
    UnknownLine(usize),
    /// The same name twice.
    #[error("line {line}: `{name}` a second time")]
    RepeatedLine {
        /// Which line, from 1.
        line: usize,
        /// Which name.
        name: &'static str,
    },
    /// One of the two lines is not there.
    #[error("the line `{0} = ...` is missing")]
    MissingLine(&'static str),
    /// Not the right number of hexadecimal digits.
    #[error("`{name}` is not {digits} hexadecimal digits")]
    NotHex {
        /// Which name.
        name: &'static str,
        /// How many digits there should be.
        digits: usize,
    },
}

/// A server's static key and its certificate. One serves all connections; cloning it is cheap.
#[derive(Clone)]
pub struct Identity {
    /// One pair, in the form in which every handshake shares it.
    keys: Arc<[KeyPair]>,
    pair: KeyPair,
    certificate: Certificate,
    /// The certificate's wire form, the payload of every Act 2.
    wire: [u8; CERTIFICATE],
}

impl Identity {
    /// An identity from its two parts. Whether the certificate is for this key, only [`Self::issued_by`] can tell.
    ///
    /// # Errors
    /// [`IdentityError::SecretOutOfRange`].
    pub fn new(secret: [u8; 32], certificate: Certificate) -> Result<Self, IdentityError> {
        let secret = SecretKey::from_slice(&secret).map_err(|_| IdentityError::SecretOutOfRange)?;
        Ok(Self::of(KeyPair::new(secret, None), certificate))
    }

    /// A new identity, signed by the authority. `entropy` becomes the static secret: uniformly random, used once.
    ///
    /// # Errors
    /// [`IdentityError::SecretOutOfRange`], with a chance below 2^-127: try again with other entropy.
    pub fn issue(
        entropy: [u8; 32],
        authority: &AuthoritySecret,
        validity: Validity,
    ) -> Result<Self, IdentityError> {
        let secret = SecretKey::from_slice(&entropy).map_err(|_| IdentityError::SecretOutOfRange)?;
        let pair = KeyPair::new(secret, None);
        let certificate = Certificate::sign(authority, StaticKey::from_encoding(pair.encoding), validity);
        Ok(Self::of(pair, certificate))
    }

    fn of(pair: KeyPair, certificate: Certificate) -> Self {
        Self { keys: Arc::new([pair]), pair, certificate, wire: certificate.to_bytes() }
    }

    /// The same static key with a later certificate: what a rotation with the authority at hand does (N-16).
    #[must_use]
    pub fn renewed(&self, authority: &AuthoritySecret, validity: Validity) -> Self {
        Self::of(self.pair, Certificate::sign(authority, self.static_key(), validity))
    }

    /// When the certificate holds.
    pub fn validity(&self) -> Validity {
        self.certificate.validity()
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The public half of the static key.
    pub fn static_key(&self) -> StaticKey {
        StaticKey::from_encoding(self.pair.encoding)
    }

    /// Whether the certificate is that authority's, and for this static key. A server that skips this check may
    /// present what every client refuses.
    pub fn issued_by(&self, authority: &AuthorityKey) -> bool {
        self.certificate.signed_by(authority, self.static_key())
    }

    pub(super) fn secret(&self) -> [u8; 32] {
        self.pair.secret.secret_bytes()
    }

    pub(super) fn keys(&self) -> Arc<[KeyPair]> {
        Arc::clone(&self.keys)
    }

    pub(super) fn wire(&self) -> &[u8; CERTIFICATE] {
        &self.wire
    }

    /// The text of the file in which an operator carries the identity from the signer to the pool. It holds the
    /// static secret: mode 0600.
    pub fn to_file_text(&self) -> String {
        let Validity { valid_from, not_valid_after } = self.validity();
        format!(
            "# A pool's Stratum V2 identity. Whoever has this file can pose as the pool: keep it secret.\n\
             # The certificate holds from {valid_from} to {not_valid_after} (unix seconds).\n\
             {SECRET_LINE} = {}\n\
             {CERTIFICATE_LINE} = {}\n",
            self.secret().as_hex(),
            self.wire.as_hex(),
        )
    }

    /// Reads such a file's text.
    ///
    /// # Errors
    /// Every [`IdentityError`]; none repeats what the file holds.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text.len() > MAX_FILE {
            return Err(IdentityError::FileTooLong(text.len()));
        }
        let mut fields = Fields::default();
        for (index, line) in text.lines().enumerate() {
            fields.take(index.saturating_add(1), line.trim())?;
        }
        let secret = bytes::<32>(SECRET_LINE, fields.secret)?;
        let certificate = Certificate::from_bytes(&bytes(CERTIFICATE_LINE, fields.certificate)?)?;
        Self::new(secret, certificate)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("static_key", &self.static_key())
            .field("validity", &self.validity())
            .finish_non_exhaustive()
    }
}

/// The values of a file, as far as it is read.
#[derive(Default)]
struct Fields<'a> {
    secret: Option<&'a str>,
    certificate: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: usize, text: &'a str) -> Result<(), IdentityError> {
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (name, value) = text.split_once('=').ok_or(IdentityError::UnknownLine(line))?;
        let (name, field) = match name.trim_end() {
            SECRET_LINE => (SECRET_LINE, &mut self.secret),
            CERTIFICATE_LINE => (CERTIFICATE_LINE, &mut self.certificate),
            _ => return Err(IdentityError::UnknownLine(line)),
        };
        match field.replace(value.trim_start()) {
            None => Ok(()),
            Some(_) => Err(IdentityError::RepeatedLine { line, name }),
        }
    }
}

fn bytes<const N: usize>(name: &'static str, value: Option<&str>) -> Result<[u8; N], IdentityError> {
    let value = value.ok_or(IdentityError::MissingLine(name))?;
    let bytes = Vec::from_hex(value).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(IdentityError::NotHex { name, digits: N * 2 })
}

#[cfg(test)]
mod tests;
