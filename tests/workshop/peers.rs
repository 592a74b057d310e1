//! A miner of each protocol, connected from before an author's edit until after it.

use anyhow::{Result, ensure};
use sluice_tests::miner::{Miner, error_code};
use sluice_tests::sv2::{Client, Kind, Verdict, number};

use crate::scene::Scene;

/// What SV1 says of a job that is gone (V1-11); SV2 has words for it.
const STALE: i64 = 21;

pub(crate) struct Peers {
    pub(crate) sv1: Miner,
    pub(crate) sv2: Client,
    pub(crate) channel: u32,
}

impl Peers {
    /// Both with work.
    pub(crate) async fn come(scene: &Scene, sv1: &str, sv2: &str) -> Result<Self> {
        let sv1 = Miner::working(scene.pool.sv1, sv1).await?;
        let (sv2, channel) = Client::working(scene.pool.sv2()?, Kind::Extended, sv2).await?;
        Ok(Self { sv1, sv2, channel })
    }

    /// So many accepted shares of each, on the connections as they are.
    pub(crate) async fn work(&mut self, shares: [u64; 2]) -> Result<()> {
        for _ in 0..shares[0] {
            self.sv1_share().await?;
        }
        for _ in 0..shares[1] {
            self.sv2_share().await?;
        }
        Ok(())
    }

    /// Nobody read while the author was at work: the job may be long gone, and the answer comes behind the newest.
    pub(crate) async fn sv1_share(&mut self) -> Result<()> {
        let job = self.sv1.job().await?;
        let share = self.sv1.mine(&job)?;
        let reply = self.sv1.submit(&share).await?;
        if reply["result"] == true {
            return Ok(());
        }
        ensure!(error_code(&reply)? == STALE, "a good share was refused: {reply}");
        let job = self.sv1.job().await?;
        let share = self.sv1.mine(&job)?;
        self.sv1.submit_good(&share).await
    }

    /// The same over SV2.
    pub(crate) async fn sv2_share(&mut self) -> Result<()> {
        let job = self.sv2.job(self.channel).await?;
        let share = self.sv2.mine(&job)?;
        let Verdict::Refused(code) = self.sv2.judged(&share).await? else { return Ok(()) };
        ensure!(number(&code) == STALE, "a good share was refused: {code}");
        let job = self.sv2.job(self.channel).await?;
        let share = self.sv2.mine(&job)?;
        self.sv2.submit_good(&share).await
    }
}
