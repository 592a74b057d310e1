//! What difficulty miners work at: up in steps of sixteen, until the author makes them smaller.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sluice_tests::SOON;
use sluice_tests::miner::address;
use sluice_tests::plugins::VARDIFF;
use sluice_tests::pool::{Chain, Difficulty, Setup};
use sluice_tests::share::difficulty_of;

use crate::author::Author;
use crate::cell::STEPS;
use crate::peers::Peers;
use crate::scene::Scene;

const START: f64 = 1e-9;
/// A ratio of difficulties is this one: targets are whole numbers.
const EXACT: f64 = 1e-4;

pub(crate) async fn prove(author: &mut Author, first: &[u8]) -> Result<()> {
    let chain = Chain::Simulated { difficulty: 1e9, transactions: 1, block_interval: None };
    let setup = Setup::new(chain, Difficulty { start: START, floor: START / 4.0, ceiling: 1.0 });
    // Whoever waits for each answer is fast only where answers are.
    let setup = setup.sv2_with("acknowledge_after_ms = 50");
    // The shipped policy and the starters know it by the same name.
    let scene = Scene::open(setup.vardiff("settings = { shares-per-minute = 6 }"), VARDIFF).await?;
    scene.load(author, first).await?;
    let mut miners = Peers::come(&scene, &address(711).to_string(), &address(712).to_string()).await?;
    ensure!(miners.sv1.difficulty() == Some(START), "it starts at {:?}", miners.sv1.difficulty());
    let [before, after] = STEPS;
    stepped(&mut miners, before).await?;
    author.tell(&format!("the miners are sent {before} times their difficulty"));

    let second = author.second_build().await?;
    scene.load(author, &second).await?;
    stepped(&mut miners, after).await?;
    author.tell(&format!("the same miners are sent {after} times their difficulty"));
    Ok(())
}

/// Both work far too fast until they are sent `step` times their difficulty.
async fn stepped(miners: &mut Peers, step: f64) -> Result<()> {
    let began = Instant::now();
    let told = |miners: &Peers| miners.sv1.difficulty().context("SV1 has no difficulty");
    let mut steps = Steps::of(step, told(miners)?);
    while !steps.reached(told(miners)?)? {
        ensure!(began.elapsed() < SOON, "SV1 is not sent {step} times its difficulty");
        miners.sv1_share().await?;
    }
    let began = Instant::now();
    let told =
        |miners: &Peers| -> Result<f64> { Ok(difficulty_of(&miners.sv2.channel(miners.channel)?.target)) };
    let mut steps = Steps::of(step, told(miners)?);
    while !steps.reached(told(miners)?)? {
        ensure!(began.elapsed() < SOON, "SV2 is not sent {step} times its difficulty");
        miners.sv2_share().await?;
    }
    Ok(())
}

/// What a miner was told, one after the other. Silence before may bring it down first, or up by less.
struct Steps {
    wanted: f64,
    last: f64,
}

impl Steps {
    fn of(wanted: f64, last: f64) -> Self {
        Self { wanted, last }
    }

    fn reached(&mut self, told: f64) -> Result<bool> {
        let ratio = told / self.last;
        self.last = told;
        // Decisions that meet before the next job are told as one. An odd power of four is none of sixteen.
        let steps = (ratio.ln() / self.wanted.ln()).round();
        let is_exact = (ratio / self.wanted.powf(steps) - 1.0).abs() < EXACT;
        if ratio > self.wanted * (1.0 + EXACT) && !is_exact {
            bail!("it went up {ratio} times at once, which are no steps of {}", self.wanted);
        }
        Ok(is_exact && steps >= 1.0 && steps % 2.0 == 1.0)
    }
}
