use proptest::prelude::*;

use super::*;

const VALIDITY: Validity = Validity { valid_from: 1_700_000_000, not_valid_after: 2_000_000_000 };
const SERVER: &str = "d2685070c1e6376e633e825296634fd461fa9e5bdf2109bcebd735e5a91f3e58\
                      7c5cb782abb797fbf6bb5074fd1542a474f2a45b673763ec2db7fb99b737bbb9";

fn server() -> StaticKey {
    StaticKey::from_encoding(hex::decode(SERVER).unwrap().try_into().unwrap())
}

fn authority() -> AuthoritySecret {
    let mut three = [0; 32];
    three[31] = 3;
    AuthoritySecret::from_entropy(three).unwrap()
}

fn signed() -> Certificate {
    Certificate::sign(&authority(), server(), VALIDITY)
}

#[test]
fn the_certificate_of_the_handshake_vector() {
    let x = "193d019db571162e52567e0cfdf9dd6964394f32769ae2edc4933b03b502d771";
    assert_eq!(hex::encode(server().to_bytes()), x);
    // N-14
    let digest = digest(server(), VALIDITY);
    assert_eq!(hex::encode(digest), "ca5d28207283018432609ce78fc5181ea9ff691a07a5da6e3f17d04906caf9af");
    // N-13, N-15: version 0, 1700000000 and 2000000000 little-endian, the signature.
    let wire = "0000\
                00f15365\
                00943577\
                52cfa05ce7742e305b6f5cef31538f77b9659fb83573627c1f40f364a717d7b4\
                002e13c59d9f68bbb67f0c6e9a35c676849be7179915d07f355c97a039c33928";
    assert_eq!(hex::encode(signed().to_bytes()), wire);
    assert_eq!(signed().to_bytes().len(), 74);
}

#[test]
fn it_holds_from_its_first_to_its_last_second() {
    // N-16
    let verify = |now| signed().verify(&authority().public(), server(), now);
    let (valid_from, not_valid_after) = (VALIDITY.valid_from, VALIDITY.not_valid_after);
    assert_eq!(verify(valid_from), Ok(()));
    assert_eq!(verify(not_valid_after), Ok(()));
    let early = valid_from - 1;
    assert_eq!(verify(early), Err(CertificateError::NotYetValid { valid_from, now: early }));
    let late = not_valid_after + 1;
    assert_eq!(verify(late), Err(CertificateError::Expired { not_valid_after, now: late }));
    assert!(VALIDITY.contains(valid_from) && VALIDITY.contains(not_valid_after));
    assert!(!VALIDITY.contains(early) && !VALIDITY.contains(late));
}

#[test]
fn only_version_0_is_read() {
    // N-15
    let mut wire = signed().to_bytes();
    wire[0] = 1;
    assert_eq!(Certificate::from_bytes(&wire), Err(CertificateError::Version(1)));
    wire[..2].copy_from_slice(&[0, 1]);
    assert_eq!(Certificate::from_bytes(&wire), Err(CertificateError::Version(256)));
}

#[test]
fn it_is_for_one_authority_and_one_server() {
    let now = VALIDITY.valid_from;
    let other = AuthoritySecret::from_entropy([9; 32]).unwrap().public();
    let refused = signed().verify(&other, server(), now);
    assert_eq!(refused, Err(CertificateError::Signature { authority: other }));
    let authority = authority().public();
    let refused = signed().verify(&authority, StaticKey::from_encoding([9; 64]), now);
    assert_eq!(refused, Err(CertificateError::Signature { authority }));
    assert!(signed().signed_by(&authority, server()));
}

#[test]
fn every_changed_bit_is_seen() {
    let authority = authority().public();
    for position in 2..CERTIFICATE {
        for bit in 0..8 {
            let mut wire = signed().to_bytes();
            wire[position] ^= 1 << bit;
            let changed = Certificate::from_bytes(&wire).unwrap();
            assert!(!changed.signed_by(&authority, server()), "byte {position}, bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn it_survives_the_wire(valid_from: u32, not_valid_after: u32) {
        let certificate = Certificate::sign(&authority(), server(), Validity { valid_from, not_valid_after });
        prop_assert_eq!(Certificate::from_bytes(&certificate.to_bytes()), Ok(certificate));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: [u8; 32], now: u32) {
        let mut wire = [0; CERTIFICATE];
        wire[2..34].copy_from_slice(&bytes);
        wire[42..].copy_from_slice(&bytes);
        let certificate = Certificate::from_bytes(&wire).unwrap();
        prop_assert!(certificate.verify(&authority().public(), server(), now).is_err());
    }
}
