use proptest::prelude::*;
use sluice_plugin::configure;

use super::*;

fn steady(settings: &str) -> Steady {
    configure(settings).unwrap()
}

fn opening() -> Opening {
    let Review { channel, now, .. } = known_review();
    Opening { channel, now, start: None, suggested: None, nominal_hashrate: None }
}

fn start(settings: &str, change: impl FnOnce(&mut Opening)) -> f64 {
    let mut opening = opening();
    change(&mut opening);
    steady(settings).open(&opening).unwrap().difficulty
}

fn decide(change: impl FnOnce(&mut Review)) -> Decision {
    let mut review = known_review();
    change(&mut review);
    steady("{}").review(&review).unwrap()
}

// === Start ===

#[test]
fn the_best_hint_is_the_start() {
    assert_eq!(start("{}", |_| ()), 1024.0);
    assert_eq!(start(r#"{"start": 16}"#, |_| ()), 16.0);
    assert_eq!(start("{}", |o| o.start = Some(64.0)), 64.0);
    // V1-42
    assert_eq!(start("{}", |o| (o.start, o.suggested) = (Some(64.0), Some(0.5))), 0.5);
    // V1-45
    let both = |o: &mut Opening| (o.suggested, o.channel.password) = (Some(64.0), Some("x,d=256".to_owned()));
    assert_eq!(start("{}", both), 256.0);
}

#[test]
fn a_nominal_hashrate_is_a_start() {
    // 1 TH/s at 18 shares a minute.
    let difficulty = start("{}", |o| (o.nominal_hashrate, o.start) = (Some(1e12), Some(7.0)));
    assert!((difficulty - 1e12 / 4_294_967_296.0 / 0.3).abs() < difficulty / 100.0, "{difficulty}");
    for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(start("{}", |o| (o.nominal_hashrate, o.start) = (Some(nonsense), Some(7.0))), 7.0);
    }
}

#[test]
fn hints_can_be_turned_off() {
    let hints = |o: &mut Opening| (o.suggested, o.channel.password) = (Some(64.0), Some("d=256".to_owned()));
    assert_eq!(start(r#"{"honour-password": false}"#, hints), 64.0);
    assert_eq!(start(r#"{"honour-password": false, "honour-suggestions": false}"#, hints), 1024.0);
}

#[test]
fn the_start_is_within_floor_and_ceiling() {
    assert_eq!(start("{}", |o| (o.channel.floor, o.suggested) = (100.0, Some(0.5))), 100.0);
    assert_eq!(start("{}", |o| (o.channel.ceiling, o.suggested) = (100.0, Some(1e9))), 100.0);
    assert_eq!(start(r#"{"maximum": 50}"#, |_| ()), 50.0);
    assert_eq!(start(r#"{"minimum": 5000}"#, |_| ()), 5000.0);
    // A password above the ceiling does not lift it, and the floor wins where they cross.
    assert_eq!(
        start("{}", |o| (o.channel.ceiling, o.channel.password) = (100.0, Some("d=1e9".to_owned()))),
        100.0
    );
    assert_eq!(start("{}", |o| (o.channel.floor, o.channel.ceiling) = (100.0, 50.0)), 100.0);
}

#[test]
fn the_maximum_target_of_sv2_is_a_floor() {
    let sv2 = |o: &mut Opening| {
        o.channel.client.protocol = Protocol::StratumV2;
        (o.suggested, o.nominal_hashrate) = (Some(4000.0), Some(1e9));
    };
    assert_eq!(start("{}", sv2), 4000.0);
}

// === Reviews ===

#[test]
fn on_target_nothing_changes() {
    for accepted in 13..=25 {
        let decision = decide(|r| (r.accepted, r.work) = (accepted, f64::from(accepted) * 1024.0));
        assert_eq!(decision.difficulty, 1024.0, "{accepted} shares");
        assert_eq!((decision.review_after_ms, decision.review_after_shares), (60_000, 36));
    }
}

#[test]
fn off_target_it_goes_where_the_rate_says() {
    assert_eq!(decide(|r| (r.accepted, r.work) = (36, 36.0 * 1024.0)).difficulty, 2048.0);
    assert_eq!(decide(|r| (r.accepted, r.work) = (6, 6.0 * 1024.0)).difficulty, 340.0);
    // 36 shares within a second are a rate 120 times too high: one step up is 16.
    let burst = decide(|r| (r.accepted, r.work, r.elapsed_ms) = (36, 36.0 * 1024.0, 1000));
    assert_eq!(burst.difficulty, 16_384.0);
}

#[test]
fn shares_of_an_older_difficulty_count_for_what_they_are() {
    // V1-40: the channel is at 1024 now, its shares were of 512: twice as many are on target.
    let decision = decide(|r| (r.accepted, r.work) = (36, 36.0 * 512.0));
    assert_eq!(decision.difficulty, 1024.0);
}

#[test]
fn a_silent_miner_is_halved_again_and_again() {
    // V1-47
    let policy = steady("{}");
    let mut review = known_review();
    (review.accepted, review.work, review.elapsed_ms) = (0, 0.0, 30_000);
    for wanted in [512.0, 256.0, 128.0, 64.0] {
        let decision = policy.review(&review).unwrap();
        assert_eq!((decision.difficulty, decision.review_after_ms), (wanted, 30_000));
        (review.current, review.memo) = (decision.difficulty, decision.memo);
    }
}

#[test]
fn an_early_look_at_silence_waits_for_the_rest() {
    let policy = steady("{}");
    let mut review = known_review();
    (review.accepted, review.work, review.elapsed_ms) = (0, 0.0, 10_000);
    let first = policy.review(&review).unwrap();
    assert_eq!((first.difficulty, first.review_after_ms), (1024.0, 20_000));
    (review.memo, review.elapsed_ms) = (first.memo, 20_000);
    assert_eq!(policy.review(&review).unwrap().difficulty, 512.0);
}

#[test]
fn silence_is_measured_by_the_target() {
    // One share in two minutes: thirty seconds without one mean nothing, six minutes do.
    let policy = steady(r#"{"shares-per-minute": 0.5}"#);
    let mut review = known_review();
    (review.accepted, review.work, review.elapsed_ms) = (0, 0.0, 60_000);
    assert_eq!(policy.review(&review).unwrap().difficulty, 1024.0);
    review.elapsed_ms = 360_000;
    assert_eq!(policy.review(&review).unwrap().difficulty, 512.0);
}

#[test]
fn a_new_suggestion_is_acted_on_once_a_minute() {
    // V1-42
    let policy = steady("{}");
    let mut review = known_review();
    review.suggested = Some(8.0);
    let first = policy.review(&review).unwrap();
    assert_eq!(first.difficulty, 8.0);
    // Repeated, as some firmware does every 30 s: nothing new.
    (review.memo, review.current, review.work) = (first.memo, 8.0, 18.0 * 8.0);
    review.now += 61_000;
    assert_eq!(policy.review(&review).unwrap().difficulty, 8.0);
    review.suggested = Some(9.0);
    assert_eq!(policy.review(&review).unwrap().difficulty, 9.0);
    review.now -= 31_000;
    assert_eq!(policy.review(&review).unwrap().difficulty, 8.0);
}

#[test]
fn the_password_is_a_floor() {
    // V1-45
    let silent = |r: &mut Review| {
        (r.accepted, r.work) = (0, 0.0);
        r.channel.password = Some("x,d=1000".to_owned());
    };
    assert_eq!(decide(silent).difficulty, 1000.0);
}

#[test]
fn a_foreign_memo_is_no_memo() {
    let wanted = decide(|_| ());
    for memo in [vec![0xff; MEMO_BYTES], vec![1, 2, 3], vec![0; 256]] {
        assert_eq!(decide(|r| r.memo = memo), wanted);
    }
}

#[test]
fn settings_are_checked() {
    for (settings, wanted) in [
        (r#"{"shares-per-minute": 0}"#, "shares-per-minute: 0 is not a number from 0.1 to 600"),
        (r#"{"minimum": 2, "maximum": 1}"#, "minimum: above maximum"),
        (r#"{"band": 1}"#, "band: 1 is not a number from 1.05 to 16"),
        (r#"{"honour-password": 1}"#, "honour-password: 1 is not true or false"),
    ] {
        assert_eq!(configure::<Steady>(settings).unwrap_err(), wanted);
    }
    assert!(
        configure::<Steady>(r#"{"target": 1}"#)
            .unwrap_err()
            .starts_with("target: no such setting; there are: ")
    );
}

#[test]
fn the_schema_names_the_settings() {
    let schema: serde_json::Value = serde_json::from_str(Steady::DESCRIPTOR.settings_schema).unwrap();
    let message = configure::<Steady>(r#"{"x": 1}"#).unwrap_err();
    let mut known: Vec<&str> = message.rsplit_once(": ").unwrap().1.split(", ").collect();
    let mut named: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    known.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, known);
}

#[test]
fn the_self_test_passes_with_any_settings() {
    for settings in ["{}", r#"{"shares-per-minute": 600, "minimum": 1e6, "band": 16, "window-seconds": 10}"#]
    {
        assert_eq!(steady(settings).self_test(), Ok(()));
    }
}

// === A machine ===

/// A generator with a seed (splitmix64), so that a failure comes again.
struct Dice(u64);

impl Dice {
    /// Uniform in (0, 1].
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 2.0
    }

    /// Seconds until the next share.
    fn wait(&mut self, shares_per_second: f64) -> f64 {
        -self.roll().ln() / shares_per_second
    }
}

/// A miner of constant speed on a channel, simulated share by share.
struct Machine {
    policy: Steady,
    hashrate: f64,
    dice: Dice,
    /// Seconds.
    now: f64,
    review: Review,
    decision: Decision,
}

/// What was seen of a machine over a stretch.
#[derive(Debug)]
struct Seen {
    shares_per_minute: f64,
    changes: u32,
}

impl Machine {
    fn new(policy: Steady, hashrate: f64, seed: u64) -> Self {
        let mut opening = opening();
        opening.channel.floor = DIFFICULTY_MIN;
        let decision = policy.open(&opening).unwrap();
        let review = Review { channel: opening.channel, current: decision.difficulty, ..known_review() };
        Self { policy, hashrate, dice: Dice(seed), now: 0.0, review, decision }
    }

    fn run(&mut self, seconds: f64) -> Seen {
        let until = self.now + seconds;
        let (mut shares, mut changes) = (0u64, 0);
        while self.now < until {
            let before = self.review.current;
            shares += u64::from(self.until_review());
            changes += u32::from(before.to_bits() != self.review.current.to_bits());
        }
        Seen { shares_per_minute: shares as f64 * 60.0 / seconds, changes }
    }

    /// Mines until the next look, and has it.
    fn until_review(&mut self) -> u32 {
        let began = self.now;
        let deadline = began + f64::from(self.decision.review_after_ms) / 1000.0;
        let rate = self.hashrate / HASHES_PER_DIFFICULTY / self.review.current;
        let mut accepted = 0;
        while accepted < self.decision.review_after_shares {
            let next = self.now + self.dice.wait(rate);
            if next > deadline {
                self.now = deadline;
                break;
            }
            self.now = next;
            accepted += 1;
        }
        self.review.now = 1_700_000_000_000 + (self.now * 1000.0) as u64;
        self.review.elapsed_ms = ((self.now - began) * 1000.0) as u64;
        (self.review.accepted, self.review.work) = (accepted, f64::from(accepted) * self.review.current);
        self.review.memo = std::mem::take(&mut self.decision.memo);
        self.decision = self.policy.review(&self.review).unwrap();
        self.review.current = self.decision.difficulty;
        accepted
    }
}

fn is_steady(seen: &Seen) -> bool {
    (18.0 / 1.6..18.0 * 1.6).contains(&seen.shares_per_minute) && seen.changes <= 8
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// From 0.5 MH/s to 1 EH/s, from the same blind start.
    #[test]
    fn every_machine_settles(exponent in 5.699..18.0f64, seed in any::<u64>()) {
        let mut machine = Machine::new(steady("{}"), 10f64.powf(exponent), seed);
        machine.run(900.0);
        let seen = machine.run(3600.0);
        prop_assert!(is_steady(&seen), "{:?} at {:e} H/s", seen, machine.hashrate);
    }

    /// A machine that is switched to another power level.
    #[test]
    fn a_machine_that_changes_speed_settles_again(factor in 0.02..50.0f64, seed in any::<u64>()) {
        let mut machine = Machine::new(steady("{}"), 1e12, seed);
        machine.run(900.0);
        machine.hashrate *= factor;
        machine.run(600.0);
        let seen = machine.run(3600.0);
        prop_assert!(is_steady(&seen), "{:?} after a change by {}", seen, factor);
    }

    #[test]
    fn every_decision_is_sound(
        current in 1e-9..1e18f64,
        elapsed_ms in any::<u64>(),
        accepted in any::<u32>(),
        work in 0.0..1e30f64,
        memo in prop::collection::vec(any::<u8>(), 0..64),
        suggested in prop::option::of(any::<f64>()),
    ) {
        let decision = decide(|r| {
            (r.current, r.elapsed_ms, r.accepted, r.work) = (current, elapsed_ms, accepted, work);
            (r.memo, r.suggested) = (memo, suggested);
        });
        prop_assert!((0.001..=1e12).contains(&decision.difficulty));
        prop_assert!(decision.review_after_ms >= 1 && decision.review_after_shares >= 8);
        prop_assert_eq!(decision.memo.len(), MEMO_BYTES);
    }
}
