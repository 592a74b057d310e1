use serde_json::json;

use super::*;

#[test]
fn times_are_utc_dates() {
    assert_eq!(time(0), "1970-01-01 00:00:00");
    assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00");
    assert_eq!(time(1_735_689_599_999), "2024-12-31 23:59:59");
}

#[test]
fn status_tells_of_the_shadow_the_pin_and_the_history() {
    let told = json!([
        {"kind": "auth", "policy": {"name": "a", "version": "1", "hash": "ab".repeat(32), "generation": 3,
            "state": "active", "pinned": true, "held": "cd".repeat(32), "queue_full": 5,
            "budgets": sluice_policy::Budgets {
                memory_bytes: sluice_policy::Budget { used: 3 << 20, limit: 256 << 20 },
                ..Default::default()
            },
            "last_failure": {"at": 0, "generation": 3, "cause": "fuel", "why": "it used up its fuel",
                "said": "hello\u{1b}[2J"},
            "generations": [{"generation": 3, "hash": "ab".repeat(32), "calls": 12, "traps": 2, "log_dropped": 137,
                "traps_by_cause": {"fuel": 2, "memory": 0}, "latency": {"p99_micros": 8}}],
            "shadow": {"name": "b", "version": "2", "hash": "ef".repeat(32), "state": "comparing", "agreed": 7,
                "compared": 9, "differed": 2, "dropped": 4, "latency": {"mean_nanos": 2500},
                "examples": [{"input": "alice\u{1b}[2J", "live": "x", "shadow": "y"}]}},
         "history": [{"at": 0, "action": "pinned", "to": "ab".repeat(32), "who": "uid 1000", "why": "audit"}]},
        {"kind": "payout", "policy": {"name": "p"}, "history": []},
    ]);
    let mut out = Vec::new();
    show(&told, Some(PolicyKind::Auth), false, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("pinned; cdcdcdcdcdcd is not applied"), "{text}");
    for line in [
        "memory 3 MiB of 256 MiB",
        "default given: 0 while backing off, 5 with the queue full",
        "last failure 1970-01-01 00:00:00, generation 3, fuel: it used up its fuel; it last said: hello",
        "generation 3 (abababababab): 12 calls, 8 us at p99, 2 traps, 137 log lines dropped (stopped for fuel)",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.contains("7 of 9 agree, 2 differ, 4 dropped, 3 us a call"), "{text}");
    assert!(text.contains("1970-01-01 00:00:00 pinned abababababab by uid 1000: audit"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("payout"), "{text}");
}

#[test]
fn a_pool_that_does_not_run_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = ask(&dir.path().join(FILE), &Request::Status).unwrap_err().to_string();
    assert!(error.contains("is one running"), "{error}");
}
