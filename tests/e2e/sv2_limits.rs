//! How many, how long, and what is asked for: quotas, time limits, bans, and openings that are refused.

use anyhow::{Context, Result, ensure};
use sluice_stratum_v2::messages::ServerMessage;
use sluice_tests::http;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Pool, Setup, address_after};
use sluice_tests::sv2::client::{Opening, setup};
use sluice_tests::sv2::{Client, Event, Kind, Wire};

const DIFFICULTY: f64 = 1e-6;

async fn pool_with(lines: &str) -> Result<Pool> {
    Pool::ready(Setup::without_blocks(DIFFICULTY).sv2_with(lines)).await
}

fn user() -> String {
    format!("{}.rig", address(7))
}

async fn works(pool: &Pool) -> Result<()> {
    let (mut client, channel) = Client::working(pool.sv2()?, Kind::Standard, &user()).await?;
    let job = client.job(channel).await?;
    let share = client.mine(&job)?;
    client.submit_good(&share).await
}

async fn closed(pool: &Pool, reason: &str, count: f64) -> Result<()> {
    let series = format!("sluice_connections_closed_total{{protocol=\"stratum_v2\",reason=\"{reason}\"}}");
    http::metric_reaches(pool.http, &series, count).await
}

async fn refused(pool: &Pool, cause: &str, count: f64) -> Result<()> {
    let series = format!("sluice_connections_refused_total{{protocol=\"stratum_v2\",cause=\"{cause}\"}}");
    http::metric_reaches(pool.http, &series, count).await
}

async fn channel_refused(pool: &Pool, code: &str, count: f64) -> Result<()> {
    let series = format!("sluice_channels_refused_total{{protocol=\"stratum_v2\",code=\"{code}\"}}");
    http::metric_reaches(pool.http, &series, count).await
}

#[tokio::test]
async fn openings_that_cannot_be_are_refused_with_their_code_and_the_connection_stays() -> Result<()> {
    // M-12 to M-15, F-27, C-1
    let pool = pool_with("").await?;
    let user = user();
    let mut client = Client::connect(pool.sv2()?).await?;
    let standard = || Opening::of(Kind::Standard, &user);
    let extended = || Opening::of(Kind::Extended, &user);
    let rate = |hash_rate| Opening { hash_rate, ..Opening::of(Kind::Standard, &user) };
    let hard = {
        let mut target = [0; 32];
        target[0] = 1;
        target
    };
    let cases = [
        (rate(f32::NAN), "invalid-nominal-hashrate"),
        (rate(f32::INFINITY), "invalid-nominal-hashrate"),
        (rate(-1.0), "invalid-nominal-hashrate"),
        (Opening { hash_rate: f32::NAN, ..extended() }, "invalid-nominal-hashrate"),
        (Opening { max_target: [0; 32], ..standard() }, "max-target-out-of-range"),
        (Opening { max_target: hard, ..standard() }, "max-target-out-of-range"),
        (Opening { extranonce_size: 33, ..extended() }, "min-extranonce-size-too-large"),
        (Opening { extranonce_size: u16::MAX, ..extended() }, "min-extranonce-size-too-large"),
        (Opening { user: b"nobody-at-all", ..standard() }, "unknown-user"),
        (Opening { user: b"\xff\xfe", ..standard() }, "invalid-user-identity"),
        (Opening { user: b"a\x1b[31m", ..standard() }, "invalid-user-identity"),
    ];
    for (opening, code) in cases {
        let outcome = client.try_open(&opening).await.with_context(|| format!("{opening:?}"))?;
        ensure!(outcome == Err(code.to_owned()), "{opening:?}: {outcome:?}, not {code}");
    }
    channel_refused(&pool, "invalid-nominal-hashrate", 4.0).await?;
    channel_refused(&pool, "unknown-user", 1.0).await?;
    for kind in [Kind::Standard, Kind::Extended] {
        let channel = client.open(kind, &user).await?;
        let job = client.job(channel).await?;
        let share = client.mine(&job)?;
        client.submit_good(&share).await?;
    }
    Ok(())
}

#[tokio::test]
async fn devices_that_want_standard_jobs_get_nothing_else() -> Result<()> {
    // M-33, M-19
    let pool = pool_with("").await?;
    let endpoint = pool.sv2()?;
    let wire = Wire::connect(endpoint.address, Some(endpoint.authority)).await?;
    let mut client = Client::set_up(wire, 1).await?;
    let user = user();
    let outcome = client.try_open(&Opening::of(Kind::Extended, &user)).await?;
    ensure!(outcome == Err("extended-channels-not-supported-for-standard-jobs".to_owned()), "{outcome:?}");
    for _ in 0..2 {
        let channel = client.open(Kind::Standard, &user).await?;
        let job = client.job(channel).await?;
        let share = client.mine(&job)?;
        client.submit_good(&share).await?;
    }
    Ok(())
}

#[tokio::test]
async fn floods_of_openings_find_the_quota() -> Result<()> {
    // M-8, C-5
    let pool = pool_with("channels_per_connection = 8").await?;
    let user = user();
    let mut client = Client::connect(pool.sv2()?).await?;
    for number in 0..500 {
        let kind = if number % 2 == 0 { Kind::Standard } else { Kind::Extended };
        client.ask(&Opening::of(kind, &user)).await?;
    }
    let (mut opened, mut full) = (Vec::new(), 0);
    while opened.len() + full < 500 {
        match client.event_within(sluice_tests::SOON).await?.context("closed")? {
            Event::Opened { channel, .. } => opened.push(channel),
            Event::OpenRefused { code, .. } => {
                ensure!(code == "channel-capacity-exhausted", "{code}");
                full += 1;
            }
            _ => {}
        }
    }
    ensure!(opened.len() == 8, "{} channels were opened", opened.len());
    channel_refused(&pool, "channel-capacity-exhausted", 492.0).await?;
    // Who closes one may open another, but a flood has used up its openings for a while.
    client.close(opened[0]).await?;
    let outcome = client.try_open(&Opening::of(Kind::Extended, &user)).await?;
    ensure!(outcome == Err("channel-capacity-exhausted".to_owned()), "{outcome:?}");
    let mut calm = Client::connect(pool.sv2()?).await?;
    for _ in 0..8 {
        opened.push(calm.open(Kind::Standard, &user).await?);
    }
    let last = opened[opened.len() - 1];
    calm.close(last).await?;
    ensure!(calm.open(Kind::Extended, &user).await? > last, "a number twice (M-5)");
    works(&pool).await
}

#[tokio::test]
async fn the_pool_as_a_whole_has_a_quota_of_channels() -> Result<()> {
    // M-8
    let pool = pool_with("channels_per_connection = 4\nmax_channels = 6").await?;
    let user = user();
    let mut first = Client::connect(pool.sv2()?).await?;
    let mut second = Client::connect(pool.sv2()?).await?;
    for client in [&mut first, &mut second] {
        for _ in 0..3 {
            client.open(Kind::Standard, &user).await?;
        }
    }
    let outcome = first.try_open(&Opening::of(Kind::Standard, &user)).await?;
    ensure!(outcome == Err("channel-capacity-exhausted".to_owned()), "{outcome:?}");
    drop(second);
    http::json_until(pool.http, "/api/v1/pool", sluice_tests::SOON, |info| {
        (info["connections"]["stratum_v2"] == 1).then_some(())
    })
    .await?;
    first.open(Kind::Standard, &user).await.map(drop)
}

#[tokio::test]
async fn half_open_peers_are_closed_in_time() -> Result<()> {
    // N-22, S-16, C-3
    let lines = "handshake_timeout_s = 1\nsetup_timeout_s = 1\nchannel_timeout_s = 1";
    let pool = pool_with(lines).await?;
    let endpoint = pool.sv2()?;
    // Says nothing; says half of Act 1; goes silent behind Act 2; opens no channel.
    let mut silent = Wire::clear(endpoint.address).await?;
    let mut half = Wire::clear(endpoint.address).await?;
    half.send_raw(&[1; 32]).await?;
    let mut greeted = Wire::connect(endpoint.address, Some(endpoint.authority)).await?;
    let mut idle = Client::connect(endpoint).await?;
    for wire in [&mut silent, &mut half, &mut greeted, idle.wire()] {
        ensure!(wire.until_closed().await?.is_empty());
    }
    closed(&pool, "handshake_timeout", 3.0).await?;
    closed(&pool, "no_channel", 1.0).await?;
    let failed = "sluice_handshakes_failed_total{protocol=\"stratum_v2\",reason=\"handshake_timeout\"}";
    http::metric_reaches(pool.http, failed, 3.0).await?;
    // Who closes its last channel is as one who never had any.
    let (mut client, channel) = Client::working(endpoint, Kind::Standard, &user()).await?;
    client.close(channel).await?;
    client.wire().until_closed().await?;
    closed(&pool, "no_channel", 2.0).await?;
    works(&pool).await
}

#[tokio::test]
async fn unfinished_handshakes_are_bounded() -> Result<()> {
    // N-22
    let pool = pool_with("max_unfinished_handshakes = 3\nhandshake_timeout_s = 2").await?;
    let address = pool.sv2()?.address;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(Wire::clear(address).await?);
    }
    let opened = "sluice_connections_opened_total{protocol=\"stratum_v2\"}";
    http::metric_reaches(pool.http, opened, 3.0).await?;
    let mut fourth = Wire::clear(address).await?;
    ensure!(fourth.until_closed().await?.is_empty());
    refused(&pool, "full", 1.0).await?;
    for wire in &mut waiting {
        wire.until_closed().await?;
    }
    works(&pool).await
}

#[tokio::test]
async fn three_offences_ban_an_address_from_sv2_alone() -> Result<()> {
    // V1-82
    let pool = pool_with("never_ban = []\nban_s = 3").await?;
    let endpoint = pool.sv2()?;
    for _ in 0..3 {
        let mut wire = Wire::connect(endpoint.address, Some(endpoint.authority)).await?;
        let bytes = wire.seal(
            sluice_stratum_v2::messages::header_of::<sluice_stratum_v2::messages::SubmitSharesStandard>(24),
            &[0; 24],
        );
        wire.send_raw(&bytes).await?;
        wire.until_closed().await?;
    }
    http::metric_reaches(pool.http, "sluice_bans_total{protocol=\"stratum_v2\"}", 1.0).await?;
    let mut banned = Wire::clear(endpoint.address).await?;
    ensure!(banned.until_closed().await?.is_empty());
    refused(&pool, "banned", 1.0).await?;
    let mut miner = Miner::working(pool.sv1, &user()).await?;
    let job = miner.job().await?;
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await?;
    // It passes.
    let welcome = async {
        while Client::connect(endpoint).await.is_err() {
            tokio::time::sleep(sluice_tests::POLL).await;
        }
    };
    tokio::time::timeout(sluice_tests::SOON, welcome).await.context("it stays banned")
}

#[tokio::test]
async fn acknowledgements_come_by_count_and_by_time_and_add_up() -> Result<()> {
    // M-80 to M-84
    let setup = Setup::without_blocks(2.4e-10).sv2_with("acknowledge_shares = 8\nacknowledge_after_ms = 300");
    let pool = Pool::ready(setup).await?;
    let (mut client, channel) = Client::working(pool.sv2()?, Kind::Standard, &user()).await?;
    let job = client.job(channel).await?;
    let mut last = 0;
    for _ in 0..100 {
        let share = client.mine(&job)?;
        last = client.submit(&share).await?;
    }
    let (mut count, mut messages) = (0, 0);
    while count < 100 {
        if let Event::Acknowledged(success) =
            client.event_within(sluice_tests::SOON).await?.context("closed")?
        {
            count += success.new_submits_accepted_count;
            messages += 1;
            ensure!(success.channel_id == channel && success.last_sequence_number <= last, "{success:?}");
            ensure!(count < 100 || success.last_sequence_number == last, "{success:?}");
        }
    }
    ensure!(count == 100 && messages < 50, "{messages} messages for {count} shares");
    let shares = "sluice_shares_acknowledged_total{protocol=\"stratum_v2\"}";
    http::metric_reaches(pool.http, shares, 100.0).await
}

#[tokio::test]
async fn the_labs_listener_speaks_in_the_clear() -> Result<()> {
    // N-1
    let pool = pool_with("plain_text_listen = \"127.0.0.1:0\"").await?;
    let said = |line: &str| line.contains("plain text").then(|| address_after(line, "tcp://"))?;
    let address = pool.output().find(sluice_tests::SOON, said).await?;
    let mut client = Client::set_up(Wire::clear(address).await?, 0).await?;
    let channel = client.open(Kind::Extended, &user()).await?;
    let job = client.job(channel).await?;
    let share = client.mine(&job)?;
    client.submit_good(&share).await?;
    let mut wire = Wire::clear(address).await?;
    wire.send(&setup(2)).await?;
    let frames = wire.frames_until_closed().await?;
    let first = frames.first().context("no answer")?;
    ensure!(matches!(first.message()?, ServerMessage::SetupConnectionError(_)));
    Ok(())
}
