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

#[test]
fn what_a_full_disk_left_out_is_written_with_the_next_change() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path()).unwrap();
    history.record(entry("a", None, None));
    let (path, good) = (dir.path().join(FILE), dir.path().join("good"));
    fs::rename(&path, &good).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    history.record(entry("b", Some("a"), None));
    // Half of it may have been written.
    fs::rename(&good, &path).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(br#"{"at":7,"ki"#).unwrap();
    history.record(entry("c", Some("b"), None));
    let again = History::open(dir.path()).unwrap();
    let to: Vec<_> = again.latest(PolicyKind::Auth, 10).into_iter().map(|entry| entry.to).collect();
    assert_eq!(to, ["c", "b", "a"]);
}

#[test]
fn what_served_lately_is_told_with_its_settings_but_for_what_recovery_took_back() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path()).unwrap();
    let before = |now| history.lately_before(PolicyKind::Auth, now, 10);
    let a = ("a".to_owned(), "{}".to_owned());
    history.record(entry("a", None, Some("{}")));
    assert_eq!(before(7), None);
    history.record(entry("b", Some("a"), Some("{}")));
    history.record(Entry { action: Action::Pinned, ..entry("b", None, Some("{}")) });
    assert_eq!((before(7), before(16), before(17)), (Some(a.clone()), Some(a), None));
    // The same code with other settings.
    history.record(entry("b", Some("b"), Some("[]")));
    assert_eq!(before(8), Some(("b".to_owned(), "{}".to_owned())));
    history.record(Entry { who: By::Recovery.to_string(), ..entry("a", Some("b"), Some("{}")) });
    assert_eq!(before(8), None);
}
