use super::super::observe::Settled;
use super::*;

/// A little parser of our own: tags close in order, attributes are quoted, no stray signs. What is in `style` is text.
fn check(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>").expect("a document");
    let (mut open, mut rest) = (Vec::new(), body);
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        if open.last() != Some(&"style") {
            assert!(!text.contains('>'), "a stray > in {text:?}");
        }
        let end = rest[at..].find('>').expect("tags end") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "tags close in order");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?}");
    for outside in
        ["http:", "https:", "//", "@import", "url(", "<script", "<link", "src=", " onload", "href="]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf "), "numbers are numbers");
}

fn policy(name: &str) -> Policy {
    Policy { file: "a.wasm".into(), name: name.into(), version: "1".into(), sha256: "ab".repeat(32) }
}

fn group(name: &str) -> Summary {
    let settled = Settled { never: 1, median_s: Some(42.0), worst_s: None, stayed: None, stayed_worst: None };
    let point = |at: u32| Point {
        at_s: f64::from(at) * 60.0,
        shares_per_minute: (at > 3).then_some(f64::from(at)),
        difficulty: Some(1024.0 / f64::from(at + 1)),
        variance: None,
    };
    Summary {
        name: name.into(),
        miners: 2,
        hashrate: 1e12,
        within_2: settled.clone(),
        within_1_5: settled,
        shares: 10,
        shares_per_minute: Some(17.9),
        variance: None,
        changes_per_hour: Some(0.0),
        swing: Some(1.3),
        settled_difficulty: Some((0.0004, 7.8e8)),
        difficulty: None,
        lost_shares: 0,
        lost_work: 0.0,
        points: (0..20).map(point).collect(),
    }
}

fn tried(name: &str) -> Tried {
    let groups = vec![group("<b>&\"'"), group("plain")];
    Tried {
        policy: policy(name),
        trial: Trial { groups, left_out: 3, calls: 9, failures: 2, failed: vec!["<trap>".into()] },
    }
}

#[test]
fn the_page_of_a_vardiff_policy_is_well_formed_and_needs_nothing_else() {
    let result = VardiffBacktest {
        source: "<x>.toml".into(),
        target_per_minute: 18.0,
        candidate: tried("one"),
        against: Some(tried("two")),
    };
    let page = vardiff(&result);
    check(&page);
    assert_eq!(
        page.matches("<svg").count(),
        2 * 2 + 2,
        "nothing is drawn where there is no line but the goal's"
    );
    assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;") && page.contains("prefers-color-scheme: dark"));
    check(&vardiff(&VardiffBacktest { against: None, ..result }));
}

#[test]
fn the_page_of_a_payout_policy_is_well_formed_and_needs_nothing_else() {
    let line = |account: &str, current_sat, candidate_sat| Account {
        account: account.into(),
        current_sat,
        candidate_sat,
        difference_sat: candidate_sat - current_sat,
    };
    let comparison = Comparison {
        rounds: 3,
        reward_sat: 100,
        held: 1,
        failures: vec!["<no>".into()],
        accounts: vec![line("bc1q<x>", 60, 40), line("", 40, 60), line("late", 0, 5)],
        ..Comparison::default()
    };
    let result =
        PayoutBacktest { source: "data".into(), candidate: policy("one"), against: None, comparison };
    let page = payout(&result);
    check(&page);
    assert!(page.contains("(the house)") && page.contains("-33.3 %"), "{page}");
    assert_eq!(page.matches("<rect").count(), 3 * 3, "two bars and a change for each");
    let comparison = Comparison::default();
    check(&payout(&PayoutBacktest { against: Some(policy("two")), comparison, ..result }));
}

#[test]
fn numbers_have_the_digits_that_matter() {
    let said = [0.000_39, 0.5, 17.94, 1024.0, 7.76e8].map(|value| number(Some(value)));
    assert_eq!(said.join(" "), "3.90e-4 0.50 18 1024 776.0M");
    assert_eq!([number(None), number(Some(f64::NAN)), span(None), percent(None)].join(""), "----");
}
