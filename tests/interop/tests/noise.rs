//! The handshake and the records against SRI's `noise_sv2` and `codec_sv2`, both ways, and the vector of Appendix K.

mod transcript;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use sluice_stratum_v2::noise::{
    self, AuthorityKey, AuthoritySecret, CertificateError, Identity, NoiseError, Validity, sealed_length,
};
use sluice_stratum_v2::wire::FrameHeader;
use stratum_apps::key_utils::{Secp256k1PublicKey, Secp256k1SecretKey};
use stratum_apps::stratum_core::codec_sv2::{
    Decrypted, Handshake, HandshakeMessage, NoiseDecoder, NoiseEncoder, SerializedFrame,
    TransportDecryptState, TransportEncryptState,
};
use stratum_apps::stratum_core::noise_sv2::{Initiator, Responder};

use transcript::{Fixed, Pair, Secrets, certificate};

/// N-31: around the ends of a record.
const SIZES: [usize; 5] = [0, 1, 65_519, 65_520, 131_038];

/// SRI's half of a session.
struct Sri {
    encoder: NoiseEncoder,
    send: TransportEncryptState,
    decoder: NoiseDecoder,
    receive: Option<TransportDecryptState>,
}

impl Sri {
    fn new((send, receive): (TransportEncryptState, TransportDecryptState)) -> Self {
        Self { encoder: NoiseEncoder::new(), send, decoder: NoiseDecoder::new(), receive: Some(receive) }
    }

    fn seal(&mut self, frame: Vec<u8>) -> Result<Vec<u8>> {
        let frame = SerializedFrame::from_bytes(frame).map_err(|hint| anyhow!("no frame: {hint}"))?;
        let sealed = self.encoder.encode_transport(frame, &mut self.send);
        Ok(AsRef::<[u8]>::as_ref(&sealed.map_err(|error| anyhow!("{error}"))?).to_vec())
    }

    /// Feeds what the decoder asks for, until it has a frame; nothing may be left over.
    fn open(&mut self, mut sealed: &[u8]) -> Result<Vec<u8>> {
        loop {
            let room = self.decoder.writable();
            let (now, later) = sealed.split_at_checked(room.len()).context("SRI wants more than was sent")?;
            room.copy_from_slice(now);
            sealed = later;
            let state = self.receive.take().context("the session ended")?;
            match self.decoder.next_transport_frame(state).map_err(|error| anyhow!("{error}"))? {
                Decrypted::Frame(frame, state) => {
                    self.receive = Some(state);
                    ensure!(sealed.is_empty(), "{} bytes left", sealed.len());
                    return Ok(frame.as_bytes().to_vec());
                }
                Decrypted::Incomplete(_, state) => self.receive = Some(state),
            }
        }
    }
}

fn frame(size: usize) -> Vec<u8> {
    // An extension that nobody has; the channel bit only where there is room for a channel.
    let header = FrameHeader {
        extension: 0x0aaa,
        channel_message: size >= 4,
        message: 0x42,
        length: u32::try_from(size).unwrap(),
    };
    let payload = (0..size).map(|at| (at % 251) as u8);
    header.write().into_iter().chain(payload).collect()
}

/// Frames of all sizes, both ways, twice, so that every counter has moved.
fn exchange(mut ours: noise::Transport, mut sri: Sri) -> Result<()> {
    for size in SIZES.into_iter().chain(SIZES) {
        let plain = frame(size);
        let (header, payload) = plain.split_first_chunk::<6>().context("a header")?;

        let mut sealed = Vec::new();
        // In parts, as the pool sends jobs.
        let (first, second) = payload.split_at(size / 3);
        ours.send.seal(*header, &[first, second], &mut sealed);
        ensure!(sealed.len() == noise::HEADER_RECORD + sealed_length(size), "N-31: {size}");
        let opened = sri.open(&sealed).with_context(|| format!("SRI opens {size} bytes"))?;
        ensure!(opened == plain, "SRI reads {size} bytes otherwise");

        let sealed = sri.seal(plain.clone())?;
        ensure!(
            sealed.len() == noise::HEADER_RECORD + sealed_length(size),
            "N-31: SRI seals {size} otherwise"
        );
        let (head, records) = sealed.split_first_chunk::<{ noise::HEADER_RECORD }>().context("a header")?;
        let mut opened = ours.receive.open_header(head)?.to_vec();
        ours.receive.open_payload(records, &mut opened)?;
        ensure!(opened == plain, "we read {size} bytes otherwise");
    }
    Ok(())
}

fn now() -> u32 {
    u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn authority(byte: u8) -> AuthoritySecret {
    AuthoritySecret::from_entropy([byte; 32]).unwrap()
}

fn identity(authority: &AuthoritySecret, validity: Validity) -> Identity {
    Identity::issue([0x77; 32], authority, validity).unwrap()
}

/// Our answer to SRI's initiator, and what SRI makes of it at `now`.
fn answer(
    expected: &AuthoritySecret,
    identity: &Identity,
    entropy: u8,
    now: u32,
) -> Result<(noise::Transport, Sri)> {
    let initiator =
        Initiator::from_raw_k(expected.public().to_bytes()).map_err(|error| anyhow!("{error:?}"))?;
    let (act1, waiting) = Handshake::initiator(initiator).step_0().map_err(|error| anyhow!("{error}"))?;
    let act1 = <&[u8; noise::ACT_1]>::try_from(act1.payload())?;
    let (act2, ours) = noise::Responder::answer(identity, act1, [entropy; 32])?;
    let sri =
        waiting.step_2_with_now(act2, now).map_err(|error| anyhow!("SRI refuses our Act 2: {error}"))?;
    Ok((ours, Sri::new(sri.split())))
}

#[test]
fn sri_connects_to_us() -> Result<()> {
    // N-10 to N-16: with any ephemeral key, SRI accepts Act 2 and its certificate.
    for entropy in 1..=8 {
        let authority = authority(entropy);
        let validity = Validity { valid_from: now() - 3600, not_valid_after: now() + 86_400 };
        let identity = Identity::issue([0x80 | entropy; 32], &authority, validity)?;
        let (ours, sri) = answer(&authority, &identity, entropy, now())?;
        exchange(ours, sri)?;
    }
    Ok(())
}

#[test]
fn we_connect_to_sri() -> Result<()> {
    for entropy in 1..=8 {
        let authority = authority(entropy);
        let secret: Secp256k1SecretKey = authority.reveal().parse().map_err(|error| anyhow!("{error}"))?;
        let (public, secret) = (authority.public().to_bytes(), secret.into_bytes());
        let responder = Responder::from_authority_kp(&public, &secret, Duration::from_secs(3600));
        let responder = Handshake::responder(responder.map_err(|error| anyhow!("{error:?}"))?);
        let (waiting, act1) = noise::Initiator::new(Some(authority.public()), [entropy; 32])?;
        let (act2, sri) = responder.step_1(act1).map_err(|error| anyhow!("{error}"))?;
        let ours = waiting.finish(&act2_of(&act2)?, now() + 1)?;
        exchange(ours, Sri::new(sri.split()))?;
    }
    Ok(())
}

fn act2_of(message: &HandshakeMessage) -> Result<[u8; noise::ACT_2]> {
    Ok(message.payload().try_into()?)
}

#[test]
fn sri_refuses_what_the_certificate_does_not_cover() {
    // N-14, N-16: SRI's initiator allows 10 s of skew.
    let validity = Validity { valid_from: 1_700_000_000, not_valid_after: 1_700_086_400 };
    let (ours, other) = (authority(1), authority(2));
    let identity = identity(&ours, validity);
    let accepted = |expected, now| answer(expected, &identity, 9, now).is_ok();
    assert!(accepted(&ours, validity.valid_from - 10) && accepted(&ours, validity.not_valid_after + 10));
    assert!(!accepted(&ours, validity.valid_from - 11));
    assert!(!accepted(&ours, validity.not_valid_after + 11));
    assert!(!accepted(&other, validity.valid_from));
}

#[test]
fn we_refuse_what_sri_signs_for_others() -> Result<()> {
    let (signer, expected) = (authority(1), authority(2));
    let secret: Secp256k1SecretKey = signer.reveal().parse().map_err(|error| anyhow!("{error}"))?;
    let (public, secret) = (signer.public().to_bytes(), secret.into_bytes());
    let act2 = |act1| {
        let responder = Responder::from_authority_kp(&public, &secret, Duration::from_secs(60)).unwrap();
        act2_of(&Handshake::responder(responder).step_1(act1).unwrap().0)
    };
    let (waiting, act1) = noise::Initiator::new(Some(expected.public()), [3; 32])?;
    let refused = waiting.finish(&act2(act1)?, now() + 1).unwrap_err();
    let authority = expected.public();
    assert_eq!(refused, NoiseError::Certificate(CertificateError::Signature { authority }));
    // N-20: one bit anywhere in Act 2.
    for byte in [0, 63, 64, 143, 144, 233] {
        let (waiting, act1) = noise::Initiator::new(None, [4; 32])?;
        let mut act2 = act2(act1)?;
        act2[byte] ^= 0x40;
        assert_eq!(waiting.finish(&act2, now() + 1).unwrap_err(), NoiseError::Act2, "byte {byte}");
    }
    Ok(())
}

#[test]
fn both_read_the_others_keys() -> Result<()> {
    // N-40, N-41; the pair of SRI's own mocks (P-13).
    let (public, secret) = (
        "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72",
        "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n",
    );
    let ours: AuthoritySecret = secret.parse()?;
    assert_eq!(ours.public().to_string(), public);
    assert_eq!(ours.reveal(), secret);
    for byte in 1..=254 {
        let ours = authority(byte);
        let theirs: Secp256k1SecretKey = ours.reveal().parse().map_err(|error| anyhow!("{error}"))?;
        let public: Secp256k1PublicKey = theirs.into();
        assert_eq!(public.to_string(), ours.public().to_string());
        assert_eq!(public.to_string().parse::<AuthorityKey>()?, ours.public());
        assert_eq!(theirs.to_string().parse::<AuthoritySecret>()?.reveal(), ours.reveal());
    }
    Ok(())
}

// Appendix K. Its keys have encodings that SRI cannot be made to use, so the vector is checked in two steps: the
// transcription in `transcript.rs` gives the vector's bytes with the vector's encodings, and with SRI's encodings it
// gives SRI's bytes.

#[test]
fn the_transcription_gives_the_vector() -> Result<()> {
    let k = Secrets::appendix_k();
    let transcript = k.transcript(&k.initiator.encoding, &k.certificate());
    assert_eq!(hex::encode(transcript.act2), transcript::ACT_2);
    assert_eq!(hex::encode(transcript.to_server), transcript::KEY_TO_SERVER);
    assert_eq!(hex::encode(transcript.to_client), transcript::KEY_TO_CLIENT);
    let (header, payload) = transcript::first_frame(&transcript.to_client);
    assert_eq!((hex::encode(header).as_str(), hex::encode(payload).as_str()), transcript::FIRST_FRAME);
    Ok(())
}

#[test]
fn sri_accepts_the_vector_behind_its_own_ephemeral_key() -> Result<()> {
    let k = Secrets::appendix_k();
    let at = |now| -> Result<Sri> {
        let mut entropy = Fixed::new([k.initiator.secret()]);
        let initiator = Initiator::from_raw_k_with_rng(k.authority_key(), &mut entropy).unwrap();
        let (act1, waiting) = Handshake::initiator(initiator).step_0().unwrap();
        let transcript = k.transcript(act1.payload().try_into()?, &k.certificate());
        let session = waiting.step_2_with_now(transcript.act2, now).map_err(|error| anyhow!("{error}"))?;
        let (header, payload) = transcript::first_frame(&transcript.to_client);
        let mut sri = Sri::new(session.split());
        assert_eq!(sri.open(&[header, payload].concat())?, transcript::SETUP_SUCCESS);
        Ok(sri)
    };
    for now in [1_700_000_000, 1_850_000_000, 2_000_000_000] {
        at(now)?;
    }
    assert!(at(1_699_999_900).is_err() && at(2_000_000_100).is_err());
    Ok(())
}

#[test]
fn sri_answers_the_vector_as_transcribed() -> Result<()> {
    // Its responder draws e, then s, then the signature's randomness.
    let k = Secrets::appendix_k();
    let mut entropy = Fixed::new([k.ephemeral.secret(), k.fixed.secret()]);
    let (public, secret) = (k.authority_key(), k.authority_secret());
    let lifetime = Duration::from_secs(300_000_000);
    let responder = Responder::from_authority_kp_with_rng(&public, &secret, lifetime, &mut entropy).unwrap();
    let answer = Handshake::responder(responder).step_1_with_now_rng(
        k.initiator.encoding,
        1_700_000_000,
        &mut entropy,
    );
    let (act2, session) = answer.map_err(|error| anyhow!("{error}"))?;

    let sri =
        Secrets { ephemeral: Pair::of_sri(k.ephemeral.secret()), fixed: Pair::of_sri(k.fixed.secret()), ..k };
    let transcript =
        sri.transcript(&sri.initiator.encoding, &certificate(&sri, (1_700_000_000, 2_000_000_000)));
    assert_eq!(hex::encode(act2.payload()), hex::encode(transcript.act2));
    let (header, payload) = transcript::first_frame(&transcript.to_client);
    let mut session = Sri::new(session.split());
    assert_eq!(session.seal(transcript::SETUP_SUCCESS.to_vec())?, [header, payload].concat());
    Ok(())
}
