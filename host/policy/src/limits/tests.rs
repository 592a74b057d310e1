use std::time::{Duration, Instant};

use super::{LogGate, Passed};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_more_lines_pass_in_a_second_than_allowed() {
    let gate = LogGate::new(3);
    let now = Instant::now() + SECOND;
    let passed = |now| (0..10).filter(|_| gate.pass(now, true) == Passed::Written).count();
    assert_eq!((passed(now), passed(now + SECOND / 2), passed(now + SECOND)), (3, 0, 3));
    assert_eq!(gate.pass(now + 2 * SECOND, false), Passed::Dropped, "beyond what its call may write");
}

#[test]
fn what_was_dropped_is_said_once_a_second_at_most_and_whole() {
    let gate = LogGate::new(0);
    let now = Instant::now();
    assert_eq!(gate.untold(now), None, "nothing was dropped");
    let mut said = 0;
    for tick in 0..1000_u32 {
        let now = now + tick * SECOND / 100;
        assert_eq!(gate.pass(now, true), Passed::Dropped);
        said += u64::from(gate.untold(now).is_some());
    }
    assert_eq!(said, 10, "once a second");
    let rest = gate.rest();
    assert!(rest.is_some_and(|rest| rest < 100), "{rest:?}");
    assert_eq!(gate.rest(), None);
}
