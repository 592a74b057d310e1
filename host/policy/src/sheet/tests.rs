use std::sync::Arc;
use std::time::Duration;

use sluice_core::policy::PolicyKind;

use super::{Bearer, ENDED_KEPT, Generations, Role, Sheet};
use crate::config::Limits;
use crate::counters::{Counters, TrapCause};

fn sheet(generation: u64) -> Arc<Sheet> {
    let (name, version, hash) = ("a".to_owned(), "1".to_owned(), format!("{generation:064}"));
    let bearer = Bearer { role: Role::Live, kind: PolicyKind::Auth, name, version, hash, generation };
    Sheet::new(bearer, &Limits::default())
}

#[test]
fn what_old_generations_counted_stays_in_the_sum_when_they_are_no_longer_told_of() {
    let generations = Generations::default();
    let all = 3 * u64::try_from(ENDED_KEPT).unwrap();
    for generation in 1..=all {
        let sheet = sheet(generation);
        sheet.counters.call(Duration::from_micros(3));
        sheet.counters.trap(TrapCause::Fuel);
        sheet.counters.fuel_peak.store(generation % 7, std::sync::atomic::Ordering::Relaxed);
        Counters::add(&sheet.counters.log_dropped);
        generations.begin(sheet);
    }
    let told = generations.told();
    let numbers: Vec<u64> = told.iter().map(|one| one.generation).collect();
    let newest: Vec<u64> = (0..=ENDED_KEPT as u64).map(|back| all - back).collect();
    assert_eq!(numbers, newest);
    assert!(told[0].until.is_none() && told[1..].iter().all(|one| one.until.is_some()), "{told:?}");
    assert!(told.iter().all(|one| one.figures.calls == 1 && one.figures.traps == 1), "{told:?}");
    let sum = generations.sum();
    assert_eq!((sum.calls, sum.traps_by_cause.fuel, sum.log_dropped, sum.fuel_peak), (all, all, all, 6));
    assert_eq!(sum.latency.buckets().iter().map(|(_, count)| count).sum::<u64>(), all);
}
