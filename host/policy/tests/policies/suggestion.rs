//! The limits that `sluice plugin bench` suggests are limits with which a policy works.

use std::path::Path;

use sluice_core::policy::PolicyKind;
use sluice_core::policy::vardiff::Memo;
use sluice_policy::SlotConfig;
use sluice_policy::measure::{Questions, Suggestion, measure};

use crate::house::{loader, login, opening, review, round};

fn shipped(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist").join(name);
    std::fs::read(path).expect("the shipped policies are in the repository")
}

fn suggested(wasm: &[u8], config: &SlotConfig, kind: PolicyKind) -> Suggestion {
    let root = tempfile::tempdir().unwrap();
    let login = login("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080");
    let questions = Questions { login, lookups: Vec::new(), calls: 50 };
    measure(wasm, kind, config, &questions, &loader(root.path())).unwrap().suggestion(kind)
}

#[test]
fn every_shipped_kind_works_within_a_fraction_of_the_defaults() {
    let root = tempfile::tempdir().unwrap();
    let loader = loader(root.path());
    for (kind, file) in [
        (PolicyKind::Auth, "auth-address.wasm"),
        (PolicyKind::Vardiff, "vardiff-steady.wasm"),
        (PolicyKind::Payout, "payout-pplns.wasm"),
    ] {
        let (wasm, mut config) = (shipped(file), SlotConfig::new(kind, file));
        if kind == PolicyKind::Auth {
            config.settings.insert("network".to_owned(), "regtest".into());
        }
        let suggestion = suggested(&wasm, &config, kind);
        assert!(suggestion.fuel < config.limits.fuel / 10, "{suggestion}");
        assert!(suggestion.fuel_per_item <= config.limits.fuel_per_item / 10, "{suggestion}");
        // Time is the machine's: a busy one is not what is tested here.
        let deadline = config.limits.deadline;
        config.limits = sluice_policy::Limits { deadline, ..suggestion.limits() };
        match kind {
            PolicyKind::Auth => {
                let mut policy = loader.auth(&wasm, &config).unwrap();
                let welcome = policy.authorize(&login("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080.rig"));
                assert!(welcome.unwrap().is_ok());
            }
            PolicyKind::Vardiff => {
                let mut policy = loader.vardiff(&wasm, &config).unwrap();
                policy.open(&opening()).unwrap();
                assert_eq!(policy.review_all(&vec![review(Memo::default()); 256]).unwrap().len(), 256);
            }
            PolicyKind::Payout => {
                let accounts: Vec<String> = (0..20_000).map(|index| format!("account{index:034}")).collect();
                let work: Vec<(&str, u64)> =
                    accounts.iter().map(|account| (account.as_str(), 1000)).collect();
                let settled = loader.payout(&wasm, &config).unwrap().settle(&round(&work)).unwrap();
                assert!(settled.len() >= 20_000, "{}", settled.len());
            }
        }
    }
}
