use std::path::Path;

use super::*;

const WHOLE: &str = r#"
duration = "1h"
seed = 3
[pool]
shares_per_minute = 12
[[group]]
name = "rig"
count = 2
hashrate = "100TH/s"
jitter = 0.1
latency = "50ms"
outage = { every = "2h", lasts = "1m" }
ramp = [{ at = "10m", factor = 2.0, over = "5m" }]
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from}");
    Scenario::parse(&WHOLE.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn a_scenario_is_read_with_its_units() {
    let scenario = Scenario::parse(WHOLE).unwrap();
    assert_eq!((scenario.duration, scenario.seed), (Span(3600.0), 3));
    let group = &scenario.groups[0];
    assert_eq!((group.count, group.hashrate, group.latency), (2, Rate(1e14), Span(0.05)));
    assert!(group.outage.unwrap().reconnect);
    assert_eq!(scenario.pool.start_difficulty, 1024.0);
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    for (from, to, key, allowed) in [
        ("hashrate = \"100TH/s\"", "hashrate = \"100\"", "hashrate", "EH/s"),
        ("latency = \"50ms\"", "latency = \"50\"", "latency", "ms, s, m, h or d"),
        ("jitter", "jiter", "jiter", "jitter"),
        ("count = 2", "count = 0", "group[0].count", "1 to 20000"),
        ("count = 2", "count = -2", "count", "u32"),
        ("jitter = 0.1", "jitter = 1.1", "group[0].jitter", "0 to 1"),
        ("jitter = 0.1", "jitter = nan", "group[0].jitter", "0 to 1"),
        ("duration = \"1h\"", "duration = \"1s\"", "duration", "1m to 31d"),
        ("duration = \"1h\"", "", "duration", "missing"),
        ("shares_per_minute = 12", "shares_per_minute = 0", "pool.shares_per_minute", "0.1 to 600"),
        ("shares_per_minute = 12", "start_difficulty = inf", "pool.start_difficulty", "2^-32 to 2^128"),
        (
            "shares_per_minute = 12",
            "minimum_difficulty = 1e16",
            "pool.minimum_difficulty",
            "pool.maximum_difficulty",
        ),
        ("every = \"2h\"", "every = \"0s\"", "group[0].outage.every", "1s or more"),
        ("factor = 2.0", "factor = -1.0", "group[0].ramp[0].factor", "0 to"),
        ("name = \"rig\"", "name = \"\"", "group[0].name", "1 to 100"),
        ("name = \"rig\"", "name = \"rig\"\nstart = \"2h\"", "group[0].start", "before the duration"),
    ] {
        let said = refused(from, to);
        assert!(said.contains(key) && said.contains(allowed), "{to}: {said}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (from, to, line) in [
        ("duration = \"1h\"", "duration = \"1s\"", 2),
        ("seed = 3", "seed = -3", 3),
        ("shares_per_minute = 12", "shares_per_minute = 0", 5),
        // What is not written is told with the place where it belongs.
        ("shares_per_minute = 12", "maximum_difficulty = 1e-5", 4),
        ("count = 2", "count = 0", 8),
        ("hashrate = \"100TH/s\"", "hashrate = \"100\"", 9),
        ("jitter = 0.1", "jitter = 7", 10),
        ("jitter = 0.1", "jiter = 7", 10),
        ("every = \"2h\"", "every = \"0s\"", 12),
        ("ramp = [{", "ramp = [\n{ at = \"1m\", factor = 1.0 },\n{ at = \"2s\", factor = 1.0 },\n{", 15),
    ] {
        let said = refused(from, to);
        assert!(said.contains(&format!("line {line}")), "{to}: {said}");
    }
}

#[test]
fn the_shipped_scenarios_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/backtest");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(Scenario::parse(&text).is_ok(), "{}: {:?}", path.display(), Scenario::parse(&text).err());
        count += 1;
    }
    assert!(count >= 4, "{count} scenarios are shipped");
}
