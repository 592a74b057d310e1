use super::*;

#[test]
fn a_header_is_a_token_and_printable_and_its_value_is_shown_nowhere() {
    let header = Header::new("X-Api-Key", "s3cret value").unwrap();
    assert_eq!((header.name(), header.value()), ("x-api-key", "s3cret value"));
    assert_eq!(format!("{header:?}"), "x-api-key: ***");
    for name in ["", "a b", "a:", "\u{e9}", &"n".repeat(NAME_LIMIT + 1)] {
        assert!(matches!(Header::new(name, "x"), Err(HeaderError::Name(_))), "{name:?}");
    }
    for name in ["Host", "content-length", "Transfer-Encoding", "CONNECTION"] {
        assert!(matches!(Header::new(name, "x"), Err(HeaderError::Reserved(_))), "{name:?}");
    }
    for value in ["s3cret\r\nx: y", "s3cret\0", "s3cret\u{e9}", &"s3cret".repeat(VALUE_LIMIT)] {
        let why = Header::new("authorization", value).unwrap_err();
        assert!(!why.to_string().contains("s3cret"), "{why}");
    }
}
