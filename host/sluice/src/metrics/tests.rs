use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sluice_core::ids::Protocol;
use sluice_core::policy::PolicyKind;
use sluice_core::session::{ChannelKind, Close};
use sluice_core::share::Reason;
use sluice_core::units::Moment;

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
        metrics.policy_totals(kind, 10, 1);
        ReloadLabel::ALL.iter().for_each(|outcome| metrics.policy_reload(kind, *outcome));
    }
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

#[test]
fn totals_of_a_policy_never_shrink() {
    let metrics = Metrics::new();
    metrics.policy_totals(PolicyKind::Auth, 10, 2);
    metrics.policy_totals(PolicyKind::Auth, 9, 2);
    assert!(metrics.encode().contains("sluice_policy_calls_total{kind=\"auth\"} 10"));
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
