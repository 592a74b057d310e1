//! Many miners that submit as fast as they are answered, and keep account of every share; all on SV1, or half of them
//! on SV2.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ledger::ShareKey;
use crate::miner::{self, Miner};
use crate::pool::Pool;
use crate::share::{difficulty_of, network_difficulty};
use crate::sv2::{self, Client, Event, Kind};

/// How to load a pool.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: u32,
    /// Accounts that the connections are spread over.
    pub accounts: u32,
    /// Submissions without a reply, for each connection.
    pub in_flight: usize,
    pub protocols: Protocols,
}

/// What the miners speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Sv1,
    /// In turns SV1, SV2 standard, SV1, SV2 extended.
    Mixed,
}

/// What one miner speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tongue {
    Sv1,
    Sv2(Kind),
}

impl Protocols {
    fn of(self, number: u32) -> Tongue {
        match (self, number % 4) {
            (Self::Mixed, 1) => Tongue::Sv2(Kind::Standard),
            (Self::Mixed, 3) => Tongue::Sv2(Kind::Extended),
            _ => Tongue::Sv1,
        }
    }
}

/// What became of the shares of one or many connections.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The pool said yes.
    pub acknowledged: Vec<ShareKey>,
    /// Code and share of what it said no to; for SV2 the code that SV1 has for it (V1-11).
    pub refused: Vec<(i64, ShareKey)>,
    /// Sent, and not answered when the connection ended.
    pub unanswered: Vec<ShareKey>,
    /// Those of the acknowledged that are blocks; of SV1 only.
    pub blocks: Vec<ShareKey>,
    /// Connections that ended before they were told to.
    pub disconnects: u32,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.refused.extend(other.refused);
        self.unanswered.extend(other.unanswered);
        self.blocks.extend(other.blocks);
        self.disconnects += other.disconnects;
    }

    /// Compares with the share log: acknowledged exactly once, refused not at all, unanswered at most once, and nothing
    /// else. Whether an unanswered share was logged is open.
    ///
    /// # Errors
    /// Says how many shares break which rule.
    pub fn compare(&self, log: &HashMap<ShareKey, u32>) -> Result<()> {
        let count = |key: &ShareKey| log.get(key).copied().unwrap_or(0);
        let lost = self.acknowledged.iter().filter(|key| count(key) == 0).count();
        let twice = log.values().filter(|count| **count > 1).count();
        // A refused duplicate is in the log, of course.
        let refused = self.refused.iter().filter(|(code, key)| *code != 22 && count(key) > 0).count();
        let open = self.unanswered.iter().filter(|key| count(key) > 0).count();
        let extra = log.len() as i128 - (self.acknowledged.len() - lost) as i128 - open as i128;
        ensure!(
            (lost, twice, refused, extra) == (0, 0, 0, 0),
            "of {} acknowledged shares {lost} are lost; {twice} are logged twice, {refused} although refused, \
             {extra} that nobody sent or that were not told apart",
            self.acknowledged.len(),
        );
        Ok(())
    }
}

/// Miners at work.
pub struct Stress {
    tasks: JoinSet<Result<Tally>>,
    stop: watch::Sender<bool>,
    progress: watch::Receiver<u64>,
    blocks: watch::Receiver<u64>,
}

/// How long a miner waits for the replies it is owed when it is told to stop.
const DRAIN: Duration = Duration::from_secs(60);

impl Stress {
    /// Connects everybody, then lets them work.
    ///
    /// # Errors
    /// Somebody was not let in.
    pub async fn start(pool: &Pool, load: Load) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (counter, progress) = watch::channel(0);
        let (block_counter, blocks) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for number in 0..load.connections {
            let user = format!("{}.w{number}", miner::address(number % load.accounts));
            let (counter, blocks) = (counter.clone(), block_counter.clone());
            let pace = Pace { in_flight: load.in_flight, stop: stopped.clone(), counter, blocks };
            let started = match load.protocols.of(number) {
                Tongue::Sv1 => Miner::working(pool.sv1, &user).await.map(|miner| {
                    tasks.spawn(work(miner, pace));
                }),
                Tongue::Sv2(kind) => {
                    Client::working(pool.sv2()?, kind, &user).await.map(|(client, channel)| {
                        tasks.spawn(work_sv2(client, channel, pace));
                    })
                }
            };
            started.with_context(|| format!("miner {number}"))?;
        }
        Ok(Self { tasks, stop, progress, blocks })
    }

    /// Waits until `count` shares more have been acknowledged.
    ///
    /// # Errors
    /// They are not, in good time.
    pub async fn acknowledged(&mut self, count: u64) -> Result<()> {
        rises(&mut self.progress, count).await.context("shares are not acknowledged any more")
    }

    /// Waits until an SV1 miner's block has been acknowledged.
    ///
    /// # Errors
    /// None is, in good time.
    pub async fn block(&mut self) -> Result<()> {
        rises(&mut self.blocks, 1).await.context("no block is acknowledged any more")
    }

    /// Tells everybody to stop, waits for the replies they are owed, and adds up.
    ///
    /// # Errors
    /// A miner was answered with something it cannot have been.
    pub async fn finish(self) -> Result<Tally> {
        self.stop.send_replace(true);
        self.ended().await
    }

    /// Waits until every connection has ended, and adds up.
    ///
    /// # Errors
    /// A miner was answered with something it cannot have been.
    pub async fn ended(mut self) -> Result<Tally> {
        let mut total = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            total.add(tally??);
        }
        Ok(total)
    }
}

async fn rises(counter: &mut watch::Receiver<u64>, by: u64) -> Result<()> {
    let goal = *counter.borrow() + by;
    tokio::time::timeout(crate::SOON, counter.wait_for(|count| *count >= goal)).await??;
    Ok(())
}

/// How much one miner does.
struct Pace {
    in_flight: usize,
    stop: watch::Receiver<bool>,
    counter: watch::Sender<u64>,
    blocks: watch::Sender<u64>,
}

impl Pace {
    fn wants_more(&self, waiting: usize) -> bool {
        waiting < self.in_flight && !*self.stop.borrow()
    }

    fn is_over(&self, waiting: usize) -> bool {
        waiting == 0 && *self.stop.borrow()
    }

    fn acknowledged(&self, shares: u64) {
        self.counter.send_modify(|count| *count += shares);
    }
}

async fn work(mut miner: Miner, pace: Pace) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut waiting: HashMap<u64, Sent> = HashMap::new();
    loop {
        while pace.wants_more(waiting.len()) {
            let job = miner.job().await?;
            let share = miner.mine(&job)?;
            let is_block = difficulty_of(&share.hash) >= network_difficulty(job.bits);
            let params = share.params(miner.user());
            match miner.send("mining.submit", params).await {
                Ok(id) => drop(waiting.insert(id, Sent { key: share.key(), is_block })),
                // Part of it may have arrived. Reading says what happened.
                Err(_) => {
                    tally.unanswered.push(share.key());
                    break;
                }
            }
        }
        if pace.is_over(waiting.len()) {
            return Ok(tally);
        }
        let line = miner.line_within(DRAIN).await?;
        let Some(line) = line else {
            tally.unanswered.extend(waiting.into_values().map(|sent| sent.key));
            tally.disconnects += 1;
            return Ok(tally);
        };
        if line["method"].is_null() {
            let blocks = tally.blocks.len();
            answered(&line, &mut waiting, &mut tally)?;
            pace.acknowledged(u64::from(line["result"] == true));
            if tally.blocks.len() > blocks {
                pace.blocks.send_modify(|count| *count += 1);
            }
        }
    }
}

/// A share that waits for its reply.
struct Sent {
    key: ShareKey,
    is_block: bool,
}

fn answered(line: &Value, waiting: &mut HashMap<u64, Sent>, tally: &mut Tally) -> Result<()> {
    let id = line["id"].as_u64().with_context(|| format!("a reply without a number: {line}"))?;
    let sent = waiting.remove(&id).with_context(|| format!("a second reply, or one to nothing: {line}"))?;
    let Sent { key, is_block } = sent;
    if line["result"] == true {
        tally.acknowledged.push(key);
        tally.blocks.extend(is_block.then_some(key));
    } else {
        tally.refused.push((miner::error_code(line)?, key));
    }
    Ok(())
}

async fn work_sv2(mut client: Client, channel: u32, pace: Pace) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut waiting: VecDeque<(u32, ShareKey)> = VecDeque::new();
    loop {
        while pace.wants_more(waiting.len()) {
            let job = client.job(channel).await?;
            let share = client.mine(&job)?;
            match client.submit(&share).await {
                Ok(sequence) => waiting.push_back((sequence, share.key())),
                Err(_) => {
                    tally.unanswered.push(share.key());
                    break;
                }
            }
        }
        if pace.is_over(waiting.len()) {
            return Ok(tally);
        }
        match client.event_within(DRAIN).await? {
            Some(event) => pace.acknowledged(answered_sv2(&event, &mut waiting, &mut tally)?),
            None => {
                tally.unanswered.extend(waiting.into_iter().map(|(_, key)| key));
                tally.disconnects += 1;
                return Ok(tally);
            }
        }
    }
}

/// Returns how many shares are acknowledged: the oldest that were not refused, up to the number that is named (M-80).
fn answered_sv2(event: &Event, waiting: &mut VecDeque<(u32, ShareKey)>, tally: &mut Tally) -> Result<u64> {
    match event {
        Event::Acknowledged(success) => {
            let count = usize::try_from(success.new_submits_accepted_count)?;
            ensure!((1..=waiting.len()).contains(&count), "{success:?} of {} shares", waiting.len());
            let last = waiting[count - 1].0;
            ensure!(last == success.last_sequence_number, "{success:?}, but share {count} is {last}");
            tally.acknowledged.extend(waiting.drain(..count).map(|(_, key)| key));
            Ok(u64::from(success.new_submits_accepted_count))
        }
        Event::Refused { sequence, code, .. } => {
            let place = waiting.iter().position(|(number, _)| number == sequence);
            let place = place.with_context(|| format!("{code} for {sequence}, which does not wait"))?;
            let refused = waiting.remove(place).map(|(_, key)| (sv2::number(code), key));
            tally.refused.extend(refused);
            Ok(0)
        }
        Event::FutureJob { .. } | Event::Job { .. } | Event::Tip { .. } | Event::Target { .. } => Ok(0),
        other => anyhow::bail!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ShareKey {
        [byte; 16]
    }

    #[test]
    fn every_way_in_which_log_and_replies_can_differ_is_noticed() {
        let tally = Tally {
            acknowledged: vec![key(1), key(2)],
            refused: vec![(23, key(3)), (22, key(1))],
            unanswered: vec![key(4), key(5)],
            ..Tally::default()
        };
        let log = |entries: &[(u8, u32)]| entries.iter().map(|(byte, count)| (key(*byte), *count)).collect();
        for good in [&[(1, 1), (2, 1)][..], &[(1, 1), (2, 1), (4, 1)], &[(1, 1), (2, 1), (4, 1), (5, 1)]] {
            tally.compare(&log(good)).unwrap();
        }
        let (lost, twice) = (&[(1, 1)][..], &[(1, 2), (2, 1)][..]);
        let (refused, unknown) = (&[(1, 1), (2, 1), (3, 1)][..], &[(1, 1), (2, 1), (9, 1)][..]);
        for bad in [lost, twice, refused, unknown, &[(1, 1), (2, 1), (4, 2)]] {
            assert!(tally.compare(&log(bad)).is_err(), "{bad:?}");
        }
    }
}
