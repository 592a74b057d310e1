use super::*;

/// Strikes `times` at `now`, each against a fresh instance.
fn strikes(recovery: &mut Recovery, now: Instant, times: u32, has_last_good: bool) -> Remedy {
    let mut remedy = Remedy::NewInstance;
    for _ in 0..times {
        recovery.serves(now);
        remedy = recovery.strike(now, has_last_good);
    }
    remedy
}

#[test]
fn the_first_failures_cost_only_the_instance() {
    let now = Instant::now();
    let mut recovery = Recovery::new(now, Rate::default());
    assert_eq!(strikes(&mut recovery, now, IMMEDIATE, true), Remedy::NewInstance);
    assert_eq!(recovery.paused(now), None);
}

#[test]
fn pauses_double_from_one_second_to_thirty() {
    let mut now = Instant::now();
    let mut recovery = Recovery::new(now, Rate::default());
    strikes(&mut recovery, now, IMMEDIATE, false);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let Remedy::Pause(pause) = strikes(&mut recovery, now, 1, false) else { panic!("no pause") };
        assert_eq!(recovery.paused(now), Some(pause));
        pauses.push(pause.as_secs());
        now += pause;
        assert_eq!(recovery.paused(now), None);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
}

#[test]
fn ten_healthy_seconds_clean_the_sheet() {
    let now = Instant::now();
    let mut recovery = Recovery::new(now, Rate::default());
    strikes(&mut recovery, now, IMMEDIATE + 3, false);
    let later = now + LONGEST_PAUSE;
    recovery.serves(later);
    assert!(!recovery.good(later));
    assert!(recovery.good(later + HEALTHY));
    assert_eq!(recovery.strike(later + HEALTHY, false), Remedy::NewInstance);
}

#[test]
fn a_young_generation_gives_way_and_an_old_one_pauses() {
    let now = Instant::now();
    let mut young = Recovery::new(now, Rate::default());
    assert_eq!(strikes(&mut young, now, IMMEDIATE + 1, true), Remedy::RollBack);
    let mut old = Recovery::new(now, Rate::default());
    assert_eq!(strikes(&mut old, now + PROBATION, IMMEDIATE + 1, true), Remedy::Pause(FIRST_PAUSE));
}

/// `calls` a second apart each, of which one in `one_in` fails; after how many the version before comes back.
fn spread(recovery: &mut Recovery, began: Instant, calls: u64, one_in: u64) -> Option<u64> {
    (1..=calls).find(|call| {
        let now = began + Duration::from_secs(*call);
        recovery.called();
        let failed = call.is_multiple_of(one_in);
        let remedy = failed.then(|| recovery.strike(now, true));
        if failed {
            recovery.serves(now);
        }
        remedy == Some(Remedy::RollBack)
    })
}

/// The rate of a generation that failed so often.
fn rate(calls: u64, failures: u64) -> Rate {
    Rate { calls, failures }
}

#[test]
fn failures_that_lie_apart_bring_the_one_before_back() {
    let now = Instant::now();
    // Each instance is healthy for longer than it takes to forget a strike.
    for (one_in, after) in [(15, Some(60)), (50, Some(200)), (100, Some(400)), (101, None), (200, None)] {
        assert_eq!(spread(&mut Recovery::new(now, Rate::default()), now, 599, one_in), after, "{one_in}");
    }
}

#[test]
fn what_failed_as_often_before_does_not_come_back() {
    let now = Instant::now();
    for (before, after) in [(rate(1000, 10), Some(60)), (rate(1000, 33), Some(60)), (rate(1000, 50), None)] {
        assert_eq!(spread(&mut Recovery::new(now, before), now, 599, 15), after, "{before:?}");
    }
    // Nor by failures in a row.
    let mut young = Recovery::new(now, rate(100, 60));
    assert!(matches!(strikes(&mut young, now, IMMEDIATE + 1, true), Remedy::Pause(_)));
}

#[test]
fn what_lies_long_ago_counts_less() {
    let mut lately = rate(0, 0);
    (0..100).for_each(|_| {
        lately.called();
        lately.failed();
    });
    (0..10 * CALLS_REMEMBERED).for_each(|_| lately.called());
    assert_eq!(lately.failures, 0);
    assert!((CALLS_REMEMBERED / 2..=CALLS_REMEMBERED).contains(&lately.calls), "{lately:?}");
}
