//! A client of SRI's crates in front of the pool. SRI keeps the channels' books and judges each share on its own; every
//! disagreement fails a test.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bitcoin::{BlockHash, Target};
use sluice_interop::client::{
    Client, REQUIRES_STANDARD_JOBS, REQUIRES_VERSION_ROLLING, REQUIRES_WORK_SELECTION, Setup as Outcome,
    WORKER_EXTENSION,
};
use sluice_interop::miner::{Event, Miner, Opening, Share};
use sluice_interop::pool::Sluice;
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::address;
use sluice_tests::pool::{Chain, Difficulty, Payout, Setup};
use sluice_tests::{SOON, http};
use stratum_apps::key_utils::Secp256k1PublicKey;
use stratum_apps::stratum_core::channels_sv2::client::share_accounting::ShareValidationError;
use stratum_apps::stratum_core::mining_sv2::{OpenMiningChannelErrorOwned, OpenStandardMiningChannelOwned};
use stratum_apps::stratum_core::parsers_sv2::MiningOwned;

/// A share takes some four thousand hashes.
const DIFFICULTY: f64 = 1e-6;

fn user(number: u32) -> String {
    address(number).to_string()
}

async fn connect(sluice: &Sluice) -> Result<Client> {
    Client::connect(sluice.address, sluice.authority).await
}

async fn miner(sluice: &Sluice, flags: u32) -> Result<Miner> {
    let mut client = connect(sluice).await?;
    client.set_up(flags).await?;
    Ok(Miner::new(client))
}

/// Mines and submits `count` shares, with all that comes in between taken over.
async fn mine(miner: &mut Miner, channel: u32, count: u32) -> Result<()> {
    for _ in 0..count {
        let share = miner.mine(channel)?;
        miner.submit(&share).await?;
        miner.catch_up()?;
    }
    Ok(())
}

async fn refusal(miner: &mut Miner) -> Result<OpenMiningChannelErrorOwned> {
    miner.until(|event| if let Event::OpenRefused(error) = event { Some(error) } else { None }).await
}

/// A chain that the pool makes up, with a block every other second; blocks are too hard for miners.
fn moving(payout: Payout) -> Setup {
    let chain =
        Chain::Simulated { difficulty: 1e9, transactions: 20, block_interval: Some(Duration::from_secs(2)) };
    Setup { payout, ..Setup::new(chain, Difficulty::fixed(DIFFICULTY)) }
}

#[tokio::test]
async fn standard_channels_mine() -> Result<()> {
    let sluice = Sluice::start(Setup::without_blocks(DIFFICULTY)).await?;
    // M-33: everything comes to each channel by itself.
    let mut miner = miner(&sluice, REQUIRES_STANDARD_JOBS | REQUIRES_VERSION_ROLLING).await?;
    let first = miner.open_standard(&user(1)).await?;
    let second = miner.open_standard(&format!("{}.rig", user(2))).await?;
    ensure!(miner.channel(first)?.extranonce() != miner.channel(second)?.extranonce(), "M-1");
    for channel in [first, second] {
        mine(&mut miner, channel, 40).await?;
    }
    for channel in [first, second] {
        miner.settle(channel).await?;
        ensure!(miner.batches[&channel] >= 2, "M-84: 40 shares come in several batches");
    }
    // M-19.
    miner.ask_extended(&Opening::by(&user(3)), 4).await?;
    let code = refusal(&mut miner).await?.error_code.as_utf8_or_hex();
    ensure!(code == "extended-channels-not-supported-for-standard-jobs", "{code}");
    // It was one refusal, not the end.
    mine(&mut miner, first, 3).await?;
    miner.settle(first).await
}

#[tokio::test]
async fn extended_channels_mine() -> Result<()> {
    let sluice = Sluice::start(Setup::without_blocks(DIFFICULTY)).await?;
    for flags in [REQUIRES_VERSION_ROLLING, 0] {
        let mut miner = miner(&sluice, flags).await?;
        let channel = miner.open_extended(&user(1), 2).await?;
        let (prefix, size) = miner.channel(channel)?.extranonce();
        ensure!(
            !prefix.is_empty() && size >= 6,
            "M-15: SRI's translator wants 6 for itself and its miners: {size}"
        );
        mine(&mut miner, channel, 40).await?;
        miner.settle(channel).await?;
        // M-15.
        miner.ask_extended(&Opening::by(&user(1)), 33).await?;
        let code = refusal(&mut miner).await?.error_code.as_utf8_or_hex();
        ensure!(code == "min-extranonce-size-too-large", "{code}");
    }
    Ok(())
}

/// Three channels of two kinds and two users on one connection, over a few blocks.
async fn mine_in_a_group(payout: Payout) -> Result<(u32, Vec<u32>)> {
    let sluice = Sluice::start(moving(payout)).await?;
    let mut miner = miner(&sluice, 0).await?;
    // M-24: each comes in while the others work.
    let channels = [
        miner.open_extended(&user(1), 4).await?,
        miner.open_standard(&user(2)).await?,
        miner.open_extended(&user(1), 8).await?,
    ];
    let groups: Vec<_> = miner.groups().collect();
    let [(group, members)] = &groups[..] else { bail!("M-6: one group, not {groups:?}") };
    ensure!(members.len() == 3 && channels.iter().all(|channel| members.contains(channel)));
    let mut addressed = Vec::new();
    for _ in 0..3 {
        let before = miner.channel(channels[0])?.previous()?;
        // Until all are on the next tip.
        loop {
            let tips =
                channels.iter().map(|id| miner.channel(*id)?.previous()).collect::<Result<Vec<_>>>()?;
            if tips.iter().all(|tip| *tip != before && *tip == tips[0]) {
                break;
            }
            if let Event::Tip(id) = miner.event().await? {
                addressed.push(id);
            }
        }
        for channel in channels {
            // Within the block, or what SRI thinks good is stale by the time it arrives.
            let share = miner.mine(channel)?;
            miner.submit(&share).await?;
        }
    }
    for channel in channels {
        miner.settle(channel).await?;
    }
    Ok((*group, addressed))
}

#[tokio::test]
async fn a_group_is_told_once_where_all_share_a_coinbase() -> Result<()> {
    let (group, addressed) = mine_in_a_group(Payout::Pplns { fee_bps: 0, window: 2.0 }).await?;
    // M-34, M-45.
    ensure!(addressed.iter().all(|id| *id == group), "tips came to {addressed:?}, the group is {group}");
    Ok(())
}

#[tokio::test]
async fn a_group_is_told_one_by_one_where_each_has_its_own_coinbase() -> Result<()> {
    // M-102.
    let (group, addressed) = mine_in_a_group(Payout::Solo { fee_bps: 0 }).await?;
    ensure!(!addressed.contains(&group), "the group was sent one user's coinbase: {addressed:?}");
    Ok(())
}

#[tokio::test]
async fn workers_of_one_channel_are_told_apart() -> Result<()> {
    let sluice = Sluice::start(Setup::without_blocks(DIFFICULTY)).await?;
    let mut client = connect(&sluice).await?;
    client.set_up(REQUIRES_VERSION_ROLLING).await?;
    // E-1, E-3: what is not there is left out.
    let supported = client.request_extensions(&[0x3fff, WORKER_EXTENSION]).await?;
    ensure!(supported == [WORKER_EXTENSION], "{supported:04x?}");
    let mut miner = Miner::new(client);
    let channel = miner.open_extended(&format!("{}.proxy", user(1)), 4).await?;
    for (worker, count) in [(Some("north"), 3), (Some("south"), 2), (Some("süd"), 1), (None, 1)] {
        for _ in 0..count {
            let share = miner.mine(channel)?;
            match worker {
                Some(worker) => miner.submit_as(&share, worker).await?,
                // E-21; and a name that the ledger does not take counts for the channel's own worker too.
                None => miner.submit(&share).await?,
            }
        }
    }
    miner.settle(channel).await?;
    let shares = |workers: &serde_json::Value, name: &str| {
        let mut workers = workers.as_array()?.iter();
        workers.find(|worker| worker["worker"] == name && worker["account"] == user(1))?["shares"].as_u64()
    };
    let counts = |workers: &serde_json::Value| {
        Some([shares(workers, "north")?, shares(workers, "south")?, shares(workers, "proxy")?])
            .filter(|counts| counts.iter().sum::<u64>() == 7)
    };
    let counts = http::json_until(sluice.pool.http, "/api/v1/workers", SOON, counts).await?;
    ensure!(counts == [3, 2, 2], "{counts:?}");
    // E-20: the name is longer than it may be.
    let share = miner.search(channel, |_| true)?;
    miner.submit_as(&share, &"x".repeat(33)).await?;
    let error =
        miner.until(|event| if let Event::ShareRefused(error) = event { Some(error) } else { None }).await?;
    ensure!(error.error_code.as_utf8_or_hex() == "invalid-share", "F-42: {error:?}");
    Ok(())
}

#[tokio::test]
async fn extensions_that_nobody_has_are_refused() -> Result<()> {
    let sluice = Sluice::start(Setup::without_blocks(DIFFICULTY)).await?;
    let mut client = connect(&sluice).await?;
    client.set_up(0).await?;
    // E-3, E-4.
    let error = client.refused_extensions(&[0x3ffe, 0x3fff]).await?;
    ensure!(error.unsupported_extensions.into_inner() == [0x3ffe, 0x3fff]);
    ensure!(error.required_extensions.is_empty(), "E-6");
    ensure!(client.request_extensions(&[]).await?.is_empty());
    let mut miner = Miner::new(client);
    let channel = miner.open_extended(&user(1), 4).await?;
    mine(&mut miner, channel, 3).await?;
    miner.settle(channel).await
}

#[tokio::test]
async fn targets_follow_update_channel() -> Result<()> {
    let difficulty = Difficulty { start: DIFFICULTY, floor: DIFFICULTY, ceiling: 1e-4 };
    let setup = Setup { difficulty, ..Setup::without_blocks(DIFFICULTY) };
    let sluice = Sluice::start(setup).await?;
    let mut miner = miner(&sluice, 0).await?;
    // So slow that vardiff leaves it at the floor.
    let user = user(1);
    let opening = Opening { hashrate: 1.0, ..Opening::by(&user) };
    miner.ask_extended(&opening, 4).await?;
    let channel = miner.until(|event| if let Event::Opened(id) = event { Some(id) } else { None }).await?;
    miner.until(|event| matches!(event, Event::Tip(_)).then_some(())).await?;
    mine(&mut miner, channel, 5).await?;
    miner.settle(channel).await?;

    // M-54: followed, with work that has it (M-52); the jobs before keep theirs (M-51).
    let harder = target_of(2e-5);
    miner.update(channel, 1.0, harder).await?;
    miner.until(|event| matches!(event, Event::Retargeted(id) if id == channel).then_some(())).await?;
    ensure!(miner.channel(channel)?.target() <= harder, "M-14");
    let before = miner.channel(channel)?.work()?.target;
    ensure!(before > harder, "SRI freezes a job's target too");
    mine(&mut miner, channel, 1).await?;
    while miner.channel(channel)?.work()?.target > harder {
        miner.event().await?;
    }
    mine(&mut miner, channel, 5).await?;
    miner.settle(channel).await?;

    // M-55.
    for (id, hashrate, max_target, expected) in [
        (channel + 77, 1.0, harder, "invalid-channel-id"),
        (channel, f32::NAN, harder, "invalid-nominal-hashrate"),
        (channel, -1.0, harder, "invalid-nominal-hashrate"),
        (channel, 1.0, Target::ZERO, "max-target-out-of-range"),
    ] {
        miner.update(id, hashrate, max_target).await?;
        let refused = |event| if let Event::UpdateRefused(error) = event { Some(error) } else { None };
        let error = miner.until(refused).await?;
        ensure!(error.channel_id == id && error.error_code.as_utf8_or_hex() == expected, "{error:?}");
    }
    mine(&mut miner, channel, 2).await?;
    miner.settle(channel).await
}

/// `0xffff * 2^208 / difficulty`.
fn target_of(difficulty: f64) -> Target {
    let mut bytes = [0; 32];
    // The upper 64 bits of 256 will do.
    let top = 65_535.0 * 2f64.powi(16) / difficulty;
    bytes[..8].copy_from_slice(&(top as u64).to_be_bytes());
    Target::from_be_bytes(bytes)
}

#[tokio::test]
async fn closed_channels_are_silent() -> Result<()> {
    let sluice = Sluice::start(moving(Payout::Solo { fee_bps: 0 })).await?;
    let mut miner = miner(&sluice, 0).await?;
    let (closed, open) = (miner.open_standard(&user(1)).await?, miner.open_extended(&user(2), 4).await?);
    let late = miner.search(closed, |_| true)?;
    miner.close(closed).await?;
    // M-60: not even for a share.
    miner.submit(&late).await?;
    let answered = unknown_job(&miner.search(open, |_| true)?);
    let code = miner.submit_bad(&answered).await?;
    ensure!(code == "invalid-job-id", "{code}");
    // What was sent before the close has arrived: from here on SRI takes any message for that channel as a mistake.
    miner.forget(closed);
    for _ in 0..2 {
        miner.until(|event| matches!(event, Event::Tip(id) if id == open).then_some(())).await?;
    }
    let another = miner.open_standard(&user(3)).await?;
    let [(group, _)] = miner.groups().collect::<Vec<_>>()[..] else { bail!("one group") };
    // M-61: all of them; the connection stays.
    miner.close(group).await?;
    let last = miner.open_standard(&user(4)).await?;
    for id in [open, another] {
        miner.forget(id);
    }
    miner.until(|event| matches!(event, Event::Tip(id) if id == last).then_some(())).await?;
    let share = miner.mine(last)?;
    miner.submit(&share).await?;
    miner.settle(last).await
}

#[tokio::test]
async fn connections_that_cannot_be_served_are_refused() -> Result<()> {
    let sluice = Sluice::start(Setup::without_blocks(DIFFICULTY)).await?;
    // S-6 to S-8: the answer is the full set of what is missing.
    for flags in [REQUIRES_WORK_SELECTION, u32::MAX] {
        let mut client = connect(&sluice).await?;
        let Outcome::Refused(error) = client.try_set_up(flags).await? else {
            bail!("{flags:#b} was accepted")
        };
        let code = error.error_code.as_utf8_or_hex();
        ensure!(code == "unsupported-feature-flags", "{code}");
        ensure!(
            error.flags == flags & !(REQUIRES_STANDARD_JOBS | REQUIRES_VERSION_ROLLING),
            "{:#b}",
            error.flags
        );
        ensure!(client.next_within(SOON).await?.is_none(), "S-14: the connection stays");
    }
    // S-1: something else first.
    let mut client = connect(&sluice).await?;
    let message = OpenStandardMiningChannelOwned {
        request_id: 1,
        user_identity: sluice_interop::client::text(&user(1))?,
        nominal_hash_rate: 1.0,
        max_target: [0xff; 32].into(),
    };
    client.send_mining(MiningOwned::OpenStandardMiningChannel(message)).await?;
    ensure!(client.next_within(SOON).await?.is_none(), "a channel before SetupConnection");
    // N-14: another pool's key.
    let other: Secp256k1PublicKey =
        "9cXKNmuV9HaH3L6bvFC5KXMVZgbUUgXrETfkiw58DFXw45JDDvr".parse().map_err(|error| anyhow!("{error}"))?;
    ensure!(Client::connect(sluice.address, other).await.is_err(), "SRI did not look at the certificate");
    Ok(())
}

#[tokio::test]
async fn users_that_are_not_known_are_refused() -> Result<()> {
    let sluice = Sluice::start(Setup::without_blocks(DIFFICULTY)).await?;
    let mut miner = miner(&sluice, 0).await?;
    for (opening, expected) in [
        (Opening::by("nobody"), "unknown-user"),
        (Opening::by("a\u{7}b"), "invalid-user-identity"),
        (Opening { hashrate: f32::NAN, ..Opening::by(&user(1)) }, "invalid-nominal-hashrate"),
        (Opening { hashrate: f32::INFINITY, ..Opening::by(&user(1)) }, "invalid-nominal-hashrate"),
        (Opening { max_target: Target::ZERO, ..Opening::by(&user(1)) }, "max-target-out-of-range"),
    ] {
        let request = miner.ask_standard(&opening).await?;
        let error = refusal(&mut miner).await?;
        ensure!(error.request_id == request, "M-11");
        let code = error.error_code.as_utf8_or_hex();
        ensure!(code == expected, "{opening:?}: {code}");
    }
    // M-12: the connection stays.
    let channel = miner.open_standard(&user(1)).await?;
    mine(&mut miner, channel, 2).await?;
    miner.settle(channel).await
}

/// A share with something changed in it, whatever its kind.
macro_rules! altered {
    ($share:expr, |$fields:ident| $change:expr) => {{
        let mut share: Share = $share.clone();
        match &mut share.message {
            MiningOwned::SubmitSharesStandard($fields) => $change,
            MiningOwned::SubmitSharesExtended($fields) => $change,
            other => unreachable!("{other}"),
        }
        share
    }};
}

fn unknown_job(share: &Share) -> Share {
    altered!(share, |fields| fields.job_id = fields.job_id.wrapping_add(1_000_000))
}

/// The code that SRI has for its opinion.
fn code_of(error: &ShareValidationError) -> &'static str {
    match error {
        ShareValidationError::Invalid(code)
        | ShareValidationError::Stale(code)
        | ShareValidationError::InvalidJobId(code)
        | ShareValidationError::DoesNotMeetTarget(code)
        | ShareValidationError::VersionRollingNotAllowed(code)
        | ShareValidationError::DuplicateShare(code)
        | ShareValidationError::BadExtranonceSize(code) => code,
        ShareValidationError::NoChainTip => "no-chain-tip",
    }
}

/// Submits what SRI thinks bad; the pool must think the same. `ours`: where the pool has a code of its own.
async fn refused_by_both(miner: &mut Miner, channel: u32, share: &Share, ours: Option<&str>) -> Result<()> {
    let Err(error) = miner.judge(channel, share)? else { bail!("SRI thinks it good: {share:?}") };
    let code = miner.submit_bad(share).await?;
    ensure!(code == ours.unwrap_or(code_of(&error)), "SRI says {}, the pool {code}", code_of(&error));
    Ok(())
}

/// The current tip of the channel, left behind.
async fn next_tip(miner: &mut Miner, channel: u32) -> Result<BlockHash> {
    let before = miner.channel(channel)?.previous()?;
    while miner.channel(channel)?.previous()? == before {
        miner.event().await?;
    }
    miner.channel(channel)?.previous()
}

#[tokio::test]
async fn bad_shares_are_bad_to_both() -> Result<()> {
    let chain =
        Chain::Simulated { difficulty: 1e9, transactions: 20, block_interval: Some(Duration::from_secs(5)) };
    let sluice = Sluice::start(Setup::new(chain, Difficulty::fixed(DIFFICULTY))).await?;
    let mut miner = miner(&sluice, 0).await?;
    let channels = [miner.open_standard(&user(1)).await?, miner.open_extended(&user(2), 4).await?];
    for channel in channels {
        // On a tip that is fresh, for time.
        next_tip(&mut miner, channel).await?;
        let target = miner.channel(channel)?.work()?.target;
        let good = miner.mine(channel)?;
        miner.submit(&good).await?;
        refused_by_both(&mut miner, channel, &good, None).await.context("M-86: the same again")?;
        let low = miner.search(channel, |hash| !target.is_met_by(hash))?;
        refused_by_both(&mut miner, channel, &low, None).await.context("M-77: above the target")?;
        refused_by_both(&mut miner, channel, &unknown_job(&low), None).await.context("M-72: no such job")?;
        let version = altered!(low, |fields| fields.version ^= 1);
        refused_by_both(&mut miner, channel, &version, None).await.context("M-76: not a bit to roll")?;
        let early = altered!(low, |fields| fields.ntime = 1_000_000_000);
        refused_by_both(&mut miner, channel, &early, Some("invalid-ntime"))
            .await
            .context("M-75: too early")?;
        let far = altered!(low, |fields| fields.ntime += 7_300);
        refused_by_both(&mut miner, channel, &far, Some("invalid-ntime"))
            .await
            .context("M-75: too far ahead")?;
        if let MiningOwned::SubmitSharesExtended(share) = &low.message {
            let mut share = share.clone();
            share.extranonce = share.extranonce.as_bytes()[1..].to_vec().try_into().expect("shorter");
            let short = Share { message: MiningOwned::SubmitSharesExtended(share), ..low.clone() };
            refused_by_both(&mut miner, channel, &short, None).await.context("M-71: a byte is missing")?;
        }
        let stale = miner.search(channel, |hash| target.is_met_by(hash))?;
        next_tip(&mut miner, channel).await?;
        // The pool's clock counts milliseconds: some of them.
        mine(&mut miner, channel, 20).await?;
        miner.settle(channel).await?;
        refused_by_both(&mut miner, channel, &stale, None).await.context("M-41: of the block before")?;
    }
    Ok(())
}

#[tokio::test]
async fn blocks_reach_the_chain() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("SRI's client on regtest").await? else { return Ok(()) };
    let payout = Payout::Solo { fee_bps: 100 };
    let sluice = Sluice::start(Setup::on_nodes(vec![node.access()], payout)).await?;
    let mut miner = miner(&sluice, 0).await?;
    let standard = miner.open_standard(&user(1)).await?;
    let extended = miner.open_extended(&format!("{}.rig", user(2)), 4).await?;
    let mut height = 0;
    for (channel, payee) in [(standard, address(1)), (extended, address(2)), (standard, address(1))] {
        let best = node.best()?;
        while miner.channel(channel)?.previous()? != best {
            miner.event().await?;
        }
        let share = miner.mine_block(channel)?;
        miner.submit(&share).await?;
        ensure!(node.best_other_than(best).await? == share.hash, "another block than SRI's client found");
        height += 1;
        ensure!(node.height()? == height);
        let block = node.block(&share.hash)?;
        let payee = payee.script_pubkey();
        let paid = block.txdata[0].output.iter().find(|output| output.script_pubkey == payee);
        let paid = paid.context("the finder is not paid")?.value.to_sat();
        ensure!(paid == 4_950_000_000, "the finder gets {paid}");
        // M-85: not after a second, with others.
        miner.settle(channel).await?;
    }
    Ok(())
}
