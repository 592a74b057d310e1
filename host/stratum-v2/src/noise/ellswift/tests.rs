use proptest::prelude::*;

use super::*;

/// The buffer that snow hands around: K-1, K-6.
const BUFFER: usize = 65;

struct Side {
    secret: &'static str,
    encoding: &'static str,
}

// Appendix K.
const INITIATOR: Side = Side {
    secret: "61062ea5071d800bbfd59e2e8b53d47d194b095ae5a4df04936b49772ef0d4d7",
    encoding: "ec0adff257bbfe500c188c80b4fdd640f6b45a482bbc15fc7cef5931deff0aa1\
               86f6eb9bba7b85dc4dcc28b28722de1e3d9108b985e2967045668f66098e475b",
};
const RESPONDER: Side = Side {
    secret: "1f9c581b35231838f0f17cf0c979835baccb7f3abbbb96ffcc318ab71e6e126f",
    encoding: "a1855e10e94e00baa23041d916e259f7044e491da6171269694763f018c7e636\
               93d29575dcb464ac816baa1be353ba12e3876cba7628bd0bd8e755e721eb0140",
};
const STATIC: Side = Side {
    secret: "6c77432d1fda31e9f942f8af44607e10f3ad38a65f8a4bddae823e5eff90dc38",
    encoding: "d2685070c1e6376e633e825296634fd461fa9e5bdf2109bcebd735e5a91f3e58\
               7c5cb782abb797fbf6bb5074fd1542a474f2a45b673763ec2db7fb99b737bbb9",
};

fn array<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

impl Side {
    fn pair(&self) -> KeyPair {
        KeyPair {
            secret: SecretKey::from_slice(&array::<32>(self.secret)).unwrap(),
            encoding: array(self.encoding),
        }
    }

    fn dh(&self, role: Role) -> EllSwift {
        EllSwift { role, known: Arc::new([]), pair: Some(self.pair()) }
    }

    fn buffer(&self) -> [u8; BUFFER] {
        let mut buffer = [0; BUFFER];
        buffer[..ENCODING].copy_from_slice(&array::<ENCODING>(self.encoding));
        buffer
    }
}

fn shared(ours: &Side, role: Role, theirs: &Side) -> String {
    let mut out = [0; BUFFER];
    ours.dh(role).dh(&theirs.buffer(), &mut out).unwrap();
    assert_eq!(out[32..], [0; BUFFER - 32]);
    hex::encode(&out[..32])
}

#[test]
fn the_shared_secrets_of_the_vector_from_both_sides() {
    // N-6, K-8
    let ee = "73b99efd2e2da139cf38a0ac9f35c4d1f62e9d42628a570b46ebec4b055f65a0";
    assert_eq!(shared(&INITIATOR, Role::Initiator, &RESPONDER), ee);
    assert_eq!(shared(&RESPONDER, Role::Responder, &INITIATOR), ee);
    let es = "355f220ccca160052824c8f85702266cf18960d4735641a7fcb126e4f5e4bcf1";
    assert_eq!(shared(&INITIATOR, Role::Initiator, &STATIC), es);
    assert_eq!(shared(&STATIC, Role::Responder, &INITIATOR), es);
}

#[test]
fn the_role_decides_the_order() {
    // K-8: with the order ours, theirs, both sides would compute other secrets.
    let right = shared(&INITIATOR, Role::Initiator, &RESPONDER);
    assert_ne!(shared(&INITIATOR, Role::Responder, &RESPONDER), right);
    assert_ne!(shared(&RESPONDER, Role::Initiator, &INITIATOR), right);
}

#[test]
fn lengths_that_snow_would_get_wrong() {
    // K-5
    let dh = STATIC.dh(Role::Responder);
    assert_eq!((dh.pub_len(), dh.priv_len(), dh.dh_len()), (64, 32, 32));
    assert_eq!(dh.pubkey().len(), 64);
}

#[test]
fn a_known_secret_keeps_its_encoding() {
    // N-7, K-9
    let mut dh = EllSwift { role: Role::Responder, known: Arc::new([STATIC.pair()]), pair: None };
    dh.set(&array::<32>(STATIC.secret));
    assert_eq!(hex::encode(dh.pubkey()), STATIC.encoding);
    dh.set(&array::<32>(RESPONDER.secret));
    let derived = KeyPair::new(RESPONDER.pair().secret, None).encoding;
    assert_eq!(dh.pubkey(), derived);
    assert_eq!(StaticKey::from_encoding(derived), StaticKey::from_encoding(array(RESPONDER.encoding)));
}

#[test]
fn bytes_that_are_no_secret_fail_where_they_are_used() {
    let mut dh = EllSwift { role: Role::Responder, known: Arc::new([]), pair: None };
    for bytes in [&[0; 32][..], &[0xff; 32], &[1; 31], &[]] {
        dh.set(bytes);
        assert_eq!(dh.dh(&[1; BUFFER], &mut [0; BUFFER]), Err(snow::Error::Dh));
    }
    let dh = STATIC.dh(Role::Responder);
    assert_eq!(dh.dh(&[1; 63], &mut [0; BUFFER]), Err(snow::Error::Dh));
    assert_eq!(dh.dh(&[1; BUFFER], &mut [0; 31]), Err(snow::Error::Dh));
}

#[test]
fn a_generated_key_shows_one_encoding_and_follows_from_the_entropy() {
    // K-7
    let generated = |entropy| {
        let mut dh = EllSwift { role: Role::Initiator, known: Arc::new([]), pair: None };
        dh.generate(&mut Expansion { entropy: [entropy; 32], blocks: 0 }).unwrap();
        assert_eq!(dh.pubkey(), dh.pubkey());
        let public = dh.pubkey().to_vec();
        let pair = dh.pair.unwrap();
        let of_secret = StaticKey::from_encoding(KeyPair::new(pair.secret, None).encoding);
        assert_eq!(StaticKey::from_encoding(public.clone().try_into().unwrap()), of_secret);
        public
    };
    assert_eq!(generated(1), generated(1));
    assert_ne!(generated(1), generated(2));
}

#[test]
fn stretched_entropy_does_not_repeat() {
    let mut rng = Expansion { entropy: [1; 32], blocks: 0 };
    let mut bytes = [0; 100];
    rng.try_fill_bytes(&mut bytes).unwrap();
    let mut more = [0; 32];
    rng.try_fill_bytes(&mut more).unwrap();
    let blocks: std::collections::HashSet<&[u8]> = bytes.chunks_exact(32).chain([&more[..]]).collect();
    assert_eq!(blocks.len(), 4);
}

#[test]
fn a_generator_that_yields_no_key_is_an_error() {
    struct Zeros;
    impl Random for Zeros {
        fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
            dest.fill(0);
            Ok(())
        }
    }
    assert!(matches!(EllSwift::draw(&mut Zeros), Err(snow::Error::Rng)));
}

proptest! {
    #[test]
    fn every_64_bytes_are_a_key(left: [u8; 32], right: [u8; 32]) {
        // N-8
        let mut buffer = [0; BUFFER];
        buffer[..32].copy_from_slice(&left);
        buffer[32..64].copy_from_slice(&right);
        prop_assert!(STATIC.dh(Role::Responder).dh(&buffer, &mut [0; BUFFER]).is_ok());
        let _ = StaticKey::from_encoding(*buffer.first_chunk().unwrap());
    }
}

#[test]
fn even_the_odd_64_bytes_are_a_key() {
    // N-8: the values that the map to the curve treats apart.
    for bytes in [[0; 64], [0xff; 64]] {
        let key = StaticKey::from_encoding(bytes).to_bytes();
        assert!(bitcoin::secp256k1::XOnlyPublicKey::from_slice(&key).is_ok());
    }
}
