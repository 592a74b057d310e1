use super::*;

fn answer(body: &str) -> Answer {
    Answer { status: 200, body: body.as_bytes().to_vec(), stale: false }
}

#[test]
fn a_segment_cannot_leave_its_place_in_a_url() {
    assert_eq!(segment("alice-1_~.x").as_deref(), Some("alice-1_~.x"));
    assert_eq!(segment("a/b?c#d%e f&g").as_deref(), Some("a%2Fb%3Fc%23d%25e%20f%26g"));
    assert_eq!(segment("ä").as_deref(), Some("%C3%A4"));
    for leaving in ["", ".", ".."] {
        assert_eq!(segment(leaving), None);
    }
}

#[test]
fn a_posted_object_is_json_whatever_is_in_the_texts() {
    let texts = [("account", "a\"b\\c\n\u{1}é😀"), ("password", "x")];
    let request = Request::post_json("https://a.example/", &texts);
    let body: serde_json::Value = serde_json::from_slice(&request.body.unwrap()).unwrap();
    assert_eq!(body, serde_json::json!({"account": "a\"b\\c\n\u{1}é😀", "password": "x"}));
}

#[test]
fn fields_are_read_by_name_and_null_is_missing() {
    let fields =
        answer(r#"{"account": "alice", "start": 64, "address": null, "other": [1]}"#).fields().unwrap();
    assert_eq!(fields.text("account"), Ok(Some("alice")));
    assert_eq!(fields.number("start"), Ok(Some(64.0)));
    assert_eq!((fields.text("address"), fields.number("none")), (Ok(None), Ok(None)));
    assert_eq!(fields.text("start"), Err("start is a number; a text is expected".to_owned()));
    assert_eq!(fields.number("other"), Err("other is a list; a number is expected".to_owned()));
}

#[test]
fn an_answer_that_is_no_object_is_an_error_which_does_not_show_it() {
    for (body, why) in [
        ("<html>secret", "the answer is not JSON from byte 0 on"),
        ("[]", "the answer is a list; an object is expected"),
        ("", "the answer is not JSON from byte 0 on"),
    ] {
        assert_eq!(answer(body).fields(), Err(why.to_owned()));
    }
    let no_text = Answer { body: vec![0xff], ..answer("") };
    assert_eq!(no_text.fields(), Err("the answer is not UTF-8".to_owned()));
}
