use std::sync::Arc;

use sluice_core::policy::PolicyFailure;
use sluice_core::policy::PolicyKind;
use sluice_core::policy::vardiff::{Decision, Memo, Opening, Review};
use sluice_core::units::Difficulty;
use sluice_policy::{Compiler, Loader, SlotConfig};
use tempfile::TempDir;

use super::*;
use crate::demo::SHIPPED;

/// A shipped policy, as pools run it.
pub(super) fn loader() -> (TempDir, Loader) {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    (dir, Loader::new(&cache, Compiler::InProcess, bitcoin::Network::Bitcoin).unwrap())
}

pub(super) fn shipped(name: &str) -> &'static [u8] {
    SHIPPED.iter().find(|(file, _)| *file == name).unwrap().1
}

/// The guest wants stack.
pub(super) fn on_a_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

fn steady(text: &str) -> Trial {
    on_a_thread(|| {
        let (_dir, loader) = loader();
        let config = SlotConfig::new(PolicyKind::Vardiff, "");
        let mut policy = loader.vardiff(shipped("vardiff-steady.wasm"), &config).unwrap();
        tried(text, policy.as_mut())
    })
}

fn tried(text: &str, policy: &mut dyn VardiffPolicy) -> Trial {
    let miners = Miners::Made(Box::new(Scenario::parse(text).unwrap()));
    vardiff(&miners, 18.0, policy, &mut |_, _, _| ()).unwrap()
}

/// Always the same difficulty.
pub(super) struct Fixed(pub(super) f64);

impl Fixed {
    fn decision(&self) -> Decision {
        Decision {
            difficulty: Difficulty::saturating(self.0),
            review_after: std::time::Duration::from_secs(60),
            review_after_shares: u32::MAX,
            memo: Memo::default(),
        }
    }
}

impl VardiffPolicy for Fixed {
    fn open(&mut self, _: &Opening) -> Result<Decision, PolicyFailure> {
        Ok(self.decision())
    }

    fn review_all(&mut self, reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        Ok(reviews.iter().map(|_| self.decision()).collect())
    }
}

#[test]
fn shares_at_a_fixed_difficulty_come_by_chance_alone() {
    let text = "duration = \"12h\"\n[[group]]\nname = \"a\"\ncount = 20\nhashrate = \"1TH/s\"\n";
    let right = 1e12 / 4_294_967_296.0 / 0.3;
    let trial = tried(text, &mut Fixed(right));
    let group = &trial.groups[0];
    // 20 miners of 12 hours: 259,200 shares, give or take 509.
    assert!((group.shares as f64 - 259_200.0).abs() < 2500.0, "{}", group.shares);
    let variance = group.variance.unwrap();
    assert!((variance - 1.0).abs() < 0.05, "{variance}");
    assert_eq!((group.within_2.never, group.within_2.worst_s, group.lost_shares), (0, Some(0.0), 0));
    let never = tried(text, &mut Fixed(right * 3.0));
    assert_eq!(never.groups[0].within_2.never, 20);
}

#[test]
fn what_is_told_of_the_time_after_settling_is_of_that_time() {
    let miners = "\n[[group]]\nname = \"a\"\ncount = 100\nhashrate = \"1TH/s\"\n";
    let right = 1e12 / 4_294_967_296.0 / 0.3;
    // A third of the time goes by until they have settled: 36,000 shares are left, give or take 190.
    let trial = tried(&format!("duration = \"30m\"{miners}"), &mut Fixed(right));
    let rate = trial.groups[0].shares_per_minute.unwrap();
    assert!((rate - 18.0).abs() < 0.5, "{rate}");
    // An hour without a hash is no time within the factor.
    let silent = format!(
        "duration = \"2h\"{miners}outage = {{ every = \"5m\", lasts = \"2h\", reconnect = false }}\n"
    );
    let trial = tried(&silent, &mut Fixed(right));
    assert!(trial.groups[0].within_2.never > 50, "{:?}", trial.groups[0].within_2);
}

/// From a difficulty to another and back, a minute each.
struct Restless(f64, bool);

impl VardiffPolicy for Restless {
    fn open(&mut self, _: &Opening) -> Result<Decision, PolicyFailure> {
        Ok(Fixed(self.0).decision())
    }

    fn review_all(&mut self, reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        self.1 = !self.1;
        let factor = if self.1 { 1.25 } else { 0.8 };
        Ok(reviews.iter().map(|_| Fixed(self.0 * factor).decision()).collect())
    }
}

#[test]
fn a_policy_that_swings_within_the_bounds_is_told_so() {
    let text = "duration = \"2h\"\n[[group]]\nname = \"a\"\nhashrate = \"1TH/s\"\n";
    let trial = tried(text, &mut Restless(1e12 / 4_294_967_296.0 / 0.3, false));
    let group = &trial.groups[0];
    assert_eq!((group.within_2.never, group.within_2.stayed_worst), (0, Some(1.0)));
    assert!((group.swing.unwrap() - 1.25 / 0.8).abs() < 1e-9, "{:?}", group.swing);
    assert!(group.changes_per_hour.unwrap() > 50.0, "{:?}", group.changes_per_hour);
}

#[test]
fn a_seed_gives_the_same_result_again_and_another_gives_another() {
    let text = "duration = \"2h\"\nseed = 5\n[[group]]\nname = \"a\"\ncount = 5\nhashrate = \"3TH/s\"\njitter = 0.1\n\
                outage = { every = \"30m\", lasts = \"2m\" }\n";
    let first = steady(text);
    assert_eq!(first, steady(text));
    assert_ne!(first, steady(&text.replace("seed = 5", "seed = 6")));
}

#[test]
fn firmware_that_is_late_loses_shares_to_a_raised_difficulty() {
    let text = "duration = \"1h\"\n[[group]]\nname = \"a\"\ncount = 5\nhashrate = \"1PH/s\"\nlag = \"10s\"\n";
    let late = steady(text);
    assert!(late.groups[0].lost_shares > 0);
    let prompt = steady(&text.replace("10s", "0s"));
    assert_eq!(prompt.groups[0].lost_shares, 0);
}

#[test]
fn a_password_and_an_agent_reach_the_policy() {
    struct Seen(Vec<(Arc<str>, Option<String>)>);
    impl VardiffPolicy for Seen {
        fn open(&mut self, opening: &Opening) -> Result<Decision, PolicyFailure> {
            self.0.push((opening.channel.client.agent.clone(), opening.channel.password.clone()));
            Err(PolicyFailure::Internal("not today".to_owned()))
        }

        fn review_all(&mut self, _: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
            Err(PolicyFailure::Internal("not today".to_owned()))
        }
    }
    let text = "duration = \"10m\"\n[[group]]\nname = \"a\"\nhashrate = \"1TH/s\"\nagent = \"x/1\"\npassword = \"d=5\"\n";
    let mut seen = Seen(Vec::new());
    let trial = tried(text, &mut seen);
    assert_eq!(seen.0, [(Arc::from("x/1"), Some("d=5".to_owned()))]);
    // The host keeps the difficulty and asks again.
    assert_eq!((trial.failures, trial.failed.len()), (trial.calls, 1));
    assert!(trial.calls > 10 && trial.groups[0].shares > 0);
}
