//! Act 2 written down from the specification (04§4.5.2), with every secret given: a third opinion beside SRI's and
//! ours, and the vector of Appendix K, which was made without either.

use std::collections::VecDeque;

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use rand::{CryptoRng, RngCore};
use secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use secp256k1::{Keypair, Message, Parity, PublicKey, SECP256K1, SecretKey};

pub(crate) const ACT_2: &str = concat!(
    "a1855e10e94e00baa23041d916e259f7044e491da6171269694763f018c7e636",
    "93d29575dcb464ac816baa1be353ba12e3876cba7628bd0bd8e755e721eb0140",
    "faf98a7c47a97708fb5e1d19e97b1b2702c87756bc172ebc747a8590d87196760059edad954251ab0b1e34339f5ecf6f",
    "4ec44979329ff76bd5af2ff7c967a9bcaecfefdfe7616458a241e0721ef9b58d",
    "3443cffb66ba9141731e5272a02837fa924043a72a07d31282b4f4b04af131e927d27a118c1f30da55e3452a8fc3152c",
    "9bdb22f0b0be37422f6ab70ad4cbc879402935448de235366447cd6e6842dfe3488e9e748befc470e964",
);
pub(crate) const KEY_TO_SERVER: &str = "c7408a324c9fe25843b06158a4b39f180eb007d8a7c5cabcb9b718463081d96a";
pub(crate) const KEY_TO_CLIENT: &str = "3ec4b3d45c18e89034b88b1eea980b21809b166910acf76e2318b4b32ddd850f";
/// SetupConnection.Success with version 2 and no flags, in clear and as the records that follow Act 2.
pub(crate) const SETUP_SUCCESS: [u8; 12] = [0, 0, 1, 6, 0, 0, 2, 0, 0, 0, 0, 0];
pub(crate) const FIRST_FRAME: (&str, &str) =
    ("97866a10071ab1dff9e3bb43d21bce0a198ba993093c", "8c7ce949584f923266be7fcea713795e637da20a7e95");

/// A secret with the encoding of its public key that goes over the wire: there are many.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    secret: SecretKey,
    pub(crate) encoding: [u8; 64],
}

impl Pair {
    fn of_vector(secret: &str, encoding: &str) -> Self {
        Self { secret: secret.parse().unwrap(), encoding: bytes(encoding) }
    }

    /// As SRI makes it of its entropy: negated where y is odd, and with the encoding that takes no randomness.
    pub(crate) fn of_sri(secret: [u8; 32]) -> Self {
        let mut secret = SecretKey::from_slice(&secret).unwrap();
        if secret.x_only_public_key(SECP256K1).1 == Parity::Odd {
            secret = secret.negate();
        }
        Self { secret, encoding: ElligatorSwift::from_pubkey(secret.public_key(SECP256K1)).to_array() }
    }

    pub(crate) fn secret(&self) -> [u8; 32] {
        self.secret.secret_bytes()
    }

    fn x(&self) -> [u8; 32] {
        let public = PublicKey::from_ellswift(ElligatorSwift::from_array(self.encoding));
        public.x_only_public_key().0.serialize()
    }

    /// N-6: the initiator's encoding comes first, whoever computes.
    fn shared(&self, initiator: &[u8; 64]) -> [u8; 32] {
        let (first, second) =
            (ElligatorSwift::from_array(*initiator), ElligatorSwift::from_array(self.encoding));
        ElligatorSwift::shared_secret(first, second, self.secret, ElligatorSwiftParty::B, None)
            .to_secret_bytes()
    }
}

/// Everything that is random in a handshake.
#[derive(Clone, Copy)]
pub(crate) struct Secrets {
    pub(crate) initiator: Pair,
    pub(crate) ephemeral: Pair,
    /// The server's static key.
    pub(crate) fixed: Pair,
    pub(crate) authority: Keypair,
}

impl Secrets {
    pub(crate) fn appendix_k() -> Self {
        let mut authority = [0; 32];
        authority[31] = 3;
        Self {
            initiator: Pair::of_vector(
                "61062ea5071d800bbfd59e2e8b53d47d194b095ae5a4df04936b49772ef0d4d7",
                "ec0adff257bbfe500c188c80b4fdd640f6b45a482bbc15fc7cef5931deff0aa1\
                 86f6eb9bba7b85dc4dcc28b28722de1e3d9108b985e2967045668f66098e475b",
            ),
            ephemeral: Pair::of_vector(
                "1f9c581b35231838f0f17cf0c979835baccb7f3abbbb96ffcc318ab71e6e126f",
                "a1855e10e94e00baa23041d916e259f7044e491da6171269694763f018c7e636\
                 93d29575dcb464ac816baa1be353ba12e3876cba7628bd0bd8e755e721eb0140",
            ),
            fixed: Pair::of_vector(
                "6c77432d1fda31e9f942f8af44607e10f3ad38a65f8a4bddae823e5eff90dc38",
                "d2685070c1e6376e633e825296634fd461fa9e5bdf2109bcebd735e5a91f3e58\
                 7c5cb782abb797fbf6bb5074fd1542a474f2a45b673763ec2db7fb99b737bbb9",
            ),
            authority: Keypair::from_seckey_slice(SECP256K1, &authority).unwrap(),
        }
    }

    pub(crate) fn authority_key(&self) -> [u8; 32] {
        self.authority.x_only_public_key().0.serialize()
    }

    pub(crate) fn authority_secret(&self) -> [u8; 32] {
        self.authority.secret_bytes()
    }

    pub(crate) fn certificate(&self) -> [u8; 74] {
        certificate(self, (1_700_000_000, 2_000_000_000))
    }

    /// The responder's side: e, ee, s, es, payload (N-12).
    pub(crate) fn transcript(&self, act1: &[u8; 64], certificate: &[u8; 74]) -> Transcript {
        let name = sha256::Hash::hash(b"Noise_NX_Secp256k1+EllSwift_ChaChaPoly_SHA256").to_byte_array();
        let mut state = State { chaining: name, hash: name, key: [0; 32] };
        // N-2: the empty prologue; N-10: the first message ends in an empty payload without a key.
        state.mix_hash(&[]);
        state.mix_hash(act1);
        state.mix_hash(&[]);

        state.mix_hash(&self.ephemeral.encoding);
        state.mix_key(&self.ephemeral.shared(act1));
        let fixed = state.encrypt(&self.fixed.encoding);
        state.mix_key(&self.fixed.shared(act1));
        let payload = state.encrypt(certificate);

        let act2 = [&self.ephemeral.encoding[..], &fixed, &payload].concat().try_into().unwrap();
        let [to_server, to_client] = hkdf(&state.chaining, &[]);
        Transcript { act2, to_server, to_client }
    }
}

/// What a handshake comes to.
pub(crate) struct Transcript {
    pub(crate) act2: [u8; 234],
    pub(crate) to_server: [u8; 32],
    pub(crate) to_client: [u8; 32],
}

/// Version 0, signed without randomness (N-13, N-14).
pub(crate) fn certificate(secrets: &Secrets, (from, to): (u32, u32)) -> [u8; 74] {
    let claims = [&0u16.to_le_bytes()[..], &from.to_le_bytes(), &to.to_le_bytes()].concat();
    let digest = sha256::Hash::hash(&[&claims[..], &secrets.fixed.x()].concat()).to_byte_array();
    let message = Message::from_digest(digest);
    let signature = SECP256K1.sign_schnorr_with_aux_rand(&message, &secrets.authority, &[0; 32]);
    [&claims[..], signature.as_ref()].concat().try_into().unwrap()
}

/// [`SETUP_SUCCESS`] as the first two records under a key (N-30).
pub(crate) fn first_frame(key: &[u8; 32]) -> (Vec<u8>, Vec<u8>) {
    let (header, payload) = SETUP_SUCCESS.split_at(6);
    (seal(key, 0, header, &[]), seal(key, 1, payload, &[]))
}

struct State {
    chaining: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
}

impl State {
    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = sha256::Hash::hash(&[&self.hash[..], data].concat()).to_byte_array();
    }

    fn mix_key(&mut self, secret: &[u8; 32]) {
        [self.chaining, self.key] = hkdf(&self.chaining, secret);
    }

    /// Under a new key each time, so the counter is 0 (N-4).
    fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        let sealed = seal(&self.key, 0, plain, &self.hash);
        self.mix_hash(&sealed);
        sealed
    }
}

fn seal(key: &[u8; 32], counter: u64, plain: &[u8], associated: &[u8]) -> Vec<u8> {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    ChaCha20Poly1305::new(key.into()).encrypt(&nonce, Payload { msg: plain, aad: associated }).unwrap()
}

/// Two outputs, empty info (N-5).
fn hkdf(salt: &[u8; 32], material: &[u8]) -> [[u8; 32]; 2] {
    let key = hmac(salt, material);
    let first = hmac(&key, &[1]);
    [first, hmac(&key, &[&first[..], &[2]].concat())]
}

fn hmac(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    engine.input(data);
    Hmac::from_engine(engine).to_byte_array()
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Entropy as given, then zeros.
pub(crate) struct Fixed(VecDeque<u8>);

impl Fixed {
    pub(crate) fn new(secrets: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self(secrets.into_iter().flatten().collect())
    }
}

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.pop_front().unwrap_or(0));
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Fixed {}
