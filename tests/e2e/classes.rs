//! Coinbases of another length for each class of miners, of both protocols (V1-92): everybody's, and on the same work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_stratum_v2::messages::SetupConnection;
use sluice_tests::bitcoind::Bitcoind;
use sluice_tests::miner::{Miner, address};
use sluice_tests::pool::{Chain, Difficulty, Payout, Pool, Setup};
use sluice_tests::share::Job;
use sluice_tests::sv2::{Client, Kind, Wire, setup};

use crate::regtest::{connects, mine_block};
use crate::reorg::shown;
use crate::scene::{Scene, limited, outputs};

const DIFFICULTY: f64 = 1e-6;
const CLASSES: &str = r#"
[[pool.coinbase_class]]
name = "rented"
agents = ["nicehash"]
bytes = 500
[[pool.coinbase_class]]
name = "roomy"
agents = ["^bitaxe", "gamma"]
bytes = 6500
"#;
/// More accounts than 750 bytes have room for.
const ACCOUNTS: u32 = 40;
/// Bytes of an output to a witness program of 20 bytes.
const OUTPUT: usize = 31;
/// Bytes that a height may take more than the first does.
const HEIGHT: usize = 4;

/// Blocks come from others, often, so that there are templates; none is found by those here.
async fn pool() -> Result<Pool> {
    let chain =
        Chain::Simulated { difficulty: 1e9, transactions: 5, block_interval: Some(Duration::from_secs(2)) };
    let payout = Payout::Pplns { fee_bps: 0, window: 1.0 };
    let setup = Setup { payout, ..Setup::new(chain, Difficulty::fixed(DIFFICULTY)) };
    let pool = Pool::ready(setup.with(CLASSES).sv2()).await?;
    crowd(&pool).await?;
    Ok(pool)
}

/// One share of work for every account.
async fn crowd(pool: &Pool) -> Result<()> {
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.subscribe(None).await?;
    for number in 0..ACCOUNTS {
        let user = address(number).to_string();
        miner.authorize(&user, "x").await?;
        let job = miner.job().await?;
        let share = miner.mine(&job)?;
        miner.submit_good(&share).await?;
    }
    Ok(())
}

/// What a miner sees of its class.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    bytes: usize,
    outputs: usize,
}

/// The first job whose coinbase pays the crowd; a share on it is accepted.
async fn seen_by_sv1(mut miner: Miner) -> Result<Seen> {
    let (extranonce1, size) = {
        let subscription = miner.subscription()?;
        (subscription.extranonce1.clone(), subscription.extranonce2_size)
    };
    let pays_many = |job: &Job| job.outputs(&extranonce1, size).is_ok_and(|outputs| outputs.len() > 5);
    let job = miner.next_job(pays_many).await?;
    let outputs = job.outputs(&extranonce1, size)?.len();
    let share = miner.mine(&job)?;
    miner.submit_good(&share).await?;
    Ok(Seen { bytes: job.coinbase(&extranonce1, &vec![0; size]).len(), outputs })
}

async fn sv1(pool: &Pool, agent: &str) -> Result<Seen> {
    let mut miner = Miner::connect(pool.sv1).await?;
    let reply = miner.call("mining.subscribe", json!([agent])).await?;
    miner.subscribed(&reply)?;
    miner.authorize(&address(500).to_string(), "x").await?;
    seen_by_sv1(miner).await
}

/// Logs in before it says what it is (V1-22).
async fn sv1_the_other_way_round(pool: &Pool, agent: &str) -> Result<Seen> {
    let mut miner = Miner::connect(pool.sv1).await?;
    miner.authorize(&address(501).to_string(), "x").await?;
    let reply = miner.call("mining.subscribe", json!([agent])).await?;
    miner.subscribed(&reply)?;
    seen_by_sv1(miner).await
}

async fn sv2(pool: &Pool, vendor: &str, hardware: &str) -> Result<Seen> {
    let endpoint = pool.sv2()?;
    let wire = Wire::connect(endpoint.address, Some(endpoint.authority)).await?;
    let says =
        SetupConnection { vendor: vendor.as_bytes(), hardware_version: hardware.as_bytes(), ..setup(0) };
    let mut client = Client::set_up_as(wire, &says).await?;
    let channel = client.open(Kind::Extended, &address(502).to_string()).await?;
    let size = client.channel(channel)?.extranonce_size;
    let pays_many = |job: &sluice_tests::sv2::Job| job.outputs(size).is_ok_and(|outputs| outputs.len() > 5);
    let job = client.next_job(channel, pays_many).await?;
    let share = client.mine(&job)?;
    client.submit_good(&share).await?;
    // On the same connection, a channel that only knows the root is judged on the same coinbase.
    let standard = client.open(Kind::Standard, &address(502).to_string()).await?;
    let other = client.job(standard).await?;
    let share = client.mine(&other)?;
    client.submit_good(&share).await?;
    let coinbase = job.coinbase(&vec![0; size]).context("an extended job")?;
    Ok(Seen { bytes: coinbase.len(), outputs: job.outputs(size)?.len() })
}

#[tokio::test]
async fn firmware_gets_the_coinbase_that_it_takes_whatever_its_protocol() -> Result<()> {
    let pool = pool().await?;
    let (plain, rented, roomy, other_way) = tokio::try_join!(
        sv1(&pool, "cgminer/4.12"),
        sv1(&pool, "NiceHash/1"),
        sv1(&pool, "bitaxe/1"),
        sv1_the_other_way_round(&pool, "NiceHash/1"),
    )?;
    let is_full = |seen: &Seen, room: usize| (room - OUTPUT - HEIGHT..=room).contains(&seen.bytes);
    ensure!(is_full(&plain, 750) && is_full(&rented, 500), "{plain:?} {rented:?}");
    // All accounts and the witness commitment; nothing is left for the house.
    ensure!(roomy.outputs > usize::try_from(ACCOUNTS)? && roomy.bytes < 6500, "{roomy:?}");
    ensure!(other_way == rented, "{other_way:?} is not {rented:?}");
    let (plain2, rented2, roomy2) = tokio::try_join!(
        sv2(&pool, "acme", "S9"),
        sv2(&pool, "NiceHash", ""),
        sv2(&pool, "acme", "Gamma 601"),
    )?;
    ensure!(plain2 == plain && rented2 == rented, "{plain2:?} {rented2:?}");
    ensure!(roomy2.outputs >= roomy.outputs && roomy2.bytes < 6500, "{roomy2:?}");
    Ok(())
}

const FIRMWARE: &str = r#"
[[pool.coinbase_class]]
name = "rented"
agents = ["nicehash"]
bytes = 300
[[pool.coinbase_class]]
name = "antminer-s21"
agents = ["Antminer S21/"]
bytes = 2250
"#;

/// What the newest job on the node's tip pays.
async fn offered(scene: &Scene, miner: &mut Miner) -> Result<(Job, usize)> {
    let subscription = miner.subscription()?.clone();
    let best = scene.node.best()?;
    let pays_all = |job: &Job| {
        let outputs = job.outputs(&subscription.extranonce1, subscription.extranonce2_size);
        connects(job, best) && outputs.is_ok_and(|outputs| outputs.len() > 4)
    };
    let job = miner.next_job(pays_all).await?;
    let outputs = job.outputs(&subscription.extranonce1, subscription.extranonce2_size)?;
    Ok((job, outputs.iter().filter(|(script, _)| !script.is_op_return()).count()))
}

#[tokio::test]
async fn a_node_takes_blocks_of_every_class() -> Result<()> {
    limited(async {
        let on_node = |node: &Bitcoind| {
            let payout = Payout::Pplns { fee_bps: 100, window: 1000.0 };
            Setup::on_nodes(vec![node.access()], payout).with("refresh_s = 1").tables(FIRMWARE).sv2()
        };
        let Some(scene) = Scene::open("coinbases by class", 20, on_node).await? else { return Ok(()) };
        for number in 0..ACCOUNTS {
            scene.work(&mut scene.miner(&address(400 + number)).await?, 1).await?;
        }
        let everybody = usize::try_from(ACCOUNTS)? + 1;
        let account = address(400).to_string();
        let mut rented = Miner::working_as(scene.pool.sv1, &account, "NiceHash/1.0").await?;
        let mut roomy = Miner::working_as(scene.pool.sv1, &account, "Antminer S21/x").await?;
        let (small, few) = offered(&scene, &mut rented).await?;
        let (large, many) = offered(&scene, &mut roomy).await?;
        ensure!((small.previous, &small.branch) == (large.previous, &large.branch), "not the same template");
        ensure!(many == everybody && (3..10).contains(&few), "{few} and {many} outputs");
        for (miner, job, paid) in [(&mut rented, Some(small), few), (&mut roomy, None, everybody)] {
            let job = match job {
                Some(job) => job,
                None => offered(&scene, miner).await?.0,
            };
            let best = scene.node.best()?;
            let share = mine_block(miner, &job)?;
            miner.submit_good(&share).await?;
            let found = scene.node.best_other_than(best).await?;
            let block = scene.node.block(&found)?;
            ensure!(outputs(&block)?.len() == paid, "{:?}", outputs(&block)?);
            shown(&scene.pool, &found, "immature", 1).await?;
        }
        sv2_finds_one_too(&scene, &account, everybody).await?;
        scene.holds().await
    })
    .await
}

/// A device of SV2 that says what hardware it is.
async fn sv2_finds_one_too(scene: &Scene, account: &str, everybody: usize) -> Result<()> {
    let endpoint = scene.pool.sv2()?;
    let wire = Wire::connect(endpoint.address, Some(endpoint.authority)).await?;
    let says = SetupConnection { vendor: b"Bitmain", hardware_version: b"Antminer S21/x", ..setup(0) };
    let mut client = Client::set_up_as(wire, &says).await?;
    let channel = client.open(Kind::Extended, account).await?;
    let (best, size) = (scene.node.best()?, client.channel(channel)?.extranonce_size);
    let tip: &[u8; 32] = best.as_ref();
    let pays_all = |job: &sluice_tests::sv2::Job| {
        job.previous == *tip && job.outputs(size).is_ok_and(|outputs| outputs.len() > everybody)
    };
    let job = client.next_job(channel, pays_all).await?;
    let share = client.mine_where(&job, |hash| job.is_block(hash))?;
    client.submit_good(&share).await?;
    let found = scene.node.best_other_than(best).await?;
    let block = scene.node.block(&found)?;
    ensure!(outputs(&block)?.len() == everybody, "{:?}", outputs(&block)?);
    shown(&scene.pool, &found, "immature", 1).await
}
