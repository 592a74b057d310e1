//! Classes of coinbases, the ledger's times and what payouts go by.

use std::time::Duration;

use bitcoin::Amount;

use super::{SIMULATED, check, good, problems, shipped};
use crate::config::{CoinbaseClass, Config, parse};

fn classes(list: &str) -> String {
    format!("pool.coinbase_class = [{list}]")
}

fn class_of(config: &Config, names: &[&str]) -> (String, usize) {
    let class = config.pool.coinbase_classes.iter().find(|class| class.knows(names));
    class.map_or(("none".to_owned(), config.pool.coinbase_bytes), |class| (class.name.clone(), class.bytes))
}

#[test]
fn defaults_are_one_coinbase_and_shares_for_ever() {
    let config = good(SIMULATED);
    assert_eq!(config.pool.coinbase_classes, []);
    assert_eq!(config.ledger.retention, None);
    assert_eq!(config.ledger.accrue_interval, Duration::from_secs(600));
    assert_eq!(config.payouts.minimum, Amount::from_sat(100_000));
    assert_eq!((config.payouts.max_lines, config.payouts.confirmations), (500, 6));
    let config = good(&format!("{SIMULATED}ledger.retention_days = 90\nledger.accrue_interval_s = 1\n"));
    assert_eq!(config.ledger.retention, Some(Duration::from_secs(90 * 24 * 3600)));
    assert_eq!(config.ledger.accrue_interval, Duration::from_secs(1));
}

#[test]
fn agents_are_parts_or_beginnings_whatever_their_case() {
    let class = |agents: &[&str]| CoinbaseClass {
        name: "a".to_owned(),
        agents: agents.iter().map(ToString::to_string).collect(),
        bytes: 500,
    };
    assert!(class(&["nicehash"]).knows(&["NiceHash/1.0.0"]));
    assert!(class(&["HASH/1"]).knows(&["NiceHash/1.0.0"]));
    assert!(class(&["^nice"]).knows(&["NiceHash/1.0.0"]));
    assert!(!class(&["^hash"]).knows(&["NiceHash/1.0.0"]));
    assert!(class(&["x", "bitaxe"]).knows(&["", "Bitaxe Gamma 601"]));
    for name in ["", "b", "bitax", "bit axe", "\u{e9}"] {
        assert!(!class(&["bitaxe", "^bitaxe"]).knows(&[name]), "{name}");
    }
}

/// The examples of `sluice.toml`, with their comment signs taken away, are the table of V1-92.
#[test]
fn the_examples_are_the_known_firmware() {
    let (text, file) = shipped("sluice.toml");
    let (before, rest) = text.split_once("#[[pool.coinbase_class]]").unwrap();
    let (examples, after) = rest.split_once("# The Bitcoin nodes").unwrap();
    let after = format!("#{after}");
    let shown: String = examples
        .lines()
        .map(|line| {
            let key = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    let text = format!("{before}[[pool.coinbase_class]]{shown}{after}");
    let config = parse(&text, &file).unwrap_or_else(|errors| panic!("{errors}"));
    for (agent, bytes) in [
        ("NiceHash/1.0.0", 500),
        ("", 750),
        ("cgminer/4.12.1", 750),
        ("Antminer S19j Pro/Thu", 750),
        ("Antminer S21/Mon", 2250),
        ("Antminer S21 Pro/Mon", 750),
        ("bosminer-plus-tuner 0.2.0", 2250),
        ("whatsminer/v1.1", 6500),
        ("bitaxe/BM1370/v2.4", 6500),
        ("PowerPlay-BM/1", 16_000),
        ("xminer-1.2.6", 16_000),
        ("not xminer-1.2.6", 750),
    ] {
        assert_eq!(class_of(&config, &[agent]).1, bytes, "{agent}");
    }
}

#[test]
fn the_first_class_that_knows_a_miner_has_it() {
    let list = "{ name = \"a\", agents = [\"miner\"], bytes = 300 }, \
                { name = \"b\", agents = [\"superminer\"], bytes = 400 }";
    let config = good(&format!("{SIMULATED}{}", classes(list)));
    assert_eq!(class_of(&config, &["superminer"]), ("a".to_owned(), 300));
    assert_eq!(class_of(&config, &["toaster"]), ("none".to_owned(), 750));
}

#[test]
fn wrong_classes_are_named() {
    for (list, place, wrong) in [
        ("{ agents = [\"a\"], bytes = 500 }", "[0].name", "is missing"),
        ("{ name = \"a\", bytes = 500 }", "[0].agents", "is missing"),
        ("{ name = \"a\", agents = [\"a\"] }", "[0].bytes", "is missing; a whole number from 250 to 65000"),
        ("{ name = \"a\", agents = [], bytes = 500 }", "[0].agents", "has 0 texts"),
        ("{ name = \"a\", agents = [\"\"], bytes = 500 }", "[0].agents", "would be every user agent"),
        ("{ name = \"a\", agents = [\"^\"], bytes = 500 }", "[0].agents", "would be every user agent"),
        ("{ name = \"a\", agents = [\"\u{e9}\"], bytes = 500 }", "[0].agents", "holds"),
        ("{ name = \"a\", agents = [1], bytes = 500 }", "[0].agents", "is a whole number where a text"),
        ("{ name = \"a b\", agents = [\"a\"], bytes = 500 }", "[0].name", "is no name"),
        ("{ name = \"a\", agents = [\"a\"], bytes = 249 }", "[0].bytes", "249 is out of range"),
        ("{ name = \"a\", agents = [\"a\"], bytes = 65001 }", "[0].bytes", "65001 is out of range"),
        (
            "{ name = \"a\", agents = [\"a\"], bytes = 500 }, { name = \"a\", agents = [\"b\"], bytes = 500 }",
            "[1].name",
            "is the same as that of an earlier class",
        ),
    ] {
        let found = problems(&format!("{SIMULATED}{}", classes(list)));
        let place = format!(": pool.coinbase_class{place}: ");
        assert!(
            found.len() == 1 && found[0].contains(&place) && found[0].contains(wrong),
            "{list}: {found:?}"
        );
    }
}

#[test]
fn classes_and_their_agents_are_only_so_many() {
    let many = |count: usize, agents: usize| {
        let agents: Vec<String> = (0..agents).map(|agent| format!("\"agent {agent}\"")).collect();
        let class =
            |index| format!("{{ name = \"c{index}\", agents = [{}], bytes = 500 }}", agents.join(", "));
        format!("{SIMULATED}{}", classes(&(0..count).map(class).collect::<Vec<_>>().join(", ")))
    };
    good(&many(16, 32));
    assert!(problems(&many(17, 1))[0].contains("has 17 tables; at most 16 are allowed"));
    assert!(problems(&many(1, 33))[0].contains("has 33 texts"));
    let long = format!("{{ name = \"a\", agents = [\"{}\"], bytes = 500 }}", "x".repeat(65));
    assert!(problems(&format!("{SIMULATED}{}", classes(&long)))[0].contains("has 65 bytes"));
}

#[test]
fn payouts_and_times_have_their_ranges() {
    for (key, wrong, range) in [
        ("payouts.minimum_sat", "545", "546 to 2251799813685248"),
        ("payouts.minimum_sat", "2251799813685249", "546 to 2251799813685248"),
        ("payouts.max_lines", "0", "1 to 2000"),
        ("payouts.max_lines", "2001", "1 to 2000"),
        ("payouts.confirmations", "0", "1 to 100"),
        ("payouts.confirmations", "101", "1 to 100"),
        ("ledger.retention_days", "-1", "0 to 36500"),
        ("ledger.accrue_interval_s", "0", "1 to 86400"),
        ("ledger.accrue_interval_s", "86401", "1 to 86400"),
    ] {
        let column = key.len() + 4;
        check(
            &format!("{key} = {wrong}"),
            &format!(
                "pool.toml:6:{column}: {key}: {wrong} is out of range; a whole number from {range} is allowed"
            ),
        );
    }
}
