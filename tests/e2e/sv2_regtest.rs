//! Blocks over SV2 on a real node: what their coinbases pay, and whose they are in the books.

use anyhow::{Context, Result, ensure};
use bitcoin::{Block, BlockHash, ScriptBuf};
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{HOUSE, Payout, Pool, Setup};
use sluice_tests::sv2::{Client, Job, Kind, Share};
use sluice_tests::{SOON, http, ledger, spend};

const SUBSIDY: u64 = 5_000_000_000;

fn house() -> Result<ScriptBuf> {
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = HOUSE.parse()?;
    Ok(address.require_network(bitcoin::Network::Regtest)?.script_pubkey())
}

/// What a coinbase pays, without the witness commitment, in order.
fn paid(block: &Block) -> Result<Vec<(ScriptBuf, u64)>> {
    let coinbase = block.txdata.first().context("a block without a coinbase")?;
    let outputs = coinbase.output.iter().filter(|output| !output.script_pubkey.is_op_return());
    let mut paid: Vec<_> =
        outputs.map(|output| (output.script_pubkey.clone(), output.value.to_sat())).collect();
    paid.sort();
    Ok(paid)
}

fn hash_of(share: &Share) -> BlockHash {
    bitcoin::hashes::Hash::from_byte_array(share.hash)
}

/// Mines a block over a channel, and returns it as the node has it, and the job it was made of.
async fn mine_through(node: &Bitcoind, client: &mut Client, channel: u32) -> Result<(Block, Job)> {
    let best = node.best()?;
    let tip: &[u8; 32] = best.as_ref();
    let job = client.next_job(channel, |job| job.previous == *tip).await?;
    let share = client.mine_where(&job, |hash| job.is_block(hash))?;
    client.submit_good(&share).await?;
    let found = node.best_other_than(best).await?;
    ensure!(found == hash_of(&share), "the node's best block is {found}, not the miner's");
    Ok((node.block(&found)?, job))
}

#[tokio::test]
async fn solo_channels_of_one_connection_have_coinbases_of_their_own() -> Result<()> {
    // M-102, M-18, M-85
    let Some(node) = Bitcoind::start_or_skip("solo over SV2 on regtest").await? else { return Ok(()) };
    node.generate(20, &spend::anyones_address())?;
    let setup = Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 150 }).sv2();
    let pool = Pool::ready(setup).await?;
    let mut client = Client::connect(pool.sv2()?).await?;
    let mut channels = Vec::new();
    for (number, kind) in [(1, Kind::Standard), (2, Kind::Extended), (3, Kind::Standard), (4, Kind::Extended)]
    {
        let user = format!("{}.rig", address(number));
        channels.push((client.open(kind, &user).await?, kind, address(number)));
    }
    let fee = 75_000_000;
    for (channel, kind, payee) in &channels {
        let (block, job) = mine_through(&node, &mut client, *channel).await?;
        let mut expected = vec![(payee.script_pubkey(), SUBSIDY - fee), (house()?, fee)];
        expected.sort();
        let paid = paid(&block)?;
        ensure!(paid == expected, "{kind:?} channel {channel}: the coinbase pays {paid:?}, not {expected:?}");
        if *kind == Kind::Extended {
            let size = client.channel(*channel)?.extranonce_size;
            let offered = job.outputs(size)?;
            ensure!(expected.iter().all(|payment| offered.contains(payment)), "the job offers {offered:?}");
        }
    }
    let names: Vec<_> =
        ledger::rows(&pool.data())?.into_iter().map(|row| (row.account, row.stratum)).collect();
    let expected: Vec<_> = channels.iter().map(|(_, _, payee)| (payee.to_string(), 2)).collect();
    ensure!(names == expected, "{names:?}");
    Ok(())
}

#[tokio::test]
async fn pplns_pays_both_protocols_by_work_and_channels_of_a_connection_share_jobs() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("pplns over SV2 on regtest").await? else { return Ok(()) };
    node.generate(20, &spend::anyones_address())?;
    let payout = Payout::Pplns { fee_bps: 100, window: 1000.0 };
    let setup = Setup::on_nodes(vec![node.access()], payout).with("refresh_s = 1").sv2();
    let pool = Pool::ready(setup).await?;
    let users = [address(11), address(12), address(13)];
    let mut client = Client::connect(pool.sv2()?).await?;
    let standard = client.open(Kind::Standard, &users[0].to_string()).await?;
    let extended = client.open(Kind::Extended, &users[1].to_string()).await?;
    let mut miner = Miner::working(pool.sv1, &users[2].to_string()).await?;
    // Shares that are no blocks: two, one and one at a time.
    for _ in 0..10 {
        for channel in [standard, standard, extended] {
            let job = client.job(channel).await?;
            let share = client.mine_where(&job, |hash| job.is_only_share(hash))?;
            client.submit_good(&share).await?;
        }
        let job = miner.job().await?;
        let network = sluice_tests::share::network_difficulty(job.bits);
        let share = miner.mine_where(&job, |hash| {
            (job.difficulty..network).contains(&sluice_tests::share::difficulty_of(hash))
        })?;
        miner.submit_good(&share).await?;
    }
    let fee = 50_000_000;
    let quarter = (SUBSIDY - fee) / 4;
    let [first, second, third] = users.map(|user| user.script_pubkey());
    let mut expected = vec![(first, 2 * quarter), (second, quarter), (third, quarter), (house()?, fee)];
    expected.sort();
    let size = client.channel(extended)?.extranonce_size;
    let offers = |job: &Job| {
        let outputs = job.outputs(size).unwrap_or_default();
        expected.iter().all(|payment| outputs.contains(payment))
    };
    client.next_job(extended, offers).await.context("no job pays by work")?;
    // The standard channel has the same coinbase, but for its extranonce (M-34).
    let (block, _) = mine_through(&node, &mut client, standard).await?;
    let paid = paid(&block)?;
    ensure!(paid == expected, "the coinbase pays {paid:?}, not {expected:?}");
    let (next, _) = mine_through(&node, &mut client, extended).await?;
    ensure!(next.header.prev_blockhash == block.block_hash());
    let accepted = |blocks: &serde_json::Value| {
        let blocks = blocks.as_array()?;
        (blocks.len() == 2 && blocks.iter().all(|block| block["state"] == "immature")).then_some(())
    };
    http::json_until(pool.http, "/api/v1/blocks", SOON, accepted).await
}

#[tokio::test]
async fn workers_named_by_shares_are_in_the_books() -> Result<()> {
    // E-20 to E-22, E-24; F-42
    let Some(node) = Bitcoind::start_or_skip("workers over SV2 on regtest").await? else { return Ok(()) };
    node.generate(20, &spend::anyones_address())?;
    let setup = Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 }).sv2();
    let pool = Pool::ready(setup).await?;
    let user = format!("{}.farm", address(31));
    let mut client = Client::connect(pool.sv2()?).await?;
    client.name_workers().await?;
    let channel = client.open(Kind::Extended, &user).await?;
    let job = client.job(channel).await?;
    for worker in [Some("rig7"), Some("rig8"), None, Some("rig7")] {
        let share = client.mine_where(&job, |hash| job.is_only_share(hash))?;
        let number = client.submit_for(&share, worker).await?;
        let verdict = client.verdict(channel, number).await?;
        ensure!(verdict == sluice_tests::sv2::Verdict::Accepted, "{worker:?}: {verdict:?}");
    }
    let share = client.mine_where(&job, |hash| job.is_only_share(hash))?;
    let number = client.submit_for(&share, Some(&"x".repeat(33))).await?;
    let verdict = client.verdict(channel, number).await?;
    ensure!(verdict == sluice_tests::sv2::Verdict::Refused("invalid-share".to_owned()), "{verdict:?}");
    let best = node.best()?;
    let block = client.mine_where(&job, |hash| job.is_block(hash))?;
    let number = client.submit_for(&block, Some("rig9")).await?;
    client.verdict(channel, number).await?;
    ensure!(node.best_other_than(best).await? == hash_of(&block));
    let workers: Vec<_> = ledger::rows(&pool.data())?.into_iter().map(|row| row.worker).collect();
    ensure!(workers == ["rig7", "rig8", "farm", "rig7", "rig9"], "{workers:?}");
    Ok(())
}
