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
    let mut recovery = Recovery::new(now);
    assert_eq!(strikes(&mut recovery, now, IMMEDIATE, true), Remedy::NewInstance);
    assert_eq!(recovery.paused(now), None);
}

#[test]
fn pauses_double_from_one_second_to_thirty() {
    let mut now = Instant::now();
    let mut recovery = Recovery::new(now);
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
    let mut recovery = Recovery::new(now);
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
    let mut young = Recovery::new(now);
    assert_eq!(strikes(&mut young, now, IMMEDIATE + 1, true), Remedy::RollBack);
    let mut old = Recovery::new(now);
    assert_eq!(strikes(&mut old, now + PROBATION, IMMEDIATE + 1, true), Remedy::Pause(FIRST_PAUSE));
}
