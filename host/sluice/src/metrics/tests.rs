use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sluice_core::ids::Protocol;
use sluice_core::policy::PolicyKind;
use sluice_core::session::{ChannelKind, Close};
use sluice_core::share::Reason;
use sluice_core::units::Moment;
use sluice_policy::lookup::LookupStatus;
use sluice_policy::status::{LastReload, Outcome, SlotState};
use sluice_policy::{
    Budget, Budgets, Compared, Figures, GenerationStatus, PolicyStatus, ShadowState, ShadowStatus,
    SlotFigures, Traps,
};

use super::history::{SAMPLES, STEP};
use super::{BlockMove, BlockOutcome, LoginOutcome, Metrics, Refused, ReloadLabel};

const V1: Protocol = Protocol::StratumV1;

/// Metrics in which everything happened once.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    for protocol in Protocol::ALL {
        metrics.connection_opened(protocol);
        metrics.connection_opened(protocol);
        metrics.connection_closed(protocol, Close::Peer);
        metrics.banned(protocol);
        metrics.handshake_failed(protocol, Close::BadMac);
        for kind in ChannelKind::ALL {
            metrics.channel_opened(protocol, kind);
            metrics.channel_opened(protocol, kind);
            metrics.channels_closed(protocol, kind, 1);
        }
        metrics.channel_refused(protocol, "unknown-user");
        metrics.update_refused(protocol, "invalid-channel-id");
        metrics.acknowledged(protocol, 16);
        metrics.strayed(protocol, "channel_bit");
        metrics.shares_accepted(protocol, 3, 1.5);
        metrics.jobs_sent(protocol, 7);
        metrics.fanout(protocol, Duration::from_millis(3));
        metrics.received(protocol, 100);
        metrics.sent(protocol, 200);
        Reason::ALL.into_iter().for_each(|reason| metrics.share_rejected(protocol, reason));
        Refused::ALL.iter().for_each(|cause| metrics.connection_refused(protocol, *cause));
        LoginOutcome::ALL.iter().for_each(|outcome| metrics.login(protocol, *outcome));
        BlockOutcome::ALL.iter().for_each(|outcome| metrics.block(protocol, *outcome));
    }
    BlockMove::ALL.iter().for_each(|what| metrics.block_moved(*what));
    for kind in PolicyKind::ALL {
        ReloadLabel::ALL.iter().for_each(|outcome| metrics.policy_reload(kind, *outcome));
    }
    metrics.policies(PolicyKind::ALL.map(told).to_vec());
    metrics.job_built(840_000);
    metrics.ledger_healthy(true);
    metrics.rounds_held(1);
    metrics.accruals_held(5);
    metrics.accrued(40, 2);
    metrics.node_health(0, true);
    metrics.certificate_ends(1_800_000_000);
    metrics.sample(Moment(0));
    metrics
}

/// Ten calls of the generation that serves and twenty of the one before, one of them stopped; a shadow of two calls.
fn told(kind: PolicyKind) -> PolicyStatus {
    let generation = |number: u64, calls, until| GenerationStatus {
        generation: number,
        name: "made-up".to_owned(),
        version: "1.0 \"x\"\\".to_owned(),
        hash: format!("{number:x}").repeat(64),
        since: 1,
        until,
        figures: Figures {
            calls,
            fuel_peak: 5000,
            traps: 1,
            traps_by_cause: Traps { memory: 1, ..Traps::default() },
            log_dropped: 137,
            ..Figures::default()
        },
        compared: None,
        last_failure: None,
    };
    let compared = Compared { agreed: 7, differed: 2, failed: 1, dropped: 4, skipped: 3 };
    let shadow = GenerationStatus { compared: Some(compared), ..generation(5, 2, None) };
    let reload = LastReload { outcome: Outcome::Applied, at: 1, hash: None, error: None };
    PolicyStatus {
        kind,
        file: String::new(),
        name: "made-up".to_owned(),
        version: "1.0".to_owned(),
        summary: String::new(),
        hash: "2".repeat(64),
        generation: 2,
        loaded_at: 1,
        state: SlotState::Active,
        last_reload: reload,
        history: Vec::new(),
        pinned: false,
        held: None,
        shadow: Some(shadow_of(shadow)),
        lookup: (kind == PolicyKind::Auth).then(|| LookupStatus {
            requests: 3,
            turned_away: 2,
            ..LookupStatus::default()
        }),
        budgets: Budgets { memory_bytes: Budget { used: 1, limit: 1 << 20 }, ..Budgets::default() },
        last_failure: None,
        generations: vec![generation(2, 10, None), generation(1, 20, Some(2))],
        figures: Figures { unavailable: 6, ..Figures::default() },
        slot: SlotFigures { queue_full: 8, ..SlotFigures::default() },
    }
}

fn shadow_of(generation: GenerationStatus) -> ShadowStatus {
    ShadowStatus {
        file: String::new(),
        name: generation.name.clone(),
        version: generation.version.clone(),
        hash: generation.hash.clone(),
        loaded_at: 1,
        state: ShadowState::Comparing,
        error: None,
        against: 2,
        compared: 9,
        agreed: 7,
        differed: 2,
        failed: 1,
        dropped: 4,
        skipped: 3,
        last_failure: None,
        examples: Vec::new(),
        waiting: 9,
        figures: generation.figures.clone(),
        generations: vec![generation],
    }
}

#[test]
fn a_policy_is_told_by_generation_and_so_is_its_shadow() {
    let text = busy().encode();
    let (live, before) = (
        "kind=\"payout\",role=\"live\",generation=\"2\",hash=\"222222222222\"",
        "kind=\"payout\",role=\"live\",generation=\"1\",hash=\"111111111111\"",
    );
    let shadow = "kind=\"payout\",role=\"shadow\",generation=\"5\",hash=\"555555555555\"";
    for line in [
        format!("sluice_policy_calls_total{{{live}}} 10"),
        format!("sluice_policy_calls_total{{{before}}} 20"),
        format!("sluice_policy_calls_total{{{shadow}}} 2"),
        format!("sluice_policy_call_seconds_count{{{live}}} 0"),
        format!("sluice_policy_call_seconds_bucket{{le=\"0.000004\",{live}}} 0"),
        format!("sluice_policy_call_seconds_bucket{{le=\"+Inf\",{live}}} 0"),
        format!("sluice_policy_traps_total{{{live},cause=\"memory\"}} 1"),
        format!("sluice_policy_traps_total{{{live},cause=\"answer_size\"}} 0"),
        format!("sluice_policy_fuel_peak{{{live}}} 5000.0"),
        format!("sluice_policy_log_dropped_total{{{shadow}}} 137"),
        format!("sluice_policy_shadow_questions_total{{{shadow},outcome=\"dropped\"}} 4"),
        format!("sluice_policy_info{{{live},name=\"made-up\",version=\"1.0 \\\"x\\\"\\\\\"}} 1"),
        "sluice_policy_defaults_total{kind=\"payout\",cause=\"queue_full\"} 8".to_owned(),
        "sluice_policy_defaults_total{kind=\"payout\",cause=\"backing_off\"} 6".to_owned(),
        "sluice_policy_queue{kind=\"payout\",role=\"shadow\"} 9.0".to_owned(),
        "sluice_policy_lookup_requests_total 3".to_owned(),
        "sluice_policy_lookup_put_off_total{cause=\"crowd\"} 2".to_owned(),
        "sluice_policy_memory_limit_bytes{kind=\"payout\"} 1048576.0".to_owned(),
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
    // Who serves is told, not who did.
    let who = text.lines().filter(|line| line.starts_with("sluice_policy_info{kind=\"payout\"")).count();
    assert_eq!(who, 2, "{text}");
}

#[test]
fn generations_that_the_policy_host_no_longer_tells_of_leave() {
    let metrics = busy();
    let now = |kind| PolicyStatus { generations: Vec::new(), shadow: None, ..told(kind) };
    metrics.policies(PolicyKind::ALL.map(now).to_vec());
    let text = metrics.encode();
    assert!(!text.contains("generation="), "{text}");
    assert!(text.contains("sluice_policy_queue{kind=\"auth\",role=\"live\"}"), "{text}");
}

#[test]
fn what_happened_is_in_the_text() {
    let text = busy().encode();
    for line in [
        "sluice_connections{protocol=\"stratum_v1\"} 1",
        "sluice_connections_opened_total{protocol=\"stratum_v2\"} 2",
        "sluice_connections_closed_total{protocol=\"stratum_v1\",reason=\"peer\"} 1",
        "sluice_connections_refused_total{protocol=\"stratum_v1\",cause=\"address_limit\"} 1",
        "sluice_handshakes_failed_total{protocol=\"stratum_v2\",reason=\"bad_mac\"} 1",
        "sluice_channels{protocol=\"stratum_v2\",kind=\"extended\"} 1",
        "sluice_channels_opened_total{protocol=\"stratum_v2\",kind=\"standard\"} 2",
        "sluice_channels_refused_total{protocol=\"stratum_v2\",code=\"unknown-user\"} 1",
        "sluice_updates_refused_total{protocol=\"stratum_v2\",code=\"invalid-channel-id\"} 1",
        "sluice_acknowledgements_total{protocol=\"stratum_v2\"} 1",
        "sluice_shares_acknowledged_total{protocol=\"stratum_v2\"} 16",
        "sluice_strayed_total{protocol=\"stratum_v2\",what=\"channel_bit\"} 1",
        "sluice_logins_total{protocol=\"stratum_v1\",outcome=\"wrong_password\"} 1",
        "sluice_shares_accepted_total{protocol=\"stratum_v1\"} 3",
        "sluice_shares_rejected_total{protocol=\"stratum_v1\",reason=\"low_difficulty\"} 1",
        "sluice_work_total{protocol=\"stratum_v1\"} 1.5",
        "sluice_blocks_total{protocol=\"stratum_v1\",outcome=\"found\"} 1",
        "sluice_block_moves_total{what=\"orphaned\"} 1",
        "sluice_notify_fanout_seconds_count{protocol=\"stratum_v1\"} 1",
        "sluice_policy_reloads_total{kind=\"payout\",outcome=\"rolled_back\"} 1",
        "sluice_node_healthy{node=\"0\"} 1",
        "sluice_tip_height 840000",
        "sluice_accruals_held 5",
        "sluice_shares_accrued_total 40",
        "sluice_shares_passed_over_total 2",
        "sluice_stratum_v2_certificate_end_seconds 1800000000",
        "# EOF",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
}

#[test]
fn share_series_exist_before_the_first_share() {
    let text = Metrics::new().encode();
    assert!(text.contains("sluice_shares_accepted_total{protocol=\"stratum_v2\"} 0"), "{text}");
    assert!(
        text.contains("sluice_shares_rejected_total{protocol=\"stratum_v1\",reason=\"duplicate\"} 0"),
        "{text}"
    );
}

#[test]
fn rejections_are_counted_under_their_own_reason() {
    for reason in Reason::ALL {
        let metrics = Metrics::new();
        metrics.share_rejected(V1, reason);
        let counted: Vec<Reason> = metrics
            .rejected()
            .into_iter()
            .filter(|(_, count)| *count == 1)
            .map(|(reason, _)| reason)
            .collect();
        assert_eq!(counted, [reason]);
    }
}

#[test]
fn protocols_are_counted_apart() {
    let metrics = Metrics::new();
    let v2 = Protocol::StratumV2;
    metrics.shares_accepted(v2, 3, 1.5);
    metrics.share_rejected(v2, Reason::Stale);
    metrics.channel_opened(v2, ChannelKind::Standard);
    let count = |protocol| metrics.rejected_by(protocol).iter().map(|(_, count)| count).sum::<u64>();
    assert_eq!((metrics.accepted_by(V1), metrics.accepted_by(v2)), (0, 3));
    assert_eq!((count(V1), count(v2)), (0, 1));
    assert_eq!(metrics.channels(v2, ChannelKind::Standard), 1);
    assert_eq!(metrics.channels(v2, ChannelKind::Extended), 0);
    metrics.channels_closed(v2, ChannelKind::Standard, 1);
    assert_eq!(metrics.channels(v2, ChannelKind::Standard), 0);
}

/// The page and the program list the same series.
#[test]
fn every_series_is_documented_and_every_documented_series_exists() {
    let text = busy().encode();
    let counted: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `sluice_").map(|_| line.split('`').nth(1)))
        .flatten()
        .map(|name| name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name))
        .collect();
    assert_eq!(counted, documented);
}

#[test]
fn hashrate_is_work_over_the_last_minute() {
    let metrics = Metrics::new();
    assert_eq!(metrics.hashrate().0, 0.0);
    let step = u64::try_from(STEP.as_millis()).unwrap();
    for tick in 0..100 {
        metrics.sample(Moment(tick * step));
        // One difficulty a second: 2^32 hashes a second.
        (0..STEP.as_secs()).for_each(|_| metrics.shares_accepted(V1, 1, 1.0));
    }
    assert!((metrics.hashrate().0 - 4_294_967_296.0).abs() < 1.0, "{}", metrics.hashrate());
    // A minute of silence.
    (100..113).for_each(|tick| metrics.sample(Moment(tick * step)));
    assert_eq!(metrics.hashrate().0, 0.0);
}

#[test]
fn history_is_bounded_and_ends_now() {
    let metrics = Metrics::new();
    let step = u64::try_from(STEP.as_millis()).unwrap();
    for tick in 0..(SAMPLES as u64 * 2) {
        metrics.sample(Moment(tick * step));
    }
    let points = metrics.history().points();
    assert_eq!(points.len(), SAMPLES - 1);
    assert_eq!(points.last().unwrap().age_s, 0);
    assert_eq!(points[0].age_s, (SAMPLES as u64 - 2) * STEP.as_secs());
}
