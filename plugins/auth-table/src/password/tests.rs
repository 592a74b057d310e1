use super::*;

/// Of "hunter2", made with Python's hashlib: 1,000 rounds, as docs/plugins.md advises.
const HUNTER2: &str = "pbkdf2-sha256$1000$10101010101010101010101010101010\
                       $66f30d56b3ca58c25c1a69d6ba87eaae96637949d3389c6b0449edcba84d4511";
/// Of "pä$$".
const UMLAUT: &str =
    "pbkdf2-sha256$2$3132333435363738$b1f8f7eb2a3ac89c31f3a3d73fbcb9804f35df6b1619505b6458fe5d195adca9";

#[test]
fn the_right_password_is_accepted_and_no_other() {
    let hash = PasswordHash::parse(HUNTER2).unwrap();
    assert!(hash.accepts("hunter2"));
    for wrong in ["", "hunter", "hunter22", "Hunter2", "hunter2 ", &"x".repeat(5000)] {
        assert!(!hash.accepts(wrong), "{wrong}");
    }
    assert!(PasswordHash::parse(UMLAUT).unwrap().accepts("pä$$"));
}

#[test]
fn every_byte_of_the_hash_counts() {
    let hash = PasswordHash::parse(UMLAUT).unwrap();
    for index in 0..HASH_LENGTH {
        let mut other = hash.clone();
        other.hash[index] ^= 1;
        assert!(!other.accepts("pä$$"), "byte {index}");
    }
}

#[test]
fn another_format_is_refused() {
    let hash = "00".repeat(32);
    let salt = "00".repeat(8);
    assert!(PasswordHash::parse(&format!("pbkdf2-sha256$1${salt}${hash}")).is_some());
    for text in [
        "hunter2".to_owned(),
        String::new(),
        format!("pbkdf2-sha1$1${salt}${hash}"),
        format!("pbkdf2-sha256$0${salt}${hash}"),
        format!("pbkdf2-sha256$10001${salt}${hash}"),
        format!("pbkdf2-sha256$x${salt}${hash}"),
        format!("pbkdf2-sha256$1$00${hash}"),
        format!("pbkdf2-sha256$1${salt}$00"),
        format!("pbkdf2-sha256$1${salt}$zz{}", "00".repeat(31)),
        format!("pbkdf2-sha256$1${salt}${hash}$"),
    ] {
        assert_eq!(PasswordHash::parse(&text), None, "{text}");
    }
}

#[test]
fn a_hash_is_not_printed() {
    assert_eq!(format!("{:?}", PasswordHash::parse(UMLAUT)), "Some(PasswordHash(..))");
}
