//! A channel as SRI keeps it, and the work in it.

use anyhow::{Context, Result, anyhow, bail, ensure};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Target, TxMerkleNode};
use stratum_apps::stratum_core::channels_sv2::chain_tip::ChainTip;
use stratum_apps::stratum_core::channels_sv2::client::extended::ExtendedChannel;
use stratum_apps::stratum_core::channels_sv2::client::share_accounting::ShareAccounting;
use stratum_apps::stratum_core::channels_sv2::client::standard::StandardChannel;
use stratum_apps::stratum_core::channels_sv2::merkle_root::merkle_root_from_path;
use stratum_apps::stratum_core::mining_sv2::{
    NewExtendedMiningJobOwned, NewMiningJobOwned, SetNewPrevHashOwned, SubmitSharesExtendedOwned,
    SubmitSharesStandardOwned,
};
use stratum_apps::stratum_core::parsers_sv2::MiningOwned;

/// A channel as SRI keeps it.
pub enum Channel {
    Standard(StandardChannel),
    Extended(ExtendedChannel),
}

/// What a channel is to hash: a header, and where its root comes from.
pub struct Work {
    pub header: Header,
    pub target: Target,
    job: u32,
    kind: Kind,
}

enum Kind {
    Standard,
    Extended { job: NewExtendedMiningJobOwned, prefix: Vec<u8>, size: usize },
}

impl Work {
    /// The rollable part, of the negotiated length.
    pub(crate) fn extranonce(&self, counter: u64) -> Vec<u8> {
        let Kind::Extended { size, .. } = &self.kind else { return Vec::new() };
        let mut extranonce = vec![0; *size];
        extranonce.iter_mut().zip(counter.to_le_bytes()).for_each(|(to, from)| *to = from);
        extranonce
    }

    /// Room that no other search of this job uses: another root, or on standard channels other version bits (M-3).
    pub(crate) fn roll(&mut self, extranonce: &[u8], counter: u64) -> Result<()> {
        match &self.kind {
            Kind::Standard => {
                // Bits 5 to 28, the lowest 16 of them.
                let bits = i32::from(u16::try_from(counter & 0xffff)?) << 5;
                self.header.version = Version::from_consensus(self.header.version.to_consensus() | bits);
            }
            Kind::Extended { job, prefix, .. } => {
                let root = merkle_root_from_path(
                    job.coinbase_tx_prefix.as_bytes(),
                    job.coinbase_tx_suffix.as_bytes(),
                    &[prefix, extranonce].concat(),
                    job.merkle_path.as_slice(),
                );
                let root = root.context("M-39: SRI cannot make a coinbase of this job")?;
                self.header.merkle_root = TxMerkleNode::from_byte_array(root);
            }
        }
        Ok(())
    }

    pub(crate) fn message(
        &self,
        channel_id: u32,
        sequence_number: u32,
        extranonce: Vec<u8>,
    ) -> Result<MiningOwned> {
        let Header { version, time: ntime, nonce, .. } = self.header;
        let version = version.to_consensus().cast_unsigned();
        let job_id = self.job;
        Ok(match self.kind {
            Kind::Standard => MiningOwned::SubmitSharesStandard(SubmitSharesStandardOwned {
                channel_id,
                sequence_number,
                job_id,
                nonce,
                ntime,
                version,
            }),
            Kind::Extended { .. } => MiningOwned::SubmitSharesExtended(SubmitSharesExtendedOwned {
                channel_id,
                sequence_number,
                job_id,
                nonce,
                ntime,
                version,
                extranonce: extranonce.try_into().map_err(|error| anyhow!("{error}"))?,
            }),
        })
    }
}

impl Channel {
    pub(crate) fn set_target(&mut self, target: Target) -> Result<()> {
        match self {
            Self::Standard(channel) => channel.set_target(target).map_err(|error| anyhow!("{error:?}")),
            Self::Extended(channel) => channel.set_target(target).map_err(|error| anyhow!("{error:?}")),
        }
    }

    pub(crate) fn acknowledge(&mut self, count: u32, sum: u64) {
        match self {
            Self::Standard(channel) => channel.on_share_acknowledgement(count, sum),
            Self::Extended(channel) => channel.on_share_acknowledgement(count, sum),
        }
    }

    /// # Errors
    /// SRI does not take it, or it should not have been sent.
    pub(crate) fn standard_job(&mut self, job: NewMiningJobOwned) -> Result<()> {
        let Self::Standard(channel) = self else { bail!("M-31: it is an extended channel") };
        ensure!(job.is_future() || channel.get_chain_tip().is_some(), "M-35: work before the first tip");
        ensure!(!knows_standard(channel, job.job_id), "M-30: job id {} is used again", job.job_id);
        channel.on_new_mining_job(job).map_err(|error| anyhow!("{error:?}"))
    }

    pub(crate) fn extended_job(&mut self, job: NewExtendedMiningJobOwned) -> Result<()> {
        let (id, future) = (job.job_id, job.is_future());
        ensure!(future || self.tip_known(), "M-35: work before the first tip");
        match self {
            Self::Standard(channel) => {
                ensure!(!knows_standard(channel, id), "M-30: job id {id} is used again");
                channel.on_new_group_channel_job(job).map_err(|error| anyhow!("{error:?}"))
            }
            Self::Extended(channel) => {
                ensure!(!knows_extended(channel, id), "M-30: job id {id} is used again");
                channel.on_new_extended_mining_job(job).map_err(|error| anyhow!("{error:?}"))
            }
        }
    }

    pub(crate) fn tip(&mut self, tip: SetNewPrevHashOwned) -> Result<()> {
        match self {
            Self::Standard(channel) => {
                channel.on_set_new_prev_hash(tip).map_err(|error| anyhow!("{error:?}"))
            }
            Self::Extended(channel) => {
                channel.on_set_new_prev_hash(tip).map_err(|error| anyhow!("{error:?}"))
            }
        }
    }

    fn tip_known(&self) -> bool {
        match self {
            Self::Standard(channel) => channel.get_chain_tip().is_some(),
            Self::Extended(channel) => channel.get_chain_tip().is_some(),
        }
    }

    /// SRI's books on this channel.
    pub fn accounting(&self) -> &ShareAccounting {
        match self {
            Self::Standard(channel) => channel.get_share_accounting(),
            Self::Extended(channel) => channel.get_share_accounting(),
        }
    }

    /// The target for jobs to come.
    pub fn target(&self) -> Target {
        match self {
            Self::Standard(channel) => *channel.get_target(),
            Self::Extended(channel) => *channel.get_target(),
        }
    }

    /// The pool's part of the extranonce, and how many bytes are the miner's.
    pub fn extranonce(&self) -> (&[u8], u16) {
        match self {
            Self::Standard(channel) => (channel.get_extranonce_prefix(), 0),
            Self::Extended(channel) => {
                (channel.get_extranonce_prefix(), channel.get_rollable_extranonce_size())
            }
        }
    }

    /// What to hash now.
    ///
    /// # Errors
    /// There is no active job.
    pub fn work(&self) -> Result<Work> {
        match self {
            Self::Standard(channel) => {
                let job = channel.get_active_job().context("no active job")?;
                let message = &job.job_message;
                let ntime = message.min_ntime.as_ref().copied().context("an active job without a time")?;
                let mut header = header(channel.get_chain_tip(), message.version, ntime)?;
                header.merkle_root = TxMerkleNode::from_byte_array(message.merkle_root.to_array());
                Ok(Work { header, target: job.target, job: message.job_id, kind: Kind::Standard })
            }
            Self::Extended(channel) => {
                let job = channel.get_active_job().context("no active job")?;
                let message = job.job_message.clone();
                let ntime = message.min_ntime.as_ref().copied().context("an active job without a time")?;
                let header = header(channel.get_chain_tip(), message.version, ntime)?;
                let size = usize::from(channel.get_rollable_extranonce_size());
                let (target, id) = (job.target, message.job_id);
                let kind = Kind::Extended { job: message, prefix: job.extranonce_prefix.clone(), size };
                Ok(Work { header, target, job: id, kind })
            }
        }
    }

    /// The tip that the channel mines on.
    ///
    /// # Errors
    /// There is no active job.
    pub fn previous(&self) -> Result<BlockHash> {
        Ok(self.work()?.header.prev_blockhash)
    }
}

fn header(tip: Option<&ChainTip>, version: u32, time: u32) -> Result<Header> {
    let tip = tip.context("no tip")?;
    Ok(Header {
        version: Version::from_consensus(version.cast_signed()),
        prev_blockhash: BlockHash::from_byte_array(tip.prev_hash().to_array()),
        merkle_root: TxMerkleNode::from_byte_array([0; 32]),
        time,
        bits: CompactTarget::from_consensus(tip.nbits()),
        nonce: 0,
    })
}

/// M-30: whether a job of this id is valid now.
fn knows_standard(channel: &StandardChannel, id: u32) -> bool {
    channel.get_future_job(id).is_some()
        || channel.get_past_job(id).is_some()
        || channel.get_active_job().is_some_and(|job| job.job_message.job_id == id)
}

fn knows_extended(channel: &ExtendedChannel, id: u32) -> bool {
    channel.get_future_jobs().any(|(job, _)| *job == id)
        || channel.get_past_jobs().any(|(job, _)| *job == id)
        || channel.get_active_job().is_some_and(|job| job.job_message.job_id == id)
}
