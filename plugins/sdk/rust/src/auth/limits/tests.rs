use super::*;

fn check(text: &str, wanted: Result<Limits, &str>) {
    let mut settings = Settings::parse(text).unwrap();
    let limits = Limits::take(&mut settings);
    assert_eq!(settings.finish().map(|()| limits), wanted.map_err(str::to_owned), "{text}");
}

#[test]
fn each_is_optional() {
    check("{}", Ok(Limits::default()));
    check(
        r#"{"start-difficulty": 16, "minimum-difficulty": 0.5, "maximum-difficulty": 1e9}"#,
        Ok(Limits { start: Some(16.0), minimum: Some(0.5), maximum: Some(1e9) }),
    );
}

#[test]
fn they_are_in_order() {
    check(
        r#"{"minimum-difficulty": 2, "maximum-difficulty": 1}"#,
        Err("minimum-difficulty: above maximum-difficulty"),
    );
    check(
        r#"{"start-difficulty": 1, "minimum-difficulty": 2}"#,
        Err("start-difficulty: below minimum-difficulty"),
    );
    check(
        r#"{"start-difficulty": 3, "maximum-difficulty": 2}"#,
        Err("start-difficulty: above maximum-difficulty"),
    );
}

#[test]
fn zero_is_no_difficulty() {
    let mut settings = Settings::parse(r#"{"start-difficulty": 0}"#).unwrap();
    Limits::take(&mut settings);
    assert!(
        settings.finish().unwrap_err().starts_with("start-difficulty: 0 is not a number from 0.000000000232")
    );
}
