use super::*;

fn settings(json: &str) -> Settings {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_choice_stands_until_the_file_or_the_settings_change_and_a_pin_for_good() {
    let over = Configured::new(Some("file"), &settings(r#"{"a":1}"#));
    let mut choice =
        Choice { serving: "kept".to_owned(), settings: Settings::new(), over: over.clone(), pinned: false };
    assert!(choice.stands(&over));
    assert!(!choice.stands(&Configured::new(Some("newer"), &settings(r#"{"a":1}"#))));
    assert!(!choice.stands(&Configured::new(Some("file"), &settings(r#"{"a":2}"#))));
    choice.pinned = true;
    assert!(choice.stands(&Configured::new(None, &Settings::new())));
}

#[test]
fn choices_are_read_again_and_a_damaged_file_is_no_guess() {
    let dir = tempfile::tempdir().unwrap();
    let choice = Choice {
        serving: "kept".to_owned(),
        settings: settings(r#"{"a":1}"#),
        over: Configured::new(None, &Settings::new()),
        pinned: true,
    };
    Choices::open(dir.path()).unwrap().set(PolicyKind::Payout, Some(choice.clone())).unwrap();
    let again = Choices::open(dir.path()).unwrap();
    assert_eq!((again.of(PolicyKind::Payout), again.of(PolicyKind::Auth)), (Some(choice), None));
    again.set(PolicyKind::Payout, None).unwrap();
    assert_eq!(Choices::open(dir.path()).unwrap().of(PolicyKind::Payout), None);
    fs::write(dir.path().join(FILE), b"{").unwrap();
    assert!(Choices::open(dir.path()).is_err());
}

#[test]
fn what_could_not_be_written_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let choice = Choice {
        serving: "kept".to_owned(),
        settings: Settings::new(),
        over: Configured::new(None, &Settings::new()),
        pinned: true,
    };
    let (choices, aside) = (Choices::open(dir.path()).unwrap(), dir.path().join("state.new"));
    fs::create_dir(&aside).unwrap();
    let chosen = || choices.set(PolicyKind::Auth, Some(choice.clone()));
    assert!(chosen().is_err());
    // The same again is no reason to believe that it stands there.
    assert!(chosen().is_err() && choices.retry().is_err());
    fs::remove_dir(&aside).unwrap();
    choices.retry().unwrap();
    assert_eq!(Choices::open(dir.path()).unwrap().of(PolicyKind::Auth), Some(choice));
}
