//! Loads a pool over SV1 or SV2 and says what it can do: submissions per second, latencies, fan-out of a new block, memory and
//! rate of connections. One thread, so that one core of load is enough.

mod engine;
mod floor;
mod histogram;
mod machine;
mod speaker;
mod sv1;
mod sv2;
mod target;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sluice_tests::miner;

use crate::engine::{Engine, Seen};
use crate::speaker::{Plan, Speaker};
use crate::sv1::Sv1;
use crate::sv2::Sv2;
use crate::target::{Protocol, Target, Wanted};

/// Loads a pool over Stratum V1 or V2 and reports what it can do.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  load submit --spawn --mode miss --floor
      starts the pool on core 0, submits from core 1, and compares with a server that only answers
  load submit --address 127.0.0.1:3333 --connections 100 --in-flight 16 --seconds 10
      against a pool that is running
  load submit --spawn --protocol sv2 --channel extended --mode accept
  load fanout --spawn --protocol sv2 --connections 10000 --floor
  load connect --spawn --connections 10000"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Submissions per second and their latencies
    #[command(
        after_help = "Example: load submit --spawn --mode accept --connections 100 --in-flight 16 --floor"
    )]
    Submit(Submit),
    /// How long a new block's notify takes from the first connection to the last
    #[command(after_help = "Example: load fanout --spawn --connections 10000 --blocks 5 --floor")]
    Fanout(Fanout),
    /// Connects per second to first job, and resident memory per idle connection
    #[command(after_help = "Example: load connect --spawn --connections 10000 --floor")]
    Connect(Connect),
    /// Serves as the floor: counts lines, answers what was prepared
    #[command(after_help = "Example: load floor --listen 127.0.0.1:3999 --notify-bytes 1500 --interval 5")]
    Floor {
        #[arg(long, value_name = "ADDRESS")]
        listen: SocketAddr,
        #[arg(long, default_value_t = 1500, value_name = "N")]
        notify_bytes: usize,
        /// What it speaks; SV2 without encryption
        #[arg(long, value_enum, default_value_t = Protocol::Sv1)]
        protocol: Protocol,
        /// Seconds between two notifies; none if not given
        #[arg(long, value_name = "SECONDS")]
        interval: Option<f64>,
    },
}

#[derive(Debug, Args)]
struct Where {
    /// The pool's listener for the protocol
    #[arg(long, value_name = "ADDRESS", required_unless_present = "spawn")]
    address: Option<SocketAddr>,
    /// The process at --address, for its memory and processor time
    #[arg(long, requires = "address")]
    pid: Option<u32>,
    /// Start the pool ($SLUICE_BIN, or the one beside this program) on core 0, and work from core 1
    #[arg(long, conflicts_with = "address")]
    spawn: bool,
    /// Measure the floor too, and print the ratio
    #[arg(long)]
    floor: bool,
    #[arg(long, value_enum, default_value_t = Protocol::Sv1)]
    protocol: Protocol,
    /// The kind of SV2 channel, one for each connection
    #[arg(long, value_enum, default_value_t = Channel::Standard)]
    channel: Channel,
    /// SV2 without encryption, for a listener that is for labs
    #[arg(long, requires = "address")]
    plain_text: bool,
    /// The login to submit under; by default a regtest address
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Channel {
    /// The pool computes the merkle root
    Standard,
    /// The miner does
    Extended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Shares miss the target: each is hashed, judged, refused with a code
    Miss,
    /// Shares are accepted: each is hashed, judged, logged, acknowledged after the commit
    Accept,
}

#[derive(Debug, Args)]
struct Submit {
    #[command(flatten)]
    place: Where,
    /// What the shares are to be; against --address it is the listener's difficulty that decides
    #[arg(long, value_enum, default_value_t = Mode::Miss)]
    mode: Mode,
    #[arg(long, short = 'c', default_value_t = 100, value_name = "N")]
    connections: usize,
    /// Submissions without a reply, for each connection
    #[arg(long, short = 'p', default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: u32,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Transactions of the template with --spawn: 2000 make a branch of 11 nodes, 33 compressions a share
    #[arg(long, default_value_t = 0, value_name = "N")]
    transactions: u32,
}

#[derive(Debug, Args)]
struct Fanout {
    #[command(flatten)]
    place: Where,
    #[arg(long, short = 'c', default_value_t = 10_000, value_name = "N")]
    connections: usize,
    #[arg(long, default_value_t = 5, value_name = "N")]
    blocks: usize,
    /// Seconds between blocks of the simulated chain
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    interval: u64,
}

#[derive(Debug, Args)]
struct Connect {
    #[command(flatten)]
    place: Where,
    #[arg(long, short = 'c', default_value_t = 10_000, value_name = "N")]
    connections: usize,
}

/// Bytes of a notify where the pool has not shown one.
const NOTIFY_BYTES: usize = 1500;

fn main() -> Result<()> {
    let command = Cli::parse().command;
    machine::raise_open_files()?;
    match command {
        Command::Submit(submit) => match submit.place.protocol {
            Protocol::Sv1 => submit.run::<Sv1>(),
            Protocol::Sv2 => submit.run::<Sv2>(),
        },
        Command::Fanout(fanout) => match fanout.place.protocol {
            Protocol::Sv1 => fanout.run::<Sv1>(),
            Protocol::Sv2 => fanout.run::<Sv2>(),
        },
        Command::Connect(connect) => match connect.place.protocol {
            Protocol::Sv1 => connect.run::<Sv1>(),
            Protocol::Sv2 => connect.run::<Sv2>(),
        },
        Command::Floor { listen, notify_bytes, protocol, interval } => {
            let interval = interval.map(Duration::try_from_secs_f64).transpose()?;
            floor::serve(listen, protocol, notify_bytes, interval)
        }
    }
}

impl Where {
    fn target(&self, wanted: Wanted) -> Result<Target> {
        match self.address {
            Some(address) => Ok(Target::running(address, self.pid, self.plain_text)),
            None => Target::pool(wanted, self.protocol),
        }
    }

    fn floor(&self, job_bytes: usize, interval: Option<Duration>) -> Result<Target> {
        Target::floor(self.protocol, job_bytes, interval)
    }

    fn engine<S: Speaker>(&self, target: &Target) -> Result<Engine<S>> {
        let login = self.login.clone().unwrap_or_else(|| format!("{}.load", miner::address(0)));
        let extended = self.channel == Channel::Extended;
        Engine::new(target.address, Plan { login, extended, clear: target.plain_text })
    }
}

impl Submit {
    fn run<S: Speaker>(&self) -> Result<()> {
        let difficulty = match self.mode {
            Mode::Miss => 1e6,
            // The least there is: one hash in 65,536 misses.
            Mode::Accept => 2f64.powi(-32),
        };
        let target = self.place.target(Wanted {
            difficulty,
            block_interval: None,
            transactions: self.transactions,
        })?;
        let (pool, bytes) = self.measure::<S>("pool", &target)?;
        drop(target);
        if self.place.floor {
            let (floor, _) = self.measure::<S>("floor", &self.place.floor(bytes, None)?)?;
            println!("ratio  {:.3} of the floor", pool / floor);
        }
        Ok(())
    }

    /// Returns submissions per second and the size of a job.
    fn measure<S: Speaker>(&self, name: &str, target: &Target) -> Result<(f64, usize)> {
        let mut engine = self.place.engine::<S>(target)?;
        engine.connect(self.connections)?;
        // Caches, compiled code and the log's file are as in a pool that has been running.
        engine.submit(self.in_flight, Duration::from_secs_f64(self.seconds / 10.0))?;
        engine.idle(Duration::from_millis(200))?;
        engine.seen = Seen { job_bytes: engine.seen.job_bytes, ..Seen::default() };
        let before = target.pid.map(machine::processor_seconds).transpose()?;
        let elapsed = engine.submit(self.in_flight, Duration::from_secs_f64(self.seconds))?.as_secs_f64();
        let after = target.pid.map(machine::processor_seconds).transpose()?;
        let seen = &engine.seen;
        let rate = (seen.accepted + seen.missed + seen.other) as f64 / elapsed;
        println!(
            "{name:6} {rate:.0} submissions/s: {} accepted, {} missed, {} refused otherwise, in {elapsed:.1} s",
            seen.accepted, seen.missed, seen.other
        );
        let quantiles = [0.5, 0.9, 0.99].map(|part| seen.latency.quantile(part));
        let [p50, p90, p99] = quantiles.map(micros);
        println!("       latency p50 {p50}, p90 {p90}, p99 {p99}, max {}", micros(seen.latency.max()));
        if let Some(used) = after.zip(before).map(|(after, before)| after - before) {
            let each = used * 1e9 / (rate * elapsed);
            println!("       processor time {:.0} % of a core, {each:.0} ns each", used / elapsed * 100.0);
        }
        if let Some(sample) = &seen.sample {
            println!("       refused first: {sample}");
        }
        Ok((rate, seen.job_bytes))
    }
}

fn micros(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}

impl Fanout {
    fn run<S: Speaker>(&self) -> Result<()> {
        let interval = Some(Duration::from_secs(self.interval));
        let target =
            self.place.target(Wanted { difficulty: 1e6, block_interval: interval, transactions: 2000 })?;
        let (pool, bytes) = self.measure::<S>("pool", &target)?;
        drop(target);
        if self.place.floor {
            let (floor, _) = self.measure::<S>("floor", &self.place.floor(bytes, interval)?)?;
            println!("ratio  {:.2} times the floor", pool.as_secs_f64() / floor.as_secs_f64());
        }
        Ok(())
    }

    /// Returns the median time and the size of a job.
    fn measure<S: Speaker>(&self, name: &str, target: &Target) -> Result<(Duration, usize)> {
        let mut engine = self.place.engine::<S>(target)?;
        engine.connect(self.connections)?;
        // Not whole: rounds that came while connections were still being opened, and one that is under way now.
        engine.forget_rounds();
        engine.watch(|seen| !seen.rounds.is_empty())?;
        engine.idle(Duration::from_secs(self.interval) / 2)?;
        engine.forget_rounds();
        let whole =
            |seen: &Seen| seen.rounds.iter().filter(|round| round.reached == self.connections).count();
        engine.watch(|seen| whole(seen) >= self.blocks)?;
        let mut times: Vec<Duration> =
            engine.seen.rounds.iter().take(self.blocks).map(|round| round.last - round.first).collect();
        times.sort_unstable();
        ensure!(!times.is_empty(), "no block at all");
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        let bytes = engine.seen.job_bytes;
        println!(
            "{name:6} a job of {bytes} bytes from the first to the last of {} connections: \
             median {:.1} ms, worst {:.1} ms of {}",
            self.connections,
            median.as_secs_f64() * 1e3,
            worst.as_secs_f64() * 1e3,
            times.len()
        );
        Ok((median, bytes))
    }
}

impl Connect {
    fn run<S: Speaker>(&self) -> Result<()> {
        let target =
            self.place.target(Wanted { difficulty: 1e6, block_interval: None, transactions: 2000 })?;
        let pool = self.measure::<S>("pool", &target)?;
        drop(target);
        if self.place.floor {
            let floor = self.measure::<S>("floor", &self.place.floor(NOTIFY_BYTES, None)?)?;
            println!("ratio  {:.2} of the floor's connects", pool / floor);
        }
        Ok(())
    }

    /// Returns connects per second.
    fn measure<S: Speaker>(&self, name: &str, target: &Target) -> Result<f64> {
        let mut engine = self.place.engine::<S>(target)?;
        // The first connection pays for what is made once.
        engine.connect(1)?;
        engine.idle(Duration::from_millis(500))?;
        let before = target.pid.map(machine::resident).transpose()?;
        let elapsed = engine.connect(self.connections + 1)?;
        let rate = self.connections as f64 / elapsed.as_secs_f64();
        println!("{name:6} {rate:.0} connects/s to first job ({} in {elapsed:.2?})", self.connections);
        engine.idle(Duration::from_secs(2))?;
        if let Some((after, before)) = target.pid.map(machine::resident).transpose()?.zip(before) {
            let each = after.saturating_sub(before) as f64 / self.connections as f64;
            println!("       {each:.0} bytes of resident memory per idle connection");
        }
        Ok(rate)
    }
}
