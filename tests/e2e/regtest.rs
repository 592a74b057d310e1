//! The whole way on a real node: template, job, miner, share, block, chain.

use anyhow::{Context, Result, ensure};
use bitcoin::{Block, BlockHash, ScriptBuf};
use serde_json::{Value, json};
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{HOUSE, Payout, Pool, Setup};
use sluice_tests::share::{Job, Share, difficulty_of, network_difficulty};
use sluice_tests::{SOON, http, spend};

pub(crate) fn house() -> Result<ScriptBuf> {
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = HOUSE.parse()?;
    Ok(address.require_network(bitcoin::Network::Regtest)?.script_pubkey())
}

/// A share that is a block.
pub(crate) fn mine_block(miner: &mut Miner, job: &Job) -> Result<Share> {
    miner.mine_where(job, |hash| difficulty_of(hash) >= network_difficulty(job.bits))
}

/// What a coinbase pays, without the witness commitment.
pub(crate) fn paid(block: &Block) -> Result<Vec<(ScriptBuf, u64)>> {
    let coinbase = block.txdata.first().context("a block without a coinbase")?;
    let outputs = coinbase.output.iter().filter(|output| !output.script_pubkey.is_op_return());
    Ok(outputs.map(|output| (output.script_pubkey.clone(), output.value.to_sat())).collect())
}

fn hash_of(share: &Share) -> BlockHash {
    bitcoin::hashes::Hash::from_byte_array(share.hash)
}

/// Mines a block through the pool and returns it as the node has it, and the job it was made of.
pub(crate) async fn mine_through(node: &Bitcoind, miner: &mut Miner) -> Result<(Block, Job)> {
    let best = node.best()?;
    let job = job_on(best, miner).await?;
    let share = mine_block(miner, &job)?;
    miner.submit_good(&share).await?;
    let found = node.best_other_than(best).await?;
    ensure!(
        found == hash_of(&share),
        "the node's best block is {found}, not the miner's {}",
        hash_of(&share)
    );
    Ok((node.block(&found)?, job))
}

/// The miner's newest job on this block, waited for if need be.
pub(crate) async fn job_on(best: BlockHash, miner: &mut Miner) -> Result<Job> {
    let job = miner.job().await?;
    if connects(&job, best) { Ok(job) } else { miner.next_job(|job| connects(job, best)).await }
}

pub(crate) fn connects(job: &Job, best: BlockHash) -> bool {
    job.previous == *AsRef::<[u8; 32]>::as_ref(&best)
}

#[tokio::test]
async fn solo_blocks_pay_their_finder_less_the_fee() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("solo on regtest").await? else { return Ok(()) };
    let pool = Pool::ready(Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 150 })).await?;
    let (alice, bob) = (address(1), address(2));
    let mut first = Miner::working(pool.sv1, &format!("{alice}.rig1")).await?;
    let mut second = Miner::working(pool.sv1, &bob.to_string()).await?;
    // Core wants the height as OP_1 to OP_16 up to 16, as a number above; 128 needs a second byte.
    for (finder, payee, height) in [(&mut first, &alice, 1), (&mut second, &bob, 2)] {
        let (block, job) = mine_through(&node, finder).await?;
        ensure!(node.height()? == height);
        let (subsidy, fee) = (5_000_000_000, 75_000_000);
        let mut expected = vec![(payee.script_pubkey(), subsidy - fee), (house()?, fee)];
        let mut paid = paid(&block)?;
        paid.sort();
        expected.sort();
        ensure!(paid == expected, "the coinbase pays {paid:?}, not {expected:?}");
        ensure!(job.outputs(&[0; 4], 8)?.iter().any(|(script, _)| *script == payee.script_pubkey()));
    }
    Ok(())
}

#[tokio::test]
async fn heights_are_written_as_core_wants_them() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("heights on regtest").await? else { return Ok(()) };
    node.generate(14, &spend::anyones_address())?;
    let pool = Pool::ready(Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 })).await?;
    let mut miner = Miner::working(pool.sv1, &address(1).to_string()).await?;
    for target in [15, 16, 17, 127, 128, 129] {
        let missing = u32::try_from(target - 1 - node.height()?)?;
        if missing > 0 {
            node.generate(missing, &spend::anyones_address())?;
        }
        let (block, _) = mine_through(&node, &mut miner).await.with_context(|| format!("height {target}"))?;
        ensure!(node.height()? == target);
        ensure!(target < 17 || block.bip34_block_height()? == target);
    }
    Ok(())
}

#[tokio::test]
async fn pplns_blocks_pay_by_work_to_the_satoshi() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("pplns on regtest").await? else { return Ok(()) };
    let payout = Payout::Pplns { fee_bps: 100, window: 1000.0 };
    let setup = Setup::on_nodes(vec![node.access()], payout).with("refresh_s = 1");
    let pool = Pool::ready(setup).await?;
    let (alice, bob) = (address(11), address(12));
    let mut first = Miner::working(pool.sv1, &alice.to_string()).await?;
    let mut second = Miner::working(pool.sv1, &bob.to_string()).await?;
    // Shares that are no blocks: three of Alice's to one of Bob's.
    for _ in 0..10 {
        for miner in [&mut first, &mut second] {
            let job = miner.job().await?;
            let count = if miner.user() == alice.to_string() { 3 } else { 1 };
            for _ in 0..count {
                let share = miner.mine_where(&job, |hash| {
                    let difficulty = difficulty_of(hash);
                    difficulty >= job.difficulty && difficulty < network_difficulty(job.bits)
                })?;
                miner.submit_good(&share).await?;
            }
        }
    }
    let fee = 50_000_000;
    let rest = 5_000_000_000 - fee;
    let mut expected =
        vec![(alice.script_pubkey(), rest / 4 * 3), (bob.script_pubkey(), rest / 4), (house()?, fee)];
    expected.sort();
    let offers = |job: &Job| {
        let outputs = job.outputs(&[0; 4], 8).unwrap_or_default();
        expected.iter().all(|payment| outputs.contains(payment))
    };
    let job = first.next_job(offers).await.context("no job pays three to one")?;
    let best = node.best()?;
    let share = mine_block(&mut first, &job)?;
    first.submit_good(&share).await?;
    let block = node.block(&node.best_other_than(best).await?)?;
    ensure!(block.block_hash() == hash_of(&share));
    let mut paid = paid(&block)?;
    paid.sort();
    ensure!(paid == expected, "the coinbase pays {paid:?}, not {expected:?}");
    let credited = |credits: &Value| {
        let amount = |account: &str| {
            let mut credits = credits.as_array()?.iter();
            credits.find(|credit| credit["account"] == *account)?["amount_sat"].as_u64()
        };
        let (alice, bob) = (amount(&alice.to_string())?, amount(&bob.to_string())?);
        Some(alice + bob)
    };
    let sum = http::json_until(pool.http, "/api/v1/credits", SOON, credited).await?;
    ensure!(sum == rest, "the credits come to {sum}, not {rest}");
    Ok(())
}

#[tokio::test]
async fn blocks_carry_the_mempool_segwit_and_all() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("a full mempool on regtest").await? else { return Ok(()) };
    let spends = spend::fill_mempool(&node, 200)?;
    let pool = Pool::ready(Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 })).await?;
    let miner_address = address(21);
    let mut miner = Miner::working(pool.sv1, &miner_address.to_string()).await?;
    let (block, job) = mine_through(&node, &mut miner).await?;
    ensure!(job.branch.len() == 8, "the branch of 201 transactions has 8 nodes, not {}", job.branch.len());
    ensure!(block.txdata.len() == 201, "the block has {} transactions", block.txdata.len());
    for spend in &spends {
        ensure!(block.txdata.contains(spend), "{} is missing or was changed", spend.compute_txid());
    }
    ensure!(block.check_merkle_root() && block.check_witness_commitment());
    let fees = 200 * 2_000;
    let (_, paid) = paid(&block)?.into_iter().next().context("nobody is paid")?;
    ensure!(paid == 5_000_000_000 + fees, "the coinbase pays {paid}");
    let mempool = node.call("getrawmempool", &[])?;
    ensure!(mempool == json!([]), "still in the mempool: {mempool}");
    Ok(())
}

#[tokio::test]
async fn miners_follow_a_reorganisation() -> Result<()> {
    let Some(node) = Bitcoind::start_or_skip("a reorganisation on regtest").await? else { return Ok(()) };
    node.generate(5, &spend::anyones_address())?;
    let pool = Pool::ready(Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 })).await?;
    let mut miner = Miner::working(pool.sv1, &address(31).to_string()).await?;
    let (block, _) = mine_through(&node, &mut miner).await?;
    let parent = block.header.prev_blockhash;
    miner.next_job(|job| connects(job, block.block_hash())).await?;
    node.call("invalidateblock", &[json!(block.block_hash().to_string())])?;
    let again = miner.next_job(|job| connects(job, parent)).await?;
    ensure!(again.clean, "work on the wrong chain must be dropped (V1-53)");
    let (other, _) = mine_through(&node, &mut miner).await?;
    ensure!(other.header.prev_blockhash == parent && other.block_hash() != block.block_hash());
    let follows = |info: &Value| (info["tip"]["hash"] == other.block_hash().to_string()).then_some(());
    http::json_until(pool.http, "/api/v1/pool", SOON, follows).await
}

#[tokio::test]
async fn a_block_found_while_the_node_is_away_is_handed_in_when_it_is_back() -> Result<()> {
    let Some(mut node) = Bitcoind::start_or_skip("a node restart on regtest").await? else { return Ok(()) };
    node.generate(3, &spend::anyones_address())?;
    let pool = Pool::ready(Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 })).await?;
    let mut miner = Miner::working(pool.sv1, &address(41).to_string()).await?;
    let job = miner.job().await?;
    let best = node.best()?;
    node.stop().await?;
    let share = mine_block(&mut miner, &job)?;
    miner.submit_good(&share).await?;
    node.start_again().await?;
    let found = node.best_other_than(best).await?;
    ensure!(found == hash_of(&share), "{found} is not the block found meanwhile");
    // The cookie is a new one: work goes on all the same.
    let next = miner.next_job(|job| connects(job, found)).await?;
    let second = mine_block(&mut miner, &next)?;
    miner.submit_good(&second).await?;
    ensure!(node.best_other_than(found).await? == hash_of(&second));
    Ok(())
}

#[tokio::test]
async fn a_block_survives_the_pool_itself() -> Result<()> {
    let Some(mut node) = Bitcoind::start_or_skip("a pool restart on regtest").await? else { return Ok(()) };
    node.generate(3, &spend::anyones_address())?;
    let mut pool = Pool::ready(Setup::on_nodes(vec![node.access()], Payout::Solo { fee_bps: 0 })).await?;
    let mut miner = Miner::working(pool.sv1, &address(51).to_string()).await?;
    let job = miner.job().await?;
    let best = node.best()?;
    node.stop().await?;
    let share = mine_block(&mut miner, &job)?;
    miner.submit_good(&share).await?;
    // At once: the reply to a share that is a block means that the block is on disk.
    pool.kill()?;
    pool.respawn()?;
    node.start_again().await?;
    let found = node.best_other_than(best).await.with_context(|| pool.output().tail())?;
    ensure!(found == hash_of(&share), "{found} is not the block that was found before the crash");
    Ok(())
}
