//! What no SV2 client sends: the reaction of the rule, a count of it, and nobody else notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_stratum_v2::messages::{
    self, Message, OpenStandardMiningChannel, ServerMessage, SubmitSharesStandard, UpdateChannel,
};
use sluice_stratum_v2::noise::ACT_2;
use sluice_stratum_v2::wire::FrameHeader;
use sluice_tests::http;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Pool, Setup};
use sluice_tests::sv2::client::setup;
use sluice_tests::sv2::{Client, Kind, Wire};

/// About four thousand hashes for a share: moments, yet most hashes miss.
const DIFFICULTY: f64 = 1e-6;

async fn pool() -> Result<Pool> {
    pool_with("").await
}

async fn pool_with(lines: &str) -> Result<Pool> {
    Pool::ready(Setup::without_blocks(DIFFICULTY).sv2_with(lines)).await
}

fn user() -> String {
    format!("{}.rig", address(7))
}

/// Somebody who works all the while.
struct Bystander {
    client: Client,
    channel: u32,
}

impl Bystander {
    async fn of(pool: &Pool) -> Result<Self> {
        let (client, channel) = Client::working(pool.sv2()?, Kind::Extended, &user()).await?;
        let mut bystander = Self { client, channel };
        bystander.works().await?;
        Ok(bystander)
    }

    async fn works(&mut self) -> Result<()> {
        let job = self.client.job(self.channel).await?;
        let share = self.client.mine(&job)?;
        self.client.submit_good(&share).await.context("the others notice")
    }
}

/// Waits until so many connections have ended for that reason.
async fn closed(pool: &Pool, reason: &str, count: f64) -> Result<()> {
    let series = format!("sluice_connections_closed_total{{protocol=\"stratum_v2\",reason=\"{reason}\"}}");
    http::metric_reaches(pool.http, &series, count).await
}

async fn failed_handshakes(pool: &Pool, reason: &str, count: f64) -> Result<()> {
    let series = format!("sluice_handshakes_failed_total{{protocol=\"stratum_v2\",reason=\"{reason}\"}}");
    http::metric_reaches(pool.http, &series, count).await
}

async fn strayed(pool: &Pool, what: &str, count: f64) -> Result<()> {
    let series = format!("sluice_strayed_total{{protocol=\"stratum_v2\",what=\"{what}\"}}");
    http::metric_reaches(pool.http, &series, count).await
}

/// A connection that is through the handshake, and no further.
async fn greeted(pool: &Pool) -> Result<Wire> {
    let endpoint = pool.sv2()?;
    Wire::connect(endpoint.address, Some(endpoint.authority)).await
}

fn header(extension: u16, message: u8, length: u32) -> FrameHeader {
    FrameHeader { extension, channel_message: false, message, length }
}

fn submission(channel_id: u32, sequence_number: u32) -> SubmitSharesStandard {
    SubmitSharesStandard { channel_id, sequence_number, job_id: 1, nonce: 1, ntime: 1, version: 1 }
}

#[tokio::test]
async fn garbage_for_act_1_is_answered_and_found_out_at_the_first_record() -> Result<()> {
    // N-21, N-20, N-10, N-11
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    let mut wire = Wire::clear(pool.sv2()?.address).await?;
    wire.send_raw(&[0x5a; 64]).await?;
    ensure!(wire.raw(ACT_2).await?.len() == ACT_2, "any 64 bytes are a key");
    wire.send_raw(&[0x5a; 21]).await?;
    bystander.works().await?;
    // The record is complete only now.
    wire.send_raw(&[0x5a]).await?;
    ensure!(wire.until_closed().await?.is_empty(), "nothing is said to a stranger (N-20)");
    closed(&pool, "bad_mac", 1.0).await?;
    failed_handshakes(&pool, "bad_mac", 1.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn sv1_on_the_sv2_port_gets_no_answer_that_it_could_take_for_one() -> Result<()> {
    // N-23, N-24, N-22
    let pool = pool_with("handshake_timeout_s = 1").await?;
    let mut bystander = Bystander::of(&pool).await?;
    let line = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
    let mut short = Wire::clear(pool.sv2()?.address).await?;
    short.send_raw(line).await?;
    ensure!(short.until_closed().await?.is_empty());
    failed_handshakes(&pool, "handshake_timeout", 1.0).await?;
    let mut long = Wire::clear(pool.sv2()?.address).await?;
    long.send_raw(&line.repeat(2)).await?;
    ensure!(long.until_closed().await?.is_empty());
    closed(&pool, "early_bytes", 1.0).await?;
    // And the other way: the SV1 port tells a handshake from JSON.
    let mut wrong = Wire::clear(pool.sv1).await?;
    wrong.send_raw(&[0x5a; 64]).await?;
    wrong.send_raw(b"\n").await?;
    wrong.until_closed().await?;
    bystander.works().await
}

#[tokio::test]
async fn a_changed_or_repeated_record_ends_the_session_without_a_word() -> Result<()> {
    // N-20, N-32, N-33
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    for (place, reason) in [(3, "header"), (25, "payload")] {
        let mut client = Client::connect(pool.sv2()?).await?;
        let mut payload = Vec::new();
        submission(2, 1).encode(&mut payload);
        let mut bytes = client.wire().seal(messages::header_of::<SubmitSharesStandard>(24), &payload);
        bytes[place] ^= 1;
        client.wire().send_raw(&bytes).await?;
        ensure!(client.wire().until_closed().await?.is_empty(), "a changed {reason} is answered");
    }
    let mut client = Client::connect(pool.sv2()?).await?;
    let bytes = client.wire().seal(header(0x7000, 1, 0), &[]);
    client.wire().send_raw(&bytes).await?;
    client.wire().send_raw(&bytes).await?;
    ensure!(client.wire().until_closed().await?.is_empty(), "a repeated record is answered");
    closed(&pool, "bad_mac", 3.0).await?;
    // A record that ends early is an end like any other.
    let mut client = Client::connect(pool.sv2()?).await?;
    let bytes = client.wire().seal(header(0, SubmitSharesStandard::TYPE, 24), &[0; 24]);
    client.wire().send_raw(&bytes[..40]).await?;
    client.wire().half_close().await?;
    client.wire().until_closed().await?;
    closed(&pool, "peer", 1.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn what_is_too_long_is_refused_at_its_header() -> Result<()> {
    // F-13, F-28, C-2
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    let mut stranger = greeted(&pool).await?;
    let bytes = stranger.seal(header(0, 0, 0xff_ffff), &[]);
    stranger.send_raw(&bytes).await?;
    ensure!(stranger.until_closed().await?.is_empty());
    for (extension, message) in [(0, SubmitSharesStandard::TYPE), (0, 0x50), (0x1234, 0x01)] {
        let mut client = Client::connect(pool.sv2()?).await?;
        let bytes = client.wire().seal(header(extension, message, 0xff_ffff), &[]);
        client.wire().send_raw(&bytes).await?;
        ensure!(client.wire().until_closed().await?.is_empty());
    }
    closed(&pool, "oversized", 4.0).await?;
    failed_handshakes(&pool, "oversized", 1.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn messages_that_cannot_be_read_end_the_connection() -> Result<()> {
    // F-28, F-5, F-23
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    let short_share = (header(0, SubmitSharesStandard::TYPE, 23), vec![0; 23]);
    let no_channel = (FrameHeader { channel_message: true, ..header(0x1234, 1, 3) }, vec![0; 3]);
    let mut open = Vec::new();
    OpenStandardMiningChannel {
        request_id: 1,
        user_identity: b"x",
        nominal_hash_rate: 1.0,
        max_target: [0xff; 32],
    }
    .encode(&mut open);
    // The name is longer than what follows.
    open[4] = 200;
    let long_name = (header(0, OpenStandardMiningChannel::TYPE, u32::try_from(open.len())?), open);
    for (header, payload) in [short_share, no_channel, long_name] {
        let mut client = Client::connect(pool.sv2()?).await?;
        client.wire().send_frame(header, &payload).await?;
        ensure!(client.wire().until_closed().await?.is_empty(), "{header:?}");
    }
    closed(&pool, "malformed", 3.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn messages_out_of_order_end_the_connection() -> Result<()> {
    // S-1, S-15
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    let mut early = greeted(&pool).await?;
    early.send(&submission(2, 1)).await?;
    ensure!(early.until_closed().await?.is_empty());
    let mut twice = Client::connect(pool.sv2()?).await?;
    twice.wire().send(&setup(0)).await?;
    ensure!(twice.wire().until_closed().await?.is_empty());
    closed(&pool, "out_of_order", 2.0).await?;
    failed_handshakes(&pool, "out_of_order", 1.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn a_setup_that_cannot_be_is_answered_and_closed() -> Result<()> {
    // S-4 to S-8, S-14
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    let usual = setup(0);
    let cases = [
        (messages::SetupConnection { protocol: 1, ..usual }, "unsupported-protocol", 0),
        (messages::SetupConnection { protocol: 9, ..usual }, "unsupported-protocol", 0),
        (
            messages::SetupConnection { min_version: 3, max_version: 9, ..usual },
            "protocol-version-mismatch",
            0,
        ),
        (
            messages::SetupConnection { min_version: 2, max_version: 1, ..usual },
            "protocol-version-mismatch",
            0,
        ),
        (setup(2), "unsupported-feature-flags", 2),
        (setup(u32::MAX), "unsupported-feature-flags", !5),
    ];
    for (setup, code, flags) in cases {
        let mut wire = greeted(&pool).await?;
        wire.send(&setup).await?;
        let frames = wire.frames_until_closed().await?;
        let [frame] = frames.as_slice() else { anyhow::bail!("{} frames for {setup:?}", frames.len()) };
        let ServerMessage::SetupConnectionError(error) = frame.message()? else {
            anyhow::bail!("{setup:?}: {:?}", frame.message()?);
        };
        ensure!(error.error_code == code.as_bytes() && error.flags == flags, "{setup:?}: {error:?}");
    }
    closed(&pool, "setup_refused", 6.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn unknown_extensions_and_messages_are_passed_over_the_latter_not_for_ever() -> Result<()> {
    // F-9, F-10, F-8, J
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    let (mut client, channel) = Client::working(pool.sv2()?, Kind::Standard, &user()).await?;
    for channel_message in [false, true] {
        let header = FrameHeader { channel_message, ..header(0x4567, 0x22, 40) };
        client.wire().send_frame(header, &[7; 40]).await?;
    }
    strayed(&pool, "unknown_extension", 2.0).await?;
    // AllocateMiningJobToken, of another protocol.
    client.wire().send_frame(header(0, 0x50, 5), b"\0\x01\0\0\0").await?;
    strayed(&pool, "unknown_message", 1.0).await?;
    let job = client.job(channel).await?;
    let share = client.mine(&job)?;
    // A share that counts forgives what was before.
    client.submit_good(&share).await?;
    for _ in 0..33 {
        client.wire().send_frame(header(0, 0x51, 0), &[]).await?;
    }
    client.wire().frames_until_closed().await?;
    closed(&pool, "unknown_messages", 1.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn shares_for_channels_that_never_were_end_the_connection() -> Result<()> {
    // M-87
    let pool = pool().await?;
    let mut bystander = Bystander::of(&pool).await?;
    let mut client = Client::connect(pool.sv2()?).await?;
    for sequence in 1..=33 {
        // The last ones may find nobody.
        let _ = client.wire().send(&submission(4_000_000, sequence)).await;
    }
    let frames = client.wire().frames_until_closed().await?;
    ensure!(frames.len() >= 32, "{} of 33 are answered", frames.len());
    for (frame, sequence) in frames.iter().zip(1..) {
        let ServerMessage::SubmitSharesError(error) = frame.message()? else {
            anyhow::bail!("{:?}", frame.message()?);
        };
        let expected = (4_000_000, sequence, b"invalid-channel-id".as_slice());
        ensure!((error.channel_id, error.sequence_number, error.error_code) == expected, "{error:?}");
    }
    closed(&pool, "unknown_channels", 1.0).await?;
    bystander.works().await
}

#[tokio::test]
async fn a_flood_of_messages_ends_the_connection() -> Result<()> {
    // V1-83
    let pool = pool_with("messages_per_minute = 60").await?;
    let mut bystander = Bystander::of(&pool).await?;
    let mut client = Client::connect(pool.sv2()?).await?;
    let update = UpdateChannel { channel_id: 77, nominal_hash_rate: 1.0, maximum_target: [0xff; 32] };
    for _ in 0..1000 {
        if client.wire().send(&update).await.is_err() {
            break;
        }
    }
    let frames = client.wire().frames_until_closed().await?;
    ensure!(frames.len() < 100, "{} messages were answered", frames.len());
    closed(&pool, "flood", 1.0).await?;
    bystander.works().await
}

/// A peer that takes nothing for so long takes nothing more.
const STUCK: Duration = Duration::from_secs(2);
/// More than the system's buffers of both sides hold, in bytes.
const KERNEL_BUFFERS: usize = 128 << 20;

#[tokio::test]
async fn peers_that_do_not_read_do_not_hold_up_the_others() -> Result<()> {
    // V1-3, C-2
    let pool = pool_with("messages_per_minute = 1000000000").await?;
    let mut bystander = Bystander::of(&pool).await?;
    let (mut deaf, _) = Client::working(pool.sv2()?, Kind::Standard, &user()).await?;
    let update = UpdateChannel { channel_id: 77, nominal_hash_rate: 1.0, maximum_target: [0xff; 32] };
    // The pool stops reading, or closes: it does not keep answers without end.
    let mut sent = 0;
    while let Ok(Ok(())) = tokio::time::timeout(STUCK, deaf.wire().send(&update)).await {
        sent += FrameHeader::LENGTH + 40;
        ensure!(sent < KERNEL_BUFFERS, "{sent} bytes were taken from a peer that reads nothing");
    }
    bystander.works().await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await
}

#[tokio::test]
async fn a_run_of_bad_shares_closes_the_channel_and_then_the_connection() -> Result<()> {
    // V1-73, M-62, M-78
    let pool = pool_with("rejected_in_a_row = 20").await?;
    let mut bystander = Bystander::of(&pool).await?;
    let mut client = Client::connect(pool.sv2()?).await?;
    let bad = client.open(Kind::Standard, &user()).await?;
    let good = client.open(Kind::Standard, &user()).await?;
    expel(&mut client, bad).await?;
    // The other channel is somebody else's.
    let job = client.job(good).await?;
    let share = client.mine(&job)?;
    client.submit_good(&share).await?;
    expel(&mut client, good).await?;
    client.wire().frames_until_closed().await?;
    closed(&pool, "invalid_shares", 1.0).await?;
    bystander.works().await
}

/// Misses the target until the pool closes the channel.
async fn expel(client: &mut Client, channel: u32) -> Result<()> {
    use sluice_tests::sv2::Event;

    let job = client.job(channel).await?;
    for _ in 0..=20 {
        let share = client.mine_where(&job, |hash| !job.is_share(hash))?;
        client.submit(&share).await?;
    }
    let code = client
        .wait(|event| match event {
            Event::Closed { channel: closed, code } if *closed == channel => Some(code.clone()),
            _ => None,
        })
        .await?;
    ensure!(code == "too-many-invalid-shares", "{code}");
    Ok(())
}
