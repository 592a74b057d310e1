//! The same submissions over SV1, SV2 standard and SV2 extended: the same verdicts, the same books, the same counts.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_tests::ledger::{self, Row};
use sluice_tests::miner::{Miner, address, error_code};
use sluice_tests::pool::{Chain, Difficulty, Pool, Setup};
use sluice_tests::share::{self, difficulty_of, network_difficulty};
use sluice_tests::sv2::{self, Client, Kind, Verdict, number};
use sluice_tests::{SOON, http};

/// Ten times as hard as a share.
const NETWORK: f64 = 1e-5;
const DIFFICULTY: f64 = 1e-6;
/// Of no mask: neither SV1's nor BIP323's.
const FIXED_VERSION_BIT: u32 = 0x4000_0000;

/// What is submitted, and the code that SV1 has for the answer (V1-11); 0 for yes.
const SCRIPT: [(Wish, i64); 11] = [
    (Wish::Good, 0),
    (Wish::Again, 22),
    (Wish::Low, 23),
    (Wish::Early, 20),
    (Wish::FarAhead, 20),
    (Wish::BadVersion, 20),
    (Wish::UnknownJob, 21),
    (Wish::Good, 0),
    (Wish::Block, 0),
    (Wish::Late, 21),
    (Wish::LateBlock, 21),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Good,
    /// The good share once more.
    Again,
    /// Misses the target.
    Low,
    /// A time before the block that it builds on could have.
    Early,
    /// A time that no node would take.
    FarAhead,
    BadVersion,
    UnknownJob,
    Block,
    /// A good share for the tip before the block.
    Late,
    LateBlock,
}

/// How a share is to be made.
#[derive(Clone, Copy)]
struct Recipe {
    ntime: i64,
    version_bits: u32,
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum Wanted {
    Share,
    Block,
    Neither,
}

impl Wanted {
    fn likes(self, hash: &[u8; 32], network: f64) -> bool {
        let difficulty = difficulty_of(hash);
        match self {
            Self::Share => (DIFFICULTY * 1.01..network).contains(&difficulty),
            Self::Block => difficulty >= network,
            Self::Neither => difficulty < DIFFICULTY / 2.0,
        }
    }
}

impl Wish {
    fn recipe(self) -> Recipe {
        let plain = Recipe { ntime: 0, version_bits: 0, wanted: Wanted::Share };
        match self {
            Self::Low => Recipe { wanted: Wanted::Neither, ..plain },
            Self::Early => Recipe { ntime: -1_000_000, ..plain },
            Self::FarAhead => Recipe { ntime: 100_000, ..plain },
            Self::BadVersion => Recipe { version_bits: FIXED_VERSION_BIT, ..plain },
            Self::Block | Self::LateBlock => Recipe { wanted: Wanted::Block, ..plain },
            Self::Good | Self::Again | Self::UnknownJob | Self::Late => plain,
        }
    }
}

/// A miner of either protocol.
enum Peer {
    Sv1 { miner: Box<Miner>, old: share::Job, last: Option<share::Share> },
    Sv2 { client: Box<Client>, old: sv2::Job, last: Option<sv2::Share> },
}

impl Peer {
    async fn sv1(pool: &Pool) -> Result<Self> {
        let mut miner = Box::new(Miner::working(pool.sv1, &user()).await?);
        let old = miner.job().await?;
        Ok(Self::Sv1 { miner, old, last: None })
    }

    async fn sv2(pool: &Pool, kind: Kind) -> Result<Self> {
        let (client, channel) = Client::working(pool.sv2()?, kind, &user()).await?;
        let mut client = Box::new(client);
        let old = client.job(channel).await?;
        Ok(Self::Sv2 { client, old, last: None })
    }

    /// Submits; returns the code.
    async fn submit(&mut self, wish: Wish) -> Result<i64> {
        let recipe = wish.recipe();
        match self {
            Self::Sv1 { miner, old, last } => {
                let mut share = make_sv1(miner, old, recipe)?;
                match wish {
                    Wish::Again => share = last.clone().context("there was one")?,
                    Wish::UnknownJob => share.job = "7fffffff".to_owned(),
                    _ => {}
                }
                *last = Some(share.clone());
                let reply = miner.submit(&share).await?;
                if wish == Wish::Block {
                    miner.next_job(|job| job.previous == share.hash).await?;
                }
                if reply["result"] == true { Ok(0) } else { error_code(&reply) }
            }
            Self::Sv2 { client, old, last } => {
                let mut share = make_sv2(client, old, recipe)?;
                match wish {
                    Wish::Again => share = last.clone().context("there was one")?,
                    Wish::UnknownJob => share.job = 0x7fff_ffff,
                    _ => {}
                }
                *last = Some(share.clone());
                let verdict = client.judged(&share).await?;
                if wish == Wish::Block {
                    client.next_job(old.channel, |job| job.previous == share.hash).await?;
                }
                Ok(match verdict {
                    Verdict::Accepted => 0,
                    Verdict::Refused(code) => number(&code),
                })
            }
        }
    }
}

fn make_sv1(miner: &mut Miner, job: &share::Job, recipe: Recipe) -> Result<share::Share> {
    let mut search = miner.search(job)?;
    search.ntime = moved(job.ntime, recipe.ntime)?;
    search.version_bits = (recipe.version_bits != 0).then_some(recipe.version_bits);
    let network = network_difficulty(job.bits);
    search.find(job, |hash| recipe.wanted.likes(hash, network)).context("no such hash")
}

fn make_sv2(client: &mut Client, job: &sv2::Job, recipe: Recipe) -> Result<sv2::Share> {
    let mut search = client.search(job)?;
    search.ntime = moved(job.ntime, recipe.ntime)?;
    search.version |= recipe.version_bits;
    let network = network_difficulty(job.bits);
    client.find(job, &search, |hash| recipe.wanted.likes(hash, network))
}

fn moved(ntime: u32, by: i64) -> Result<u32> {
    Ok(u32::try_from(i64::from(ntime) + by)?)
}

fn user() -> String {
    format!("{}.rig", address(7))
}

/// What is compared: everything but the protocol and the hash, which differ by nature.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Account, worker, difficulty, height.
    rows: Vec<(String, String, f64, u32)>,
    blocks: Vec<(Value, Value, Value)>,
    counts: Vec<String>,
}

/// A pool of its own for one kind of peer, through the whole script.
async fn outcome(kind: Option<Kind>) -> Result<Outcome> {
    let chain = Chain::Simulated { difficulty: NETWORK, transactions: 5, block_interval: None };
    let setup = Setup::new(chain, Difficulty::fixed(DIFFICULTY)).with("stale_grace_ms = 0");
    let pool = Pool::ready(setup.sv2_with("stale_grace_ms = 0")).await?;
    let mut peer = match kind {
        None => Peer::sv1(&pool).await?,
        Some(kind) => Peer::sv2(&pool, kind).await?,
    };
    for (wish, expected) in SCRIPT {
        let found = peer.submit(wish).await.with_context(|| format!("{wish:?}"))?;
        ensure!(found == expected, "{kind:?}: {wish:?} is answered with {found}, not {expected}");
    }
    let stratum = if kind.is_some() { 2 } else { 1 };
    let blocks = settled_blocks(&pool).await?;
    let rows = ledger::rows(&pool.data())?;
    ensure!(rows.iter().all(|row| row.stratum == stratum), "{rows:?}");
    let facts = |row: Row| (row.account, row.worker, row.difficulty, row.height);
    let rows = rows.into_iter().map(facts).collect();
    Ok(Outcome { rows, blocks, counts: counts(&pool, stratum).await? })
}

/// Height, worker and state of the blocks, once the node has spoken about both.
async fn settled_blocks(pool: &Pool) -> Result<Vec<(Value, Value, Value)>> {
    http::json_until(pool.http, "/api/v1/blocks", SOON, |blocks| {
        let blocks = blocks.as_array()?;
        let told = blocks.iter().filter(|block| is_settled(&block["state"])).count();
        let facts =
            |block: &Value| (block["height"].clone(), block["worker"].clone(), block["state"].clone());
        (told == 2).then(|| blocks.iter().map(facts).collect())
    })
    .await
}

fn is_settled(state: &Value) -> bool {
    state == "immature" || state == "rejected"
}

/// The counters of shares and blocks, without the protocol's label.
async fn counts(pool: &Pool, stratum: u8) -> Result<Vec<String>> {
    let series = ["sluice_shares_accepted", "sluice_shares_rejected", "sluice_work", "sluice_blocks"];
    let label = format!("protocol=\"stratum_v{stratum}\"");
    let metrics = http::get(pool.http, "/metrics").await?.body;
    let lines = metrics.lines().filter(|line| series.iter().any(|name| line.starts_with(name)));
    let mut counts: Vec<String> =
        lines.filter(|line| line.contains(&label)).map(|line| line.replace(&label, "")).collect();
    counts.sort();
    Ok(counts)
}

#[tokio::test]
async fn verdicts_books_and_counts_do_not_depend_on_the_protocol() -> Result<()> {
    let (sv1, standard, extended) =
        tokio::try_join!(outcome(None), outcome(Some(Kind::Standard)), outcome(Some(Kind::Extended)))?;
    ensure!(sv1.rows.len() == 3 && sv1.blocks.len() == 2 && sv1.counts.len() > 10, "{sv1:#?}");
    ensure!(sv1 == standard, "SV1 {sv1:#?}\nSV2 standard {standard:#?}");
    ensure!(sv1 == extended, "SV1 {sv1:#?}\nSV2 extended {extended:#?}");
    Ok(())
}
