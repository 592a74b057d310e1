use sluice_core::bitcoin::hashes::Hash;
use sluice_core::ids::TemplateId;

use super::*;

fn entry(number: u8) -> Arc<Entry> {
    let hash = BlockHash::from_byte_array([number; 32]);
    let found = FoundBlock { hash, height: 1, block: vec![number], template: TemplateId(1) };
    Arc::new(Entry::new(found, Value::Null, Timestamp(0)))
}

fn cases(nodes: usize, now: Instant) -> (Cases, BlockHash) {
    let mut cases = Cases::new(nodes);
    assert!(cases.add(entry(1), now));
    (cases, entry(1).hash)
}

fn no(reason: &str) -> Option<SubmitAnswer> {
    Some(SubmitAnswer::Rejected(reason.into()))
}

#[test]
fn every_node_is_asked_once_and_accepted_is_told_at_once() {
    let now = Instant::now();
    let (mut cases, hash) = cases(2, now);
    assert!(matches!(cases.due(0, now), Step::Submit(_)));
    assert!(matches!(cases.due(1, now), Step::Submit(_)));
    let first = cases.answered(hash, 1, Some(SubmitAnswer::Accepted), now);
    assert_eq!((first.outcome, first.closed), (Some(Finding::Accepted { node: 1 }), false));
    assert!(matches!(cases.due(1, now), Step::Nothing));
    let second = cases.answered(hash, 0, no("high-hash"), now);
    assert_eq!((second.outcome, second.closed), (None, true));
    assert!(cases.hashes().is_empty());
}

#[test]
fn a_refusal_waits_for_all_and_the_best_word_counts() {
    let now = Instant::now();
    let (mut cases, hash) = cases(3, now);
    assert_eq!(cases.answered(hash, 0, no("bad-cb-amount"), now).outcome, None);
    assert_eq!(cases.answered(hash, 1, Some(SubmitAnswer::Inconclusive), now).outcome, None);
    let last = cases.answered(hash, 2, no("high-hash"), now);
    assert_eq!((last.outcome, last.closed), (Some(Finding::Inconclusive { node: 1 }), true));
}

#[test]
fn the_first_refusal_is_named() {
    let now = Instant::now();
    let (mut cases, hash) = cases(2, now);
    cases.answered(hash, 1, no("high-hash"), now);
    let last = cases.answered(hash, 0, no("bad-cb-amount"), now);
    assert_eq!(last.outcome, Some(Finding::Rejected { node: 0, reason: "bad-cb-amount".into() }));
}

#[test]
fn pauses_double_up_to_a_limit_and_without_any_verdict_never_end() {
    let mut now = Instant::now();
    let (mut cases, hash) = cases(1, now);
    let mut pauses = Vec::new();
    for _ in 0..100 {
        assert!(!cases.answered(hash, 0, None, now).closed);
        let Step::Wait(pause) = cases.due(0, now) else { panic!("it waits") };
        pauses.push(pause.as_millis());
        now += pause;
        assert!(matches!(cases.due(0, now), Step::Submit(_)));
    }
    assert_eq!(&pauses[..4], &[100, 200, 400, 800]);
    assert_eq!(pauses[99], 15_000);
}

#[test]
fn a_silent_node_is_given_up_once_another_has_spoken() {
    let mut now = Instant::now();
    let (mut cases, hash) = cases(2, now);
    let began = now;
    assert_eq!(cases.answered(hash, 0, no("high-hash"), now).outcome, None);
    let told = loop {
        let conclusion = cases.answered(hash, 1, None, now);
        if conclusion.closed {
            break conclusion.outcome;
        }
        let Step::Wait(pause) = cases.due(1, now) else { panic!("it waits") };
        now += pause;
    };
    assert_eq!(told, Some(Finding::Rejected { node: 0, reason: "high-hash".into() }));
    assert!((60..300).contains(&(now - began).as_secs()));
}

#[test]
fn room_is_made_by_letting_go_of_accepted_blocks() {
    let now = Instant::now();
    let mut cases = Cases::new(2);
    for number in 0..u8::try_from(OPEN_LIMIT).unwrap() {
        assert!(cases.add(entry(number), now));
    }
    assert!(!cases.add(entry(200), now));
    assert!(cases.take_overflow() && !cases.take_overflow());
    cases.answered(entry(5).hash, 0, Some(SubmitAnswer::Accepted), now);
    assert!(cases.add(entry(200), now));
    assert!(!cases.hashes().contains(&entry(5).hash));
    // What was let go of is nobody's any more.
    assert!(!cases.answered(entry(5).hash, 1, None, now).closed);
}
