use proptest::prelude::*;

use super::*;

const VALIDITY: Validity = Validity { valid_from: 100, not_valid_after: 200 };

fn authority(byte: u8) -> AuthoritySecret {
    AuthoritySecret::from_entropy([byte; 32]).unwrap()
}

fn identity() -> Identity {
    Identity::issue([5; 32], &authority(3), VALIDITY).unwrap()
}

fn lines(secret: &str, certificate: &str) -> String {
    format!("static-secret = {secret}\ncertificate = {certificate}\n")
}

fn certificate_digits() -> String {
    hex::encode(identity().certificate().to_bytes())
}

#[test]
fn an_issued_identity_is_its_authoritys() {
    let identity = identity();
    assert!(identity.issued_by(&authority(3).public()));
    assert!(!identity.issued_by(&authority(4).public()));
    assert_eq!(identity.validity(), VALIDITY);
    let server = identity.static_key();
    assert_eq!(identity.certificate().verify(&authority(3).public(), server, 150), Ok(()));
}

#[test]
fn a_certificate_for_another_key_shows() {
    let mixed = Identity::new([6; 32], *identity().certificate()).unwrap();
    assert!(!mixed.issued_by(&authority(3).public()));
}

#[test]
fn a_renewed_identity_keeps_its_static_key() {
    // N-16
    let later = Validity { valid_from: 150, not_valid_after: 250 };
    let renewed = identity().renewed(&authority(3), later);
    assert_eq!(renewed.static_key(), identity().static_key());
    assert_eq!(renewed.validity(), later);
    assert!(renewed.issued_by(&authority(3).public()));
}

#[test]
fn no_secret_outside_the_curve() {
    let certificate = *identity().certificate();
    for secret in [[0; 32], [0xff; 32]] {
        assert_eq!(Identity::new(secret, certificate).unwrap_err(), IdentityError::SecretOutOfRange);
        let issued = Identity::issue(secret, &authority(3), VALIDITY);
        assert_eq!(issued.unwrap_err(), IdentityError::SecretOutOfRange);
    }
}

#[test]
fn the_file_carries_it_from_the_signer_to_the_pool() {
    // N-17
    let identity = identity();
    let text = identity.to_file_text();
    assert!(text.is_ascii() && text.ends_with('\n'));
    assert!(text.contains("from 100 to 200"));
    let read = Identity::parse(&text).unwrap();
    assert_eq!(read.static_key(), identity.static_key());
    assert_eq!(read.certificate(), identity.certificate());
    assert_eq!(read.secret(), identity.secret());
}

#[test]
fn editors_may_have_touched_the_file() {
    let text = format!(
        "\r\n# moved by hand\r\n  certificate={}  \r\n\r\n\tstatic-secret   =   {}\r\n",
        certificate_digits().to_uppercase(),
        "05".repeat(32),
    );
    assert_eq!(Identity::parse(&text).unwrap().to_file_text(), identity().to_file_text());
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let (secret, certificate) = ("05".repeat(32), certificate_digits());
    let error = |text: &str| Identity::parse(text).unwrap_err();
    assert_eq!(error(""), IdentityError::MissingLine("static-secret"));
    assert_eq!(error(&format!("static-secret = {secret}")), IdentityError::MissingLine("certificate"));
    assert_eq!(error(&format!("certificate = {certificate}")), IdentityError::MissingLine("static-secret"));
    assert_eq!(error("# a\n\nhello"), IdentityError::UnknownLine(3));
    assert_eq!(error("secret = 1"), IdentityError::UnknownLine(1));
    let twice = format!("{0}{0}", lines(&secret, &certificate));
    assert_eq!(error(&twice), IdentityError::RepeatedLine { line: 3, name: "static-secret" });
    let short = IdentityError::NotHex { name: "static-secret", digits: 64 };
    assert_eq!(error(&lines(&secret[2..], &certificate)), short);
    assert_eq!(error(&lines(&secret.replace("05", "0g"), &certificate)), short);
    let long = IdentityError::NotHex { name: "certificate", digits: 148 };
    assert_eq!(error(&lines(&secret, &format!("{certificate}00"))), long);
    assert_eq!(error(&lines(&"0".repeat(64), &certificate)), IdentityError::SecretOutOfRange);
    let version = IdentityError::Certificate(CertificateError::Version(1));
    assert_eq!(error(&lines(&secret, &format!("01{}", &certificate[2..]))), version);
    assert_eq!(error(&"#".repeat(5000)), IdentityError::FileTooLong(5000));
}

#[test]
fn no_log_and_no_error_shows_the_secret() {
    let shown = format!("{:?} {:#?}", identity(), identity());
    assert!(!shown.contains("0505"));
    let error = Identity::parse(&format!("{}\n{}", "05".repeat(32), certificate_digits())).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("0505"));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(?s).{0,200}") {
        let _ = Identity::parse(&text);
    }

    #[test]
    fn every_identity_survives_its_file(entropy: [u8; 32], valid_from: u32, not_valid_after: u32) {
        let validity = Validity { valid_from, not_valid_after };
        let Ok(identity) = Identity::issue(entropy, &authority(3), validity) else { return Ok(()) };
        let read = Identity::parse(&identity.to_file_text()).unwrap();
        prop_assert_eq!(read.to_file_text(), identity.to_file_text());
        prop_assert!(read.issued_by(&authority(3).public()));
    }
}
