use proptest::prelude::*;

use super::*;

/// The vector of 04§4.7.
const RAW: &str = "76637000979c1c11af0c300bcd8c7fe48610fce9b9c11e3daee35ae0b08a7455";
const TEXT: &str = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";

fn bytes(hex: &str) -> [u8; 32] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

fn checked(bytes: &[u8]) -> String {
    base58::encode_check(bytes)
}

#[test]
fn the_public_text_of_the_specification_in_both_directions() {
    // N-40
    let key = AuthorityKey::from_bytes(bytes(RAW)).unwrap();
    assert_eq!(key.to_string(), TEXT);
    assert_eq!(TEXT.parse::<AuthorityKey>().unwrap(), key);
    assert_eq!(key.to_bytes(), bytes(RAW));
}

#[test]
fn the_example_pair_of_other_pools_configurations() {
    // N-41: the pair that SRI ships in its example configuration.
    let secret: AuthoritySecret = "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n".parse().unwrap();
    assert_eq!(secret.public().to_string(), "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72");
    assert_eq!(secret.reveal(), "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n");
}

#[test]
fn the_key_pair_of_the_handshake_vector() {
    let mut three = [0; 32];
    three[31] = 3;
    let secret = AuthoritySecret::from_entropy(three).unwrap();
    assert_eq!(secret.public().to_string(), "9cXKNmuV9HaH3L6bvFC5KXMVZgbUUgXrETfkiw58DFXw45JDDvr");
}

#[test]
fn what_is_wrong_with_a_public_text_is_said() {
    let public = |text: &str| text.parse::<AuthorityKey>().unwrap_err();
    assert_eq!(public(""), KeyTextError::Base58);
    assert_eq!(public("not base58: 0OIl"), KeyTextError::Base58);
    assert_eq!(public(&TEXT.replace('h', "i")), KeyTextError::Base58);
    assert_eq!(public(&TEXT[1..]), KeyTextError::Base58);
    assert_eq!(public(&"1".repeat(100_000)), KeyTextError::Length { found: 100_000, expected: 34 });
    assert_eq!(public(&checked(&[1, 0, 7])), KeyTextError::Length { found: 3, expected: 34 });
    assert_eq!(public(&checked(&[])), KeyTextError::Length { found: 0, expected: 34 });
    assert_eq!(public(&checked(&bytes(RAW))), KeyTextError::SecretForPublic);

    let versioned = |version: [u8; 2], key: [u8; 32]| checked(&[&version[..], &key].concat());
    assert_eq!(public(&versioned([2, 0], bytes(RAW))), KeyTextError::Version(2));
    assert_eq!(public(&versioned([0, 1], bytes(RAW))), KeyTextError::Version(256));
    assert_eq!(public(&versioned([1, 0], [0xff; 32])), KeyTextError::NotOnCurve);
    // 5 is not the x coordinate of a point.
    let mut five = [0; 32];
    five[31] = 5;
    assert_eq!(public(&versioned([1, 0], five)), KeyTextError::NotOnCurve);
}

#[test]
fn what_is_wrong_with_a_secret_text_is_said_without_the_secret() {
    let secret = |text: &str| text.parse::<AuthoritySecret>().unwrap_err();
    assert_eq!(secret(TEXT), KeyTextError::PublicForSecret);
    assert_eq!(secret("x"), KeyTextError::Base58);
    assert_eq!(secret(&checked(&[1; 31])), KeyTextError::Length { found: 31, expected: 32 });
    assert_eq!(secret(&checked(&[0; 32])), KeyTextError::OutOfRange);
    assert_eq!(secret(&checked(&[0xff; 32])), KeyTextError::OutOfRange);
    assert_eq!(secret(&"1".repeat(65)), KeyTextError::Length { found: 65, expected: 32 });
}

#[test]
fn no_log_shows_a_secret() {
    let secret = AuthoritySecret::from_entropy([7; 32]).unwrap();
    let shown = format!("{secret:?} {secret:#?}");
    assert!(shown.contains(&secret.public().to_string()));
    assert!(!shown.contains(&secret.reveal()));
    assert!(!shown.contains(&"07".repeat(4)));
}

proptest! {
    #[test]
    fn every_key_survives_its_text(entropy: [u8; 32]) {
        let Some(secret) = AuthoritySecret::from_entropy(entropy) else { return Ok(()) };
        let again: AuthoritySecret = secret.reveal().parse().unwrap();
        prop_assert_eq!(again.reveal(), secret.reveal());
        let public: AuthorityKey = secret.public().to_string().parse().unwrap();
        prop_assert_eq!(public, secret.public());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}") {
        let _ = text.parse::<AuthorityKey>();
        let _ = text.parse::<AuthoritySecret>();
    }
}
