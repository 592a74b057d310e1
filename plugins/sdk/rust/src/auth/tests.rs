use super::*;

fn check(username: &str, account: &str, worker: &str) {
    assert_eq!(split_username(username), (account, worker.to_owned()), "{username:?}");
}

#[test]
fn the_first_dot_parts_account_and_worker() {
    // V1-18
    check("alice", "alice", "");
    check("alice.rig1", "alice", "rig1");
    check("alice.rig.1", "alice", "rig.1");
    check("alice.", "alice", "");
    check(".rig", "", "rig");
    check(" alice.rig ", "alice", "rig");
    check("", "", "");
}

#[test]
fn a_worker_name_never_costs_the_login() {
    // V1-17: %-escapes and whatever a firmware makes of a name.
    check("a.%20x", "a", "%20x");
    check("a.<b>&\"'\\", "a", "_b_____");
    check("a.ümlaut\n\u{0}", "a", "_mlaut__");
    assert_eq!(split_username(&format!("a.{}", "w".repeat(500))).1.len(), WORKER_LIMIT);
}

#[test]
fn account_names_are_what_the_host_takes() {
    for good in ["a", "alice_1", "with space", &"x".repeat(128)] {
        assert!(is_account_name(good), "{good}");
    }
    for bad in ["", "é", "a<b", "tab\t", &"x".repeat(129)] {
        assert!(!is_account_name(bad), "{bad}");
    }
}
