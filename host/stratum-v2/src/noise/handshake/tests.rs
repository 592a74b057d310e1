use bitcoin::secp256k1::{self, Secp256k1, SecretKey, schnorr};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::noise::{AuthoritySecret, BadMac, HEADER_RECORD, Validity};

// Appendix K: the key pairs are test vectors of BIP324, with encodings that do not follow from the secrets.
const E_I: (&str, &str) = (
    "61062ea5071d800bbfd59e2e8b53d47d194b095ae5a4df04936b49772ef0d4d7",
    "ec0adff257bbfe500c188c80b4fdd640f6b45a482bbc15fc7cef5931deff0aa1\
     86f6eb9bba7b85dc4dcc28b28722de1e3d9108b985e2967045668f66098e475b",
);
const E_R: (&str, &str) = (
    "1f9c581b35231838f0f17cf0c979835baccb7f3abbbb96ffcc318ab71e6e126f",
    "a1855e10e94e00baa23041d916e259f7044e491da6171269694763f018c7e636\
     93d29575dcb464ac816baa1be353ba12e3876cba7628bd0bd8e755e721eb0140",
);
const S: (&str, &str) = (
    "6c77432d1fda31e9f942f8af44607e10f3ad38a65f8a4bddae823e5eff90dc38",
    "d2685070c1e6376e633e825296634fd461fa9e5bdf2109bcebd735e5a91f3e58\
     7c5cb782abb797fbf6bb5074fd1542a474f2a45b673763ec2db7fb99b737bbb9",
);
const ACT_2_VECTOR: &str = "\
    a1855e10e94e00baa23041d916e259f7044e491da6171269694763f018c7e63693d29575dcb464ac816baa1be353ba12\
    e3876cba7628bd0bd8e755e721eb0140faf98a7c47a97708fb5e1d19e97b1b2702c87756bc172ebc747a8590d8719676\
    0059edad954251ab0b1e34339f5ecf6f4ec44979329ff76bd5af2ff7c967a9bcaecfefdfe7616458a241e0721ef9b58d\
    3443cffb66ba9141731e5272a02837fa924043a72a07d31282b4f4b04af131e927d27a118c1f30da55e3452a8fc3152c\
    9bdb22f0b0be37422f6ab70ad4cbc879402935448de235366447cd6e6842dfe3488e9e748befc470e964";
const H: &str = "67b8e84db0eac2beecb1cbe38f871a473faf20a104b23c4b2c5dbfaa9893b2c9";
const KEY_TO_SERVER: &str = "c7408a324c9fe25843b06158a4b39f180eb007d8a7c5cabcb9b718463081d96a";
const KEY_TO_CLIENT: &str = "3ec4b3d45c18e89034b88b1eea980b21809b166910acf76e2318b4b32ddd850f";
const FIRST_FRAME: &str = "97866a10071ab1dff9e3bb43d21bce0a198ba993093c\
                           8c7ce949584f923266be7fcea713795e637da20a7e95";

const VALIDITY: Validity = Validity { valid_from: 1_700_000_000, not_valid_after: 2_000_000_000 };
const NOW: u32 = 1_800_000_000;

fn array<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

fn pair((secret, encoding): (&str, &str)) -> KeyPair {
    KeyPair { secret: SecretKey::from_slice(&array::<32>(secret)).unwrap(), encoding: array(encoding) }
}

fn authority() -> AuthoritySecret {
    let mut three = [0; 32];
    three[31] = 3;
    AuthoritySecret::from_entropy(three).unwrap()
}

fn identity() -> Identity {
    Identity::issue([5; 32], &authority(), VALIDITY).unwrap()
}

/// Primitives in which the vector's secrets have the vector's encodings (K-16).
fn vector_builder<'a>(role: Role) -> Builder<'a> {
    builder(Primitives { role, entropy: [0; 32], known: Arc::new([E_I, E_R, S].map(pair)) })
}

fn vector_initiator() -> HandshakeState {
    let fixed = array::<32>(E_I.0);
    vector_builder(Role::Initiator).fixed_ephemeral_key_for_testing_only(&fixed).build_initiator().unwrap()
}

fn vector_responder() -> HandshakeState {
    let (fixed, secret) = (array::<32>(E_R.0), array::<32>(S.0));
    let builder = vector_builder(Role::Responder).fixed_ephemeral_key_for_testing_only(&fixed);
    builder.local_private_key(&secret).unwrap().build_responder().unwrap()
}

fn vector_certificate() -> [u8; CERTIFICATE] {
    Certificate::sign(&authority(), StaticKey::from_encoding(array(S.1)), VALIDITY).to_bytes()
}

/// A finished handshake of our two sides: the client's and the server's.
fn session() -> (Transport, Transport) {
    let (initiator, act1) = Initiator::new(Some(authority().public()), [1; 32]).unwrap();
    let (act2, server) = Responder::answer(&identity(), &act1, [2; 32]).unwrap();
    (initiator.finish(&act2, NOW).unwrap(), server)
}

fn read(transport: &mut Transport, frame: &[u8]) -> Result<([u8; 6], Vec<u8>), BadMac> {
    let (header, records) = frame.split_first_chunk::<HEADER_RECORD>().unwrap();
    let header = transport.receive.open_header(header)?;
    let mut payload = Vec::new();
    transport.receive.open_payload(records, &mut payload)?;
    Ok((header, payload))
}

#[test]
fn the_first_hashes() {
    // N-2, K-3, K-12
    assert_eq!(NAME.len(), 45);
    let name = hex::encode(Sha256::digest(NAME));
    assert_eq!(name, "2eb47881208e9eee1f669f67c66ee70ea9ea88090d503fe830dc4bc83e29bf10");
    let first = "922fa32e4f487c0d59caa3bed7899ce3d98db7e13dbd3b7cf2d23dd433dc6104";
    assert_eq!(hex::encode(vector_initiator().get_handshake_hash()), first);
    assert_eq!(hex::encode(vector_responder().get_handshake_hash()), first);
}

#[test]
fn the_vector_from_the_servers_side() {
    let (act2, mut server) = respond(vector_responder(), &array(E_I.1), &vector_certificate()).unwrap();
    assert_eq!(hex::encode(act2), ACT_2_VECTOR);
    assert_eq!(act2.len(), 234);
    // SetupConnection.Success with version 2 and no flags.
    let mut frame = Vec::new();
    server.send.seal([0, 0, 1, 6, 0, 0], &[&[2, 0], &[0, 0, 0, 0]], &mut frame);
    assert_eq!(hex::encode(frame), FIRST_FRAME);
}

#[test]
fn the_vector_from_the_clients_side() {
    let (initiator, act1) = Initiator::begin(vector_initiator(), Some(authority().public())).unwrap();
    assert_eq!(hex::encode(act1), E_I.1);
    let mut client = initiator.finish(&array(ACT_2_VECTOR), NOW).unwrap();
    let frame = hex::decode(FIRST_FRAME).unwrap();
    assert_eq!(read(&mut client, &frame), Ok(([0, 0, 1, 6, 0, 0], vec![2, 0, 0, 0, 0, 0])));
}

#[test]
fn the_vectors_last_hash_and_keys() {
    // N-3, N-5, N-12: they come of every key, hash and code before.
    let mut state = vector_responder();
    state.read_message(&array::<ACT_1>(E_I.1), &mut [0; MAC]).unwrap();
    state.write_message(&vector_certificate(), &mut [0; ACT_2]).unwrap();
    assert_eq!(hex::encode(state.get_handshake_hash()), H);
    let (to_server, to_client) = state.dangerously_get_raw_split();
    assert_eq!(
        (hex::encode(to_server), hex::encode(to_client)),
        (KEY_TO_SERVER.into(), KEY_TO_CLIENT.into())
    );
}

#[test]
fn our_two_sides_understand_each_other() {
    let (mut client, mut server) = session();
    for round in 0..3_u8 {
        let mut frame = Vec::new();
        client.send.seal([round; 6], &[b"from the ", b"client"], &mut frame);
        assert_eq!(read(&mut server, &frame), Ok(([round; 6], b"from the client".to_vec())));
        frame.clear();
        server.send.seal([round; 6], &[], &mut frame);
        assert_eq!(read(&mut client, &frame), Ok(([round; 6], Vec::new())));
    }
}

#[test]
fn a_frame_does_not_open_on_the_side_that_sealed_it() {
    let (mut client, _) = session();
    let mut frame = Vec::new();
    client.send.seal([0; 6], &[b"reflected"], &mut frame);
    assert_eq!(read(&mut client, &frame), Err(BadMac));
}

#[test]
fn the_answer_follows_from_the_arguments_alone() {
    let (_, act1) = Initiator::new(None, [1; 32]).unwrap();
    let answer = |entropy| Responder::answer(&identity(), &act1, [entropy; 32]).unwrap().0;
    assert_eq!(answer(2), answer(2));
    let (one, other) = (answer(2), answer(3));
    assert_ne!(one[..64], other[..64]);
    assert_ne!(one[64..144], other[64..144]);
}

#[test]
fn an_sv1_line_is_answered_and_fails_at_the_first_header() {
    // N-21
    let line =
        br#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1","00000000","pool.example",3333]}"#;
    let (act1, rest) = line.split_first_chunk::<ACT_1>().unwrap();
    let (act2, mut server) = Responder::answer(&identity(), act1, [2; 32]).unwrap();
    assert_eq!(act2.len(), 234);
    assert_eq!(server.receive.open_header(rest.first_chunk().unwrap()), Err(BadMac));
}

#[test]
fn every_changed_byte_of_act_2_is_seen() {
    // N-20; `finish` consumes the initiator: there is no second try.
    for position in 0..ACT_2 {
        let (initiator, act1) = Initiator::new(None, [1; 32]).unwrap();
        let (mut act2, _) = Responder::answer(&identity(), &act1, [2; 32]).unwrap();
        act2[position] ^= 1;
        assert_eq!(initiator.finish(&act2, NOW).err(), Some(NoiseError::Act2), "byte {position}");
    }
}

#[test]
fn a_changed_act_1_is_seen_by_the_client() {
    let (initiator, mut act1) = Initiator::new(None, [1; 32]).unwrap();
    act1[63] ^= 1;
    let (act2, _) = Responder::answer(&identity(), &act1, [2; 32]).unwrap();
    assert_eq!(initiator.finish(&act2, NOW).err(), Some(NoiseError::Act2));
}

#[test]
fn an_act_2_for_somebody_else_is_refused() {
    let (initiator, _) = Initiator::new(None, [1; 32]).unwrap();
    let (_, act1) = Initiator::new(None, [9; 32]).unwrap();
    let (act2, _) = Responder::answer(&identity(), &act1, [2; 32]).unwrap();
    assert_eq!(initiator.finish(&act2, NOW).err(), Some(NoiseError::Act2));
}

/// What a client that trusts `authority` makes of a server's identity at a time.
fn judged(identity: &Identity, authority: Option<AuthorityKey>, now: u32) -> Option<NoiseError> {
    let (initiator, act1) = Initiator::new(authority, [1; 32]).unwrap();
    let (act2, _) = Responder::answer(identity, &act1, [2; 32]).unwrap();
    initiator.finish(&act2, now).err()
}

#[test]
fn the_client_looks_at_the_clock() {
    // N-14, N-16
    let at = |now| judged(&identity(), Some(authority().public()), now);
    let Validity { valid_from, not_valid_after } = VALIDITY;
    assert_eq!(at(valid_from), None);
    assert_eq!(at(not_valid_after), None);
    let now = valid_from - 1;
    assert_eq!(at(now), Some(CertificateError::NotYetValid { valid_from, now }.into()));
    let now = not_valid_after + 1;
    assert_eq!(at(now), Some(CertificateError::Expired { not_valid_after, now }.into()));
}

#[test]
fn the_client_looks_at_the_authority_and_the_key() {
    let other = AuthoritySecret::from_entropy([9; 32]).unwrap().public();
    let refused = |authority| Some(NoiseError::Certificate(CertificateError::Signature { authority }));
    assert_eq!(judged(&identity(), Some(other), NOW), refused(other));
    // A certificate that was made for another server.
    let borrowed = Identity::new([6; 32], *identity().certificate()).unwrap();
    let authority = authority().public();
    assert_eq!(judged(&borrowed, Some(authority), NOW), refused(authority));
}

#[test]
fn without_an_authority_any_certificate_will_do() {
    assert_eq!(judged(&identity(), None, 0), None);
}

#[test]
fn the_client_refuses_other_versions() {
    // N-15
    let mut certificate = vector_certificate();
    certificate[0] = 1;
    let (initiator, act1) = Initiator::begin(vector_initiator(), Some(authority().public())).unwrap();
    let (act2, _) = respond(vector_responder(), &act1, &certificate).unwrap();
    assert_eq!(initiator.finish(&act2, NOW).err(), Some(CertificateError::Version(1).into()));
}

#[test]
fn keys_codes_and_signatures_have_their_sizes() {
    // N-3, F-26: keys of 64 bytes on the wire, codes of 16, and what BIP340 makes of 32 bytes of key and 64 of signature.
    let (act2, _) = respond(vector_responder(), &array(E_I.1), &vector_certificate()).unwrap();
    assert_eq!(act2.len(), 64 + (64 + 16) + (2 + 4 + 4 + 64 + 16));
    let secp = Secp256k1::new();
    let x_only = |secret: &str| {
        let secret = SecretKey::from_slice(&array::<32>(secret)).unwrap();
        secret.x_only_public_key(&secp).0
    };
    let certificate = vector_certificate();
    let (claims, signature) = certificate.split_at(2 + 4 + 4);
    let server: [u8; 32] = x_only(S.0).serialize();
    let digest = Sha256::digest([claims, &server].concat());
    let authority = x_only(&format!("{:064x}", 3));
    let signature = schnorr::Signature::from_slice(signature).unwrap();
    let signed = secp.verify_schnorr(&signature, &secp256k1::Message::from_digest(digest.into()), &authority);
    assert_eq!(signed, Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_64_bytes_get_an_answer(left: [u8; 32], right: [u8; 32], entropy: [u8; 32]) {
        // N-8, N-21; K-1: snow's buffers hold a key of 64 bytes.
        let mut act1 = [0; ACT_1];
        act1[..32].copy_from_slice(&left);
        act1[32..].copy_from_slice(&right);
        let (_, mut server) = Responder::answer(&identity(), &act1, entropy).unwrap();
        prop_assert_eq!(server.receive.open_header(&[0; HEADER_RECORD]), Err(BadMac));
    }

    #[test]
    fn any_entropy_makes_a_session(client: [u8; 32], server: [u8; 32]) {
        let (initiator, act1) = Initiator::new(Some(authority().public()), client).unwrap();
        let (act2, mut server) = Responder::answer(&identity(), &act1, server).unwrap();
        let mut client = initiator.finish(&act2, NOW).unwrap();
        let mut frame = Vec::new();
        server.send.seal([1; 6], &[b"hello"], &mut frame);
        prop_assert_eq!(read(&mut client, &frame), Ok(([1; 6], b"hello".to_vec())));
    }

    #[test]
    fn no_act_2_makes_the_client_panic(bytes in prop::collection::vec(any::<u8>(), ACT_2)) {
        let (initiator, _) = Initiator::new(None, [1; 32]).unwrap();
        let refused = initiator.finish(&bytes.try_into().unwrap(), NOW).err();
        prop_assert_eq!(refused, Some(NoiseError::Act2));
    }
}
