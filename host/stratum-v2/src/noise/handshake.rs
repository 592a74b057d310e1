//! The two acts of Noise NX (04§4.5; N-2, N-10 to N-12), from either side.

use std::sync::Arc;

use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifierList, HandshakePattern, HashChoice,
    NoiseParams,
};
use snow::{Builder, HandshakeState};

use super::certificate::CERTIFICATE;
use super::ellswift::{KeyPair, Primitives, Role};
use super::{
    ACT_1, ACT_2, AuthorityKey, Certificate, CertificateError, Identity, MAC, Opener, Sealer, StaticKey,
    Transport,
};

/// What is hashed first (N-2). Snow cannot parse the name, but takes it as it is (K-3).
const NAME: &str = "Noise_NX_Secp256k1+EllSwift_ChaChaPoly_SHA256";

/// Why there is no session.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum NoiseError {
    /// Act 2 was not meant for us, or was changed on its way.
    #[error("the server's answer does not authenticate")]
    Act2,
    /// The server's certificate does not hold.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Never for what a peer sends: entropy or an identity without a key in it.
    #[error("the handshake cannot go on: {0}")]
    Internal(snow::Error),
}

/// The server's side.
pub struct Responder;

impl Responder {
    /// Answers a client's Act 1 with Act 2; the session then stands on our side.
    ///
    /// Any 64 bytes get an answer: if they were no Act 1, the first record fails to open (N-21). `entropy` must be
    /// secret, uniformly random, and new for each call.
    ///
    /// # Errors
    /// [`NoiseError::Internal`], with a chance of one in 2^500.
    pub fn answer(
        identity: &Identity,
        act1: &[u8; ACT_1],
        entropy: [u8; 32],
    ) -> Result<([u8; ACT_2], Transport), NoiseError> {
        let secret = identity.secret();
        let primitives = Primitives { role: Role::Responder, entropy, known: identity.keys() };
        let state = builder(primitives).local_private_key(&secret).and_then(Builder::build_responder);
        respond(state.map_err(NoiseError::Internal)?, act1, identity.wire())
    }
}

/// The server's side, from a state with its keys set.
fn respond(
    mut state: HandshakeState,
    act1: &[u8; ACT_1],
    certificate: &[u8; CERTIFICATE],
) -> Result<([u8; ACT_2], Transport), NoiseError> {
    // Act 1 has no payload, but snow wants a buffer.
    state.read_message(act1, &mut [0; MAC]).map_err(NoiseError::Internal)?;
    let mut act2 = [0; ACT_2];
    state.write_message(certificate, &mut act2).map_err(NoiseError::Internal)?;
    // N-12: the first key is for what the client sends.
    let (receive, send) = state.dangerously_get_raw_split();
    Ok((act2, Transport { send: Sealer::new(send), receive: Opener::new(receive) }))
}

/// The client's side, between the acts.
pub struct Initiator {
    state: HandshakeState,
    authority: Option<AuthorityKey>,
}

impl Initiator {
    /// Begins a handshake: the state to keep, and Act 1 to send. Without an authority, the server's certificate is
    /// not looked at. `entropy` must be secret, uniformly random, and new for each call.
    ///
    /// # Errors
    /// [`NoiseError::Internal`], with a chance of one in 2^500.
    pub fn new(
        authority: Option<AuthorityKey>,
        entropy: [u8; 32],
    ) -> Result<(Self, [u8; ACT_1]), NoiseError> {
        let known: Arc<[KeyPair]> = Arc::new([]);
        let primitives = Primitives { role: Role::Initiator, entropy, known };
        let state = builder(primitives).build_initiator();
        Self::begin(state.map_err(NoiseError::Internal)?, authority)
    }

    fn begin(
        mut state: HandshakeState,
        authority: Option<AuthorityKey>,
    ) -> Result<(Self, [u8; ACT_1]), NoiseError> {
        // Snow wants room for a MAC that this message does not have (K-11).
        let mut buffer = [0; ACT_1 + MAC];
        state.write_message(&[], &mut buffer).map_err(NoiseError::Internal)?;
        let act1 = buffer.first_chunk().copied().ok_or(NoiseError::Internal(snow::Error::Input))?;
        Ok((Self { state, authority }, act1))
    }

    /// Ends the handshake with the server's Act 2. `now` is Unix time in seconds.
    ///
    /// # Errors
    /// [`NoiseError::Act2`] and [`NoiseError::Certificate`]: close, and send nothing (N-20).
    pub fn finish(mut self, act2: &[u8; ACT_2], now: u32) -> Result<Transport, NoiseError> {
        let mut certificate = [0; CERTIFICATE];
        self.state.read_message(act2, &mut certificate).map_err(|error| match error {
            snow::Error::Decrypt => NoiseError::Act2,
            other => NoiseError::Internal(other),
        })?;
        if let Some(authority) = self.authority {
            let server = self.state.get_remote_static().and_then(|key| key.try_into().ok());
            let server = StaticKey::from_encoding(server.ok_or(NoiseError::Act2)?);
            Certificate::from_bytes(&certificate)?.verify(&authority, server, now)?;
        }
        let (send, receive) = self.state.dangerously_get_raw_split();
        Ok(Transport { send: Sealer::new(send), receive: Opener::new(receive) })
    }
}

fn builder<'a>(primitives: Primitives) -> Builder<'a> {
    Builder::with_resolver(params(), Box::new(primitives))
}

fn params() -> NoiseParams {
    let pattern = HandshakePattern::NX;
    let handshake = HandshakeChoice { pattern, modifiers: HandshakeModifierList { list: Vec::new() } };
    // The choice of curve only reaches our own resolver, which has one.
    let (curve, cipher, hash) = (DHChoice::P256, CipherChoice::ChaChaPoly, HashChoice::SHA256);
    NoiseParams::new(NAME.to_owned(), BaseChoice::Noise, handshake, curve, cipher, hash)
}

#[cfg(test)]
mod tests;
