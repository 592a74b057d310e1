use super::*;

#[test]
fn base64_of_the_rfc() {
    // RFC 4648, section 10, and the example of RFC 7617.
    for (text, encoded) in [
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ] {
        assert_eq!(basic(text), format!("Basic {encoded}"));
    }
}

#[test]
fn heads() {
    let parse = |text: &str| Head::parse(text.as_bytes()).map(|head| (head.status, head.length));
    assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").unwrap(), (200, Some(12)));
    assert_eq!(parse("HTTP/1.0 503 Busy\r\n\r\n").unwrap(), (503, None));
    for bad in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!(matches!(parse(bad), Err(HttpError::Head(_))), "{bad:?}");
    }
}

#[test]
fn an_answer_without_result_is_not_null() {
    let id = serde_json::json!(7);
    let answer = |status, body: &str| understand(status, body.as_bytes(), &id);
    assert_eq!(answer(200, r#"{"result":null,"id":7}"#).unwrap().result.unwrap().get(), "null");
    assert!(answer(200, r#"{"id":7}"#).is_err());
    assert!(answer(200, r#"{"result":null,"id":8}"#).is_err());
    assert!(answer(200, "[]").is_err());
    let refused = answer(500, r#"{"result":null,"error":{"code":-10,"message":"syncing"},"id":7}"#).unwrap();
    assert_eq!(refused.error.unwrap().code, -10);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, status: u16) {
        let _ = Head::parse(&bytes);
        let _ = understand(status, &bytes, &serde_json::json!(1));
    }
}
