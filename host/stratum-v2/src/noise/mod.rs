//! The encrypted transport: specification file 04 (Noise NX over secp256k1 with ElligatorSwift keys).
//!
//! Reading order: [`authority`] is the pool's long-lived signing key and its text forms, [`certificate`] is what it
//! signs, [`identity`] is what a server presents: a static key with its certificate. [`handshake`] runs the two acts
//! on `snow`, with the Diffie-Hellman of `ellswift`; it yields a [`Transport`], whose two halves seal and open
//! whole frames ([`record`]).
//!
//! Pure: time and entropy are arguments. Who calls [`Responder::answer`] must give it 32 fresh bytes from the
//! operating system each time. Rule ids in the comments: N, K (docs/stratum-v2.md).

pub mod authority;
pub mod certificate;
mod cipher;
mod curve;
mod ellswift;
pub mod handshake;
pub mod identity;
pub mod record;

pub use authority::{AuthorityKey, AuthoritySecret, KeyTextError};
pub use certificate::{Certificate, CertificateError, Validity};
pub use ellswift::StaticKey;
pub use handshake::{Initiator, NoiseError, Responder};
pub use identity::{Identity, IdentityError};
pub use record::{BadMac, Opener, Sealer, Transport, sealed_length};

/// Length of Act 1, client to server: an ephemeral key (N-10).
pub const ACT_1: usize = 64;
/// Length of Act 2, server to client: an ephemeral key, the static key and the certificate, sealed (N-11).
pub const ACT_2: usize = 64 + (64 + MAC) + (certificate::CERTIFICATE + MAC);
/// Length of a frame's sealed header (N-30).
pub const HEADER_RECORD: usize = HEADER + MAC;
/// Length of a frame's header in clear.
pub const HEADER: usize = 6;
/// Length of a record's authentication code.
pub const MAC: usize = 16;
/// The longest plaintext of one record (N-30).
pub const RECORD_PLAIN: usize = RECORD_SEALED - MAC;
/// The longest record on the wire: the bound that Noise sets.
pub const RECORD_SEALED: usize = 65_535;
