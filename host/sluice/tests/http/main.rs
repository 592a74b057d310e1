//! The HTTP side as a client sees it: a real server on a free port, a pool that is made up.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic, as its tests do")]

mod made_up;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use sluice::metrics::Refused;
use sluice_core::ids::Protocol;
use sluice_core::units::Moment;
use tokio::sync::Semaphore;

use made_up::*;

/// Every reason is there; those in `some` are not 0.
fn rejected(some: &[(&str, u64)]) -> Value {
    let mut all = serde_json::json!({
        "unknown_job": 0, "stale": 0, "duplicate": 0, "low_difficulty": 0, "time_too_old": 0, "time_too_new": 0,
        "bad_version": 0, "bad_extranonce": 0, "unauthorized": 0, "malformed": 0,
    });
    some.iter().for_each(|(reason, count)| all[*reason] = (*count).into());
    all
}

#[tokio::test]
async fn pool_has_the_documented_shape() {
    let server = Server::start().await;
    let expected = serde_json::json!({
        "network": "regtest",
        "tip": {"height": 101, "hash": "0f".repeat(32)},
        "job": {"id": "2a", "height": 102, "age_ms": 1500},
        "connections": {"stratum_v1": 4, "stratum_v2": 2},
        "channels": {"standard": 2, "extended": 1},
        "shares": {
            "accepted": 9,
            "rejected": rejected(&[("stale", 1), ("low_difficulty", 1)]),
            "by_protocol": {
                "stratum_v1": {"accepted": 7, "rejected": rejected(&[("stale", 1)])},
                "stratum_v2": {"accepted": 2, "rejected": rejected(&[("low_difficulty", 1)])},
            },
        },
        "hashrate": 2.5e12,
        "blocks": 3,
        "stratum_v2": {"address": "192.0.2.1:3336", "authority_public_key": KEY},
    });
    assert_eq!(server.json("/api/v1/pool").await, expected);
}

#[tokio::test]
async fn pool_without_sv2_says_so() {
    let server = Server::of(MadeUp { stratum_v2: None, ..MadeUp::default() }).await;
    let pool = server.json("/api/v1/pool").await;
    assert_eq!(pool.get("stratum_v2"), Some(&Value::Null), "{pool}");
    let page = server.text("/").await.1;
    assert!(page.contains("[stratum_v2] enabled = true") && !page.contains("stratum2+tcp"), "{page}");
}

// N-40
#[tokio::test]
async fn page_has_the_url_that_sv2_miners_take() {
    let page = async |address| {
        let pool = MadeUp { stratum_v2: Some(second_door(address)), ..MadeUp::default() };
        Server::of(pool).await.text("/").await.1
    };
    assert!(page("192.0.2.1:3336").await.contains(&format!(">stratum2+tcp://192.0.2.1:3336/{KEY}<")));
    assert!(page("[2001:db8::1]:3336").await.contains(&format!(">stratum2+tcp://[2001:db8::1]:3336/{KEY}<")));
    // Nobody connects to "every address".
    for any in ["0.0.0.0:3336", "[::]:3336"] {
        let page = page(any).await;
        assert!(page.contains(&format!(">stratum2+tcp://HOST:3336/{KEY}<")), "{page}");
        assert!(page.contains("HOST is the name or address by which miners reach this machine"), "{page}");
    }
}

#[tokio::test]
async fn policies_have_the_documented_shape() {
    let server = Server::start().await;
    let list = server.json("/api/v1/policies").await;
    let kinds: Vec<&str> =
        list.as_array().unwrap().iter().map(|policy| policy["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["auth", "vardiff", "payout"]);
    for field in [
        "kind",
        "file",
        "name",
        "version",
        "hash",
        "generation",
        "loaded_at",
        "last_reload",
        "calls",
        "traps",
        "unavailable",
        "queue_full",
    ] {
        assert!(!list[0][field].is_null(), "{field}");
    }
    assert_eq!(list[0]["budgets"]["fuel"], serde_json::json!({"used": 1_200_000, "limit": 2_000_000_000}));
    let failure =
        serde_json::json!({"at": 3, "generation": 1, "cause": "memory", "why": HOSTILE, "said": HOSTILE});
    assert_eq!(list[1]["last_failure"], failure);
    let numbers: Vec<&serde_json::Value> =
        list[1]["generations"].as_array().unwrap().iter().map(|one| &one["generation"]).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(list[1]["generations"][1]["log_dropped"], 137);
    assert_eq!(list[1]["shadow"]["generations"][0]["traps"], 2);
    let shadow = &list[1]["shadow"];
    assert_eq!(
        (&shadow["compared"], &shadow["agreed"], &shadow["differed"]),
        (&9.into(), &7.into(), &2.into())
    );
    let example = serde_json::json!({
        "at": 6, "input": HOSTILE, "live": "difficulty 1000", "shadow": "difficulty 2000"
    });
    assert_eq!(shadow["examples"], serde_json::json!([example]));
    let reload = serde_json::json!({"outcome": "rejected", "at": 5, "error": format!("imports {HOSTILE}")});
    assert_eq!(list[2]["last_reload"], reload);
}

#[tokio::test]
async fn lists_are_bounded() {
    let server = Server::start().await;
    let length = async |path: &str| server.json(path).await.as_array().unwrap().len();
    assert_eq!(length("/api/v1/workers").await, 100);
    assert_eq!(length("/api/v1/workers?limit=7").await, 7);
    assert_eq!(length("/api/v1/workers?limit=1000").await, 1000);
    assert_eq!(length("/api/v1/blocks?limit=2").await, 2);
    assert_eq!(length("/api/v1/credits").await, 1);
    for query in
        ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limt=5", "limit=99999999999999999999999"]
    {
        for list in ["workers", "blocks", "credits", "balances", "payouts", "accounts/alice"] {
            let path = format!("/api/v1/{list}?{query}");
            assert_eq!(server.error(&path).await, (400, "bad_query".to_owned()), "{path}");
        }
    }
}

#[tokio::test]
async fn money_has_the_documented_shape() {
    let server = Server::start().await;
    let sums = |mature: i64, immature: i64| {
        serde_json::json!({"balance_sat": mature + immature, "mature_sat": mature, "immature_sat": immature,
            "due_sat": mature.max(0)})
    };
    let batch = |state: &str| {
        serde_json::json!({"batch": 3, "state": state, "at": 9, "lines": 2, "amount_sat": 150_000, "txid": null,
            "height": null, "fee_sat": null})
    };
    let expected = serde_json::json!({
        "house": sums(-500_000_000, 0), "accounts": sums(7_200_000, 492_800_000), "creditors": 3,
        "open_payouts": [batch("prepared")], "held_rounds": 2, "unaccrued_shares": 1234,
    });
    assert_eq!(server.json("/api/v1/money").await, expected);
    assert_eq!(server.json("/api/v1/payouts?limit=1").await, serde_json::json!([batch("cancelled")]));
    let balances = server.json("/api/v1/balances?limit=2").await;
    let mut first = sums(2000, 0);
    first["account"] = format!("{HOSTILE}0").into();
    assert_eq!((&balances["house"], &balances["accounts"][0]), (&sums(-5, 0), &first));
    assert_eq!(balances["accounts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn account_has_the_documented_shape() {
    let server = Server::start().await;
    // The name is decoded.
    let account = server.json("/api/v1/accounts/al%20ice%2F%3Cb%3E%C3%A9?limit=1").await;
    let hash = "ab".repeat(32);
    let worker = serde_json::json!({"worker": format!("{HOSTILE}0"), "protocol": "stratum_v2", "shares": 5, "work": 5.0,
        "recent_work": 2.0, "hashrate": 1e9, "last_share_at": 6});
    let credit = serde_json::json!({"block": null, "height": null, "state": null, "shares": [1, 240], "at": 8,
        "account": "al ice/<b>é", "amount_sat": 123, "reason": HOSTILE, "policy_hash": hash});
    let payout = serde_json::json!({"batch": 3, "state": "sent", "at": 9, "amount_sat": 75_000, "address": HOSTILE,
        "txid": "cd".repeat(32)});
    let policy = serde_json::json!({"name": HOSTILE, "version": "1.0.0", "hash": hash});
    let next = serde_json::json!({"reward_sat": 312_500_000, "credit_sat": 1_000_000, "output_sat": 999_000,
        "accrues": false, "policy": policy});
    let expected = serde_json::json!({
        "account": "al ice/<b>é", "address": HOSTILE, "balance_sat": 123, "mature_sat": 100, "immature_sat": 23,
        "due_sat": 100, "carried_microsats": 250_000, "minimum_sat": 50_000, "held": HOSTILE, "shares": 5, "work": 5.0,
        "recent_work": 2.0, "hashrate": 1e9, "workers": [worker], "next_block": next, "next_block_reason": null,
        "blocks": [], "credits": [credit], "payouts": [payout],
    });
    assert_eq!(account, expected);
    server.pool.stopped.store(true, Ordering::Relaxed);
    let account = server.json("/api/v1/accounts/alice").await;
    assert_eq!((&account["next_block"], &account["next_block_reason"]), (&Value::Null, &HOSTILE.into()));
}

#[tokio::test]
async fn nobody_is_an_error_of_its_own() {
    let server = Server::start().await;
    for path in ["/api/v1/accounts/nobody", "/accounts/nobody", "/api/v1/accounts/%ff", "/accounts/%ff"] {
        assert_eq!(server.error(path).await, (404, "unknown_account".to_owned()), "{path}");
    }
    for path in ["/api/v1/accounts", "/api/v1/accounts/", "/accounts/", "/accounts/a/b"] {
        assert_eq!(server.error(path).await, (404, "not_found".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn account_page_takes_hostile_text_for_text_and_has_no_script() {
    let server = Server::start().await;
    let (status, page) = server.text("/accounts/%3Cb%3Ebold").await;
    assert_eq!(status, 200);
    for part in [
        "&lt;b&gt;bold",
        "0.00000123",
        "nothing is paid out: &lt;b&gt;",
        "paid from 0.00050000 on",
        "It would bring 3.12500000 BTC, and this account 0.01000000 of it",
        "An output of the coinbase pays it 0.00999000.",
        "1 to 240",
        "0.00075000",
        "href=\"/api/v1/accounts/%3Cb%3Ebold\"",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("<b>") && !page.contains("<script") && !page.contains("http://"), "{page}");
    server.pool.stopped.store(true, Ordering::Relaxed);
    let page = server.text("/accounts/alice").await.1;
    assert!(page.contains("Not known: &lt;b&gt;bold"), "{page}");
}

#[tokio::test]
async fn unknown_paths_are_errors_in_json() {
    let server = Server::start().await;
    for path in
        ["/nothing", "/api", "/api/v1", "/api/v1/nothing", "/api/v2/pool", "/api/v1/pool/x", "//", "/%ff"]
    {
        assert_eq!(server.error(path).await, (404, "not_found".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn only_reading_is_allowed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    for path in ["/", "/api/v1/pool", "/metrics"] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("method_not_allowed"), "{answer}");
    }
}

#[tokio::test]
async fn ledger_that_fails_is_an_error_and_leaves_the_page_standing() {
    let server = Server::start().await;
    server.pool.ledger_fails.store(true, Ordering::Relaxed);
    for path in [
        "/api/v1/workers",
        "/api/v1/blocks",
        "/api/v1/credits",
        "/api/v1/money",
        "/api/v1/balances",
        "/api/v1/payouts",
        "/api/v1/accounts/alice",
        "/accounts/alice",
    ] {
        assert_eq!(server.error(path).await, (503, "unavailable".to_owned()));
    }
    let (status, page) = server.text("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("Not to be had now: the ledger is &lt;busy&gt;"), "{page}");
}

#[tokio::test]
async fn requests_at_a_time_are_bounded() {
    const LIMIT: usize = 32;
    let server = Arc::new(Server::start().await);
    server.pool.answers.forget_permits(Semaphore::MAX_PERMITS);
    let held: Vec<_> = (0..LIMIT)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.get("/api/v1/blocks").await.status })
        })
        .collect();
    let mut waiting = server.pool.waiting.subscribe();
    waiting.wait_for(|waiting| *waiting == LIMIT).await.unwrap();
    assert_eq!(server.error("/api/v1/pool").await, (503, "busy".to_owned()));
    server.pool.answers.add_permits(LIMIT);
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(server.get("/api/v1/pool").await.status, 200);
}

#[tokio::test]
async fn health_is_about_the_process_and_readiness_about_the_pool() {
    let server = Server::start().await;
    assert_eq!(server.text("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.text("/readyz").await, (200, "ready\n".to_owned()));
    server.pool.stopped.store(true, Ordering::Relaxed);
    assert_eq!(server.text("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.text("/readyz").await, (503, "not ready: no node answers\n".to_owned()));
    assert!(server.text("/").await.1.contains("not ready: no node answers"));
}

#[tokio::test]
async fn metrics_are_fresh() {
    let server = Server::start().await;
    server.metrics.connection_refused(Protocol::StratumV1, Refused::Banned);
    let response = server.get("/metrics").await;
    assert!(response.content_type.starts_with("application/openmetrics-text"), "{}", response.content_type);
    let text = String::from_utf8(response.body).unwrap();
    assert!(
        text.contains("sluice_connections_refused_total{protocol=\"stratum_v1\",cause=\"banned\"} 1"),
        "{text}"
    );
    // What the pool counts elsewhere is fetched for the scrape.
    assert!(text.contains("sluice_tip_height 102"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn page_shows_the_pool_and_takes_hostile_text_for_text() {
    let server = Server::start().await;
    let response = server.get("/").await;
    assert!(response.content_type.starts_with("text/html"));
    let page = String::from_utf8(response.body).unwrap();
    for part in [
        "2.50 TH/s",
        "tip 101",
        "job 2a, 1 s old",
        "V1 4, V2 2",
        "18.18 %",
        "low difficulty 1, stale 1",
        "2 standard, 1 extended",
        // Each protocol's own part.
        "<td>7</td><td>12.50 % (stale 1)</td>",
        "<td>2</td><td>33.33 % (low difficulty 1)</td>",
        "bad-cb-height",
        "the pool",
        "Owed to 3 accounts",
        "<td>5.00000000</td><td>0.07200000</td><td>4.92800000</td><td>0.07200000</td>",
        "<td>−5.00000000</td>",
        "7 of 9 agree, 2 differ, 1 failed, 1 traps, 0 dropped, 0 skipped, 3 us a call",
        "difficulty 1000 | shadow: difficulty 2000",
        "batch 3 <span class=\"pill \">prepared</span> 0.00150000 to 2 accounts",
        "<a href=\"/accounts/alice\">",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("<b>bold") && page.contains("&lt;b&gt;bold&lt;/b&gt;&quot;&#39;&amp;"));
    // Nothing is loaded from elsewhere.
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="), "{page}");
}

#[tokio::test]
async fn history_is_what_was_sampled() {
    let server = Server::start().await;
    assert_eq!(server.json("/api/v1/history").await, serde_json::json!({"step_s": 5, "points": []}));
    server.metrics.sample(Moment(0));
    server.metrics.shares_accepted(Protocol::StratumV1, 10, 5.0);
    server.metrics.sample(Moment(5000));
    let point =
        serde_json::json!({"age_s": 0, "hashrate": 4_294_967_296.0, "accepted": 2.0, "rejected": 0.0});
    let expected = serde_json::json!({"step_s": 5, "points": [point]});
    assert_eq!(server.json("/api/v1/history").await, expected);
}

#[tokio::test]
async fn shutdown_ends_the_server_even_with_a_connection_open() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    let mut idle = tokio::net::TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();
    // This one never ends its request.
    let mut slow = tokio::net::TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    server.stop.send(()).unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), server.task).await;
    ended.expect("it ends").unwrap().unwrap();
}
