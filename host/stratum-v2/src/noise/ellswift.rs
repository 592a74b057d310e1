//! Keys on the handshake's wire: 64-byte ElligatorSwift encodings, and BIP324's Diffie-Hellman on them, in the form in
//! which `snow` takes them (N-3, N-6 to N-8).
//!
//! Three things that snow would do wrongly without a word, each pinned by a test: its key buffers must hold 64 bytes
//! (its feature `use-p256`), the shared secret has 32 bytes and not a key's 64 ([`Dh::dh_len`]), and the order of the
//! two encodings in the shared secret is by role, not by whose key it is ([`Role`]).

use std::fmt;
use std::sync::Arc;

use bitcoin::secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use bitcoin::secp256k1::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use super::curve::curve;

/// Length of an encoding.
pub(super) const ENCODING: usize = 64;
/// Length of a shared secret.
const SHARED: usize = 32;
/// How often a random secret key is drawn anew. One draw fails with a chance below 2^-127.
const DRAWS: usize = 4;

/// A server's static public key, x-only: what a certificate is about. The same for all encodings of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StaticKey([u8; 32]);

impl StaticKey {
    /// The key that 64 bytes on the wire stand for: all 64-byte strings are keys (N-8).
    pub fn from_encoding(encoding: [u8; ENCODING]) -> Self {
        let point = PublicKey::from_ellswift(ElligatorSwift::from_array(encoding));
        Self(point.x_only_public_key().0.serialize())
    }

    /// The x coordinate, big-endian.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A secret key with the one encoding of its public key that this side shows: the encoding goes into the shared
/// secret too, so the two stay together (N-7).
#[derive(Clone, Copy)]
pub(super) struct KeyPair {
    pub(super) secret: SecretKey,
    pub(super) encoding: [u8; ENCODING],
}

impl KeyPair {
    /// The pair with the encoding that follows from the secret and, if given, from more entropy.
    pub(super) fn new(secret: SecretKey, entropy: Option<[u8; 32]>) -> Self {
        let encoding = ElligatorSwift::from_seckey(curve(), secret, entropy).to_array();
        Self { secret, encoding }
    }
}

/// Which side of the handshake we are. Snow does not tell its Diffie-Hellman (K-8).
#[derive(Clone, Copy)]
pub(super) enum Role {
    Initiator,
    Responder,
}

/// The primitives for one handshake.
pub(super) struct Primitives {
    pub(super) role: Role,
    /// Where random bytes come from: 32 fresh bytes for each handshake.
    pub(super) entropy: [u8; 32],
    /// Key pairs whose encoding is fixed. Other secrets get the encoding that follows from them.
    pub(super) known: Arc<[KeyPair]>,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Expansion { entropy: self.entropy, blocks: 0 }))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(EllSwift { role: self.role, known: Arc::clone(&self.known), pair: None }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Entropy stretched to as many bytes as are asked for: SHA-256 over it and a counter.
struct Expansion {
    entropy: [u8; 32],
    blocks: u64,
}

impl Random for Expansion {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        for chunk in dest.chunks_mut(32) {
            let block =
                Sha256::new().chain_update(self.entropy).chain_update(self.blocks.to_le_bytes()).finalize();
            self.blocks = self.blocks.wrapping_add(1);
            chunk.iter_mut().zip(block).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}

/// One key pair of ours, and the Diffie-Hellman with it.
struct EllSwift {
    role: Role,
    known: Arc<[KeyPair]>,
    pair: Option<KeyPair>,
}

impl EllSwift {
    fn draw(rng: &mut dyn Random) -> Result<KeyPair, snow::Error> {
        for _ in 0..DRAWS {
            let (mut secret, mut more) = ([0; 32], [0; 32]);
            rng.try_fill_bytes(&mut secret)?;
            rng.try_fill_bytes(&mut more)?;
            if let Ok(secret) = SecretKey::from_slice(&secret) {
                return Ok(KeyPair::new(secret, Some(more)));
            }
        }
        Err(snow::Error::Rng)
    }

    fn known(&self, secret: SecretKey) -> Option<KeyPair> {
        self.known.iter().find(|pair| pair.secret == secret).copied()
    }
}

impl Dh for EllSwift {
    fn name(&self) -> &'static str {
        "Secp256k1+EllSwift"
    }

    fn pub_len(&self) -> usize {
        ENCODING
    }

    fn priv_len(&self) -> usize {
        32
    }

    /// Not a key's 64, which is what snow would take (K-5).
    fn dh_len(&self) -> usize {
        SHARED
    }

    /// Snow lets this not fail: after bytes that are no secret key, [`Dh::dh`] does.
    fn set(&mut self, privkey: &[u8]) {
        let secret = SecretKey::from_slice(privkey).ok();
        self.pair = secret.map(|secret| self.known(secret).unwrap_or_else(|| KeyPair::new(secret, None)));
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.pair = Some(Self::draw(rng)?);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[], |pair| &pair.encoding)
    }

    /// Nobody asks for it: snow exports a secret only when it generates a static key.
    fn privkey(&self) -> &[u8] {
        &[]
    }

    /// `pubkey` is snow's whole buffer, one byte longer than a key (K-6).
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let pair = self.pair.as_ref().ok_or(snow::Error::Dh)?;
        let theirs = ElligatorSwift::from_array(*pubkey.first_chunk().ok_or(snow::Error::Dh)?);
        let ours = ElligatorSwift::from_array(pair.encoding);
        let (initiator, responder, party) = match self.role {
            Role::Initiator => (ours, theirs, ElligatorSwiftParty::A),
            Role::Responder => (theirs, ours, ElligatorSwiftParty::B),
        };
        let shared = ElligatorSwift::shared_secret(initiator, responder, pair.secret, party, None);
        *out.first_chunk_mut().ok_or(snow::Error::Dh)? = shared.to_secret_bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
