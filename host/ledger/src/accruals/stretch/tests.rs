use rusqlite::params;

use super::*;

/// Shares by template and account; a worker has its account's number.
fn log(shares: &[(u32, u32)]) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE shares (seq, worker, template, difficulty)").unwrap();
    for (seq, (template, account)) in (1..).zip(shares) {
        let row = params![seq, account, template, 1.0];
        connection.execute("INSERT INTO shares VALUES (?, ?, ?, ?)", row).unwrap();
    }
    connection
}

const ACCOUNTS: [Option<u32>; 4] = [Some(0), Some(1), Some(2), Some(3)];

fn read(shares: &[(u32, u32)], first: u64, limits: Limits) -> Stretch {
    Stretch::read(&log(shares), &ACCOUNTS, (first, shares.len() as u64), limits).unwrap()
}

/// Shares of each template.
fn shares(stretch: &Stretch) -> Vec<(u32, u64)> {
    stretch.by_template.iter().map(|(template, work)| (*template, total(work).shares)).collect()
}

#[test]
fn it_ends_before_the_share_that_is_too_much() {
    let log = [(1, 0), (1, 1), (2, 0), (1, 0), (2, 2), (3, 0), (1, 1)];
    let all = read(&log, 1, Limits::NONE);
    assert_eq!((all.through(), shares(&all)), (7, vec![(1, 4), (2, 2), (3, 1)]));
    let two = read(&log, 1, Limits { templates: 2, ..Limits::NONE });
    assert_eq!((two.through(), shares(&two)), (5, vec![(1, 3), (2, 2)]));
    let three = read(&log, 1, Limits { contributions: 3, ..Limits::NONE });
    assert_eq!((three.through(), shares(&three)), (4, vec![(1, 3), (2, 1)]), "known ones still count");
    let two = read(&log, 2, Limits { shares: 2, ..Limits::NONE });
    assert_eq!((two.through(), shares(&two)), (3, vec![(1, 1), (2, 1)]));
}

#[test]
fn any_limits_reach_the_end_in_steps_and_count_every_share_once() {
    let log = [(1, 0), (1, 1), (2, 0), (1, 0), (2, 2), (3, 0), (1, 1), (4, 3)];
    for limits in [
        Limits { templates: 1, ..Limits::NONE },
        Limits { contributions: 1, ..Limits::NONE },
        Limits { shares: 1, ..Limits::NONE },
        Limits { shares: 3, templates: 2, contributions: 2 },
    ] {
        let (mut next, mut counted) = (1, 0);
        while next <= log.len() as u64 {
            let step = read(&log, next, limits);
            assert!(step.through() >= next, "no step forward with {limits:?}");
            counted += shares(&step).iter().map(|(_, shares)| shares).sum::<u64>();
            next = step.through() + 1;
        }
        assert_eq!(counted, log.len() as u64, "{limits:?}");
    }
}

#[test]
fn lost_shares_are_passed_over_however_many_they_are() {
    let log = log(&[(1, 0), (1, 1)]);
    log.execute("UPDATE shares SET seq = 5000000 WHERE seq = 2", []).unwrap();
    let limits = Limits { shares: 1, ..Limits::NONE };
    let stretch = Stretch::read(&log, &ACCOUNTS, (2, 5_000_001), limits).unwrap();
    assert_eq!((stretch.through(), shares(&stretch)), (5_000_000, vec![(1, 1)]));
    let rest = Stretch::read(&log, &ACCOUNTS, (5_000_001, 6_000_000), limits).unwrap();
    assert_eq!(rest.through(), 6_000_000, "nothing waits for what will never come");
}

#[test]
fn a_worker_that_there_is_not_is_an_error() {
    let log = log(&[(1, 0), (1, 9)]);
    let read = Stretch::read(&log, &ACCOUNTS, (1, 2), Limits::NONE);
    assert!(matches!(read, Err(rusqlite::Error::IntegralValueOutOfRange(_, 9))), "{read:?}");
}
