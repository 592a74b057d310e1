use proptest::prelude::*;

use super::*;

fn stretch(seconds: f64, shares: f64, difficulty: f64) -> Stretch {
    Stretch { seconds, shares, work: shares * difficulty }
}

#[test]
fn a_memo_comes_back_as_it_was() {
    let memo = Memo {
        estimate: Estimate::default().with(stretch(60.0, 18.0, 512.0), 300.0),
        suggested: 0.001,
        suggested_at: 1_700_000_000_000,
        silent_ms: 12,
    };
    let bytes = memo.write();
    assert_eq!(bytes.len(), MEMO_BYTES);
    assert!(bytes.len() <= 64);
    assert_eq!(Memo::read(&bytes), memo);
}

#[test]
fn the_first_stretch_is_the_estimate() {
    let estimate = Estimate::default().with(stretch(10.0, 30.0, 100.0), 300.0);
    assert_eq!(estimate.speed(), Some(300.0));
    assert!((estimate.doubt() - 1.0 / 30f64.sqrt()).abs() < 1e-12);
}

#[test]
fn nothing_is_known_of_silence() {
    assert_eq!(Estimate::default().with(stretch(60.0, 0.0, 1.0), 300.0).speed(), None);
}

#[test]
fn a_change_of_difficulty_does_not_change_the_speed() {
    let slow = Estimate::default().with(stretch(60.0, 20.0, 100.0), 300.0);
    let both = slow.with(stretch(60.0, 5.0, 400.0), 300.0);
    assert!((both.speed().unwrap() - slow.speed().unwrap()).abs() < 1e-9);
}

#[test]
fn a_jump_replaces_the_estimate_and_noise_does_not() {
    let mut steady = Estimate::default();
    for _ in 0..10 {
        steady = steady.with(stretch(60.0, 18.0, 1.0), 300.0);
    }
    let jump = stretch(60.0, 60.0, 1.0);
    assert_eq!(steady.with(jump, 300.0).speed(), Some(1.0));
    let drop = stretch(60.0, 1.0, 1.0);
    assert_eq!(steady.with(drop, 300.0).speed(), Some(1.0 / 60.0));
    let noise = steady.with(stretch(60.0, 26.0, 1.0), 300.0).speed().unwrap();
    assert!(noise > 0.3 && noise < 0.34, "{noise}");
}

proptest! {
    #[test]
    fn any_bytes_are_a_sound_memo(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let memo = Memo::read(&bytes);
        prop_assert!(memo.estimate.speed().is_none_or(|speed| speed >= 0.0));
        prop_assert!(memo.estimate.doubt() > 0.0);
        prop_assert!(memo.suggested.is_finite() && memo.suggested >= 0.0);
    }
}
