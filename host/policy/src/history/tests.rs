use super::*;

fn entry(to: &str, from: Option<&str>, settings: Option<&str>) -> Entry {
    Entry {
        at: 7,
        kind: PolicyKind::Auth,
        action: Action::Applied,
        from: from.map(str::to_owned),
        to: to.to_owned(),
        who: By::Uid(1000).to_string(),
        why: "because".to_owned(),
        settings: settings.map(str::to_owned),
    }
}

#[test]
fn changes_are_read_again_and_settings_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path()).unwrap();
    history.record(entry("a", None, Some(r#"{"secret":1}"#)));
    history.record(entry("b", Some("a"), None));
    let again = History::open(dir.path()).unwrap();
    let shown = again.latest(PolicyKind::Auth, 10);
    assert_eq!(shown, vec![entry("b", Some("a"), None), entry("a", None, None)]);
    assert_eq!(again.settings(PolicyKind::Auth, "a").as_deref(), Some(r#"{"secret":1}"#));
    assert_eq!(again.before(PolicyKind::Auth, "b").as_deref(), Some("a"));
    assert_eq!(again.latest(PolicyKind::Payout, 10), vec![]);
}

#[test]
fn a_line_that_a_crash_cut_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    History::open(dir.path()).unwrap().record(entry("a", None, None));
    let path = dir.path().join(FILE);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(br#"{"at":1,"ki"#);
    fs::write(&path, text).unwrap();
    let history = History::open(dir.path()).unwrap();
    history.record(entry("b", Some("a"), None));
    let again = History::open(dir.path()).unwrap();
    assert_eq!(again.latest(PolicyKind::Auth, 10).len(), 2);
}

#[test]
fn it_is_bounded_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<u8> = (0..2 * KEPT).flat_map(|_| line(&mut entry("a", None, None))).collect();
    fs::write(dir.path().join(FILE), &text).unwrap();
    let history = History::open(dir.path()).unwrap();
    for _ in 0..=KEPT {
        history.record(entry("b", None, Some(&"x".repeat(2 * LINE_LIMIT / KEPT))));
    }
    assert_eq!(history.latest(PolicyKind::Auth, usize::MAX).len(), KEPT);
    let lines = fs::read_to_string(dir.path().join(FILE)).unwrap().lines().count();
    assert!(lines <= 2 * KEPT, "{lines}");
    let mut long = entry("c", None, Some(&"x".repeat(LINE_LIMIT)));
    assert!(line(&mut long).len() < 1000);
}
