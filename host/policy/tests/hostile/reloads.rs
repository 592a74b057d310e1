//! Thousands of reloads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sluice_core::policy::PolicyKind;
use sluice_policy::Policies;
use sluice_policy::PolicyEvent;
use tokio::sync::broadcast;

use crate::alone::{Holdings, alone};
use crate::guest::Guest;
use crate::house::{House, event, status};
use crate::scene::Question;

const RELOADS: usize = 2000;
/// Different good files among them; the rest is repetition.
const DISTINCT: usize = 150;
/// Reloads until every buffer and thread is there.
const WARM: usize = 200;

/// What is put in place at a turn, and whether it serves then.
fn version(turn: usize) -> (PolicyKind, Vec<u8>, bool) {
    let kind = PolicyKind::ALL[turn % 3];
    let name = format!("version-{}", turn % DISTINCT);
    match turn % 4 {
        3 => (kind, [&b"\0asm broken "[..], &turn.to_le_bytes()].concat(), false),
        _ => (kind, Guest::new(kind, &name).build(), true),
    }
}

/// Puts it in place and waits for what comes of it.
async fn reload(house: &House, events: &mut broadcast::Receiver<PolicyEvent>, turn: usize) {
    let (kind, bytes, good) = version(turn);
    house.put(kind, &bytes);
    let outcome = event(events, |event| match event {
        PolicyEvent::Applied { .. } => Some(true),
        PolicyEvent::Rejected { .. } => Some(false),
        _ => None,
    });
    assert_eq!(outcome.await, good, "turn {turn}");
}

async fn all_answer(policies: &Policies) {
    for question in Question::ALL {
        question.ask(policies).await.unwrap();
    }
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn two_thousand_reloads_leave_memory_threads_files_and_disk_as_they_were() {
    if !alone("reloads::two_thousand_reloads_leave_memory_threads_files_and_disk_as_they_were") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut house = House::new();
        house.config.debounce = Duration::from_millis(1);
        let policies = house.start().await;
        let mut events = policies.events();
        for turn in 0..WARM {
            reload(&house, &mut events, turn).await;
        }
        all_answer(&policies).await;
        let before = Holdings::now();
        for turn in WARM..RELOADS {
            reload(&house, &mut events, turn).await;
        }
        all_answer(&policies).await;
        let after = Holdings::now();
        println!("{before:?} became {after:?}");
        assert!(
            after.threads <= before.threads && after.files <= before.files,
            "{before:?} became {after:?}"
        );
        assert!(after.memory.saturating_sub(before.memory) < 16 << 20, "{before:?} became {after:?}");
        assert!(after.maps.saturating_sub(before.maps) < 32, "{before:?} became {after:?}");
        let cache = &house.config.cache_dir;
        assert!(files(&cache.join("code")) <= 32 + 3, "{} compiled", files(&cache.join("code")));
        assert!(files(&cache.join("recent")) <= 64 + 2, "{} kept", files(&cache.join("recent")));
        // Payout policies stay: each a file of its own.
        assert!(files(&cache.join("wasm")) <= DISTINCT);
        let history = fs::metadata(cache.join("history.jsonl")).unwrap().len();
        assert!(history < 2000 * 600, "{history} bytes of history");
        let applied: u64 = PolicyKind::ALL.into_iter().map(|kind| status(&policies, kind).slot.reloads).sum();
        assert_eq!(applied, (0..RELOADS).filter(|turn| version(*turn).2).count() as u64);
    });
}
