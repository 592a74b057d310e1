//! Makes jobs as the job board does.

use std::sync::Arc;

use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, CompactTarget, Network, Txid, Wtxid};
use sluice_core::coinbase::{Payment, PoolMark, parse_address};
use sluice_core::ids::{AccountName, JobId, TemplateId};
use sluice_core::job::{Job, TipNumber, Work};
use sluice_core::template::{Template, TemplateTransaction};
use sluice_core::units::{Now, Timestamp, VersionMask};
use sluice_stratum_v2::Broadcast;

/// The earliest time of a header.
pub(crate) const MIN_TIME: u32 = 1_700_000_000;

pub(crate) struct Board {
    pub(crate) bits: u32,
    pub(crate) tip: u64,
    pub(crate) transactions: usize,
    /// The block that work is on, where several tips are.
    pub(crate) block: Option<u64>,
    /// What the coinbase pays, where it is not all for one address.
    pub(crate) payments: Option<Vec<Payment>>,
    /// Whether each account has a coinbase of its own.
    pub(crate) solo: bool,
    next: u32,
    latest: Vec<(Option<AccountName>, Arc<Broadcast>)>,
}

impl Board {
    pub(crate) fn new(bits: u32) -> Self {
        Self {
            bits,
            tip: 1,
            transactions: 2,
            block: None,
            payments: None,
            solo: false,
            next: 0x1a,
            latest: Vec::new(),
        }
    }

    fn owner(&self, account: Option<&AccountName>) -> Option<AccountName> {
        account.filter(|_| self.solo).cloned()
    }

    /// A new job, for one account where each has its own.
    pub(crate) fn job(&mut self, account: Option<&AccountName>, now: Now) -> Arc<Broadcast> {
        let owner = self.owner(account);
        self.next += 1;
        let address =
            parse_address("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Network::Regtest).unwrap();
        let value = Amount::from_sat(5_000_000_000);
        let payment = Payment { account: String::new(), address, amount: value };
        let payments = self.payments.clone().unwrap_or_else(|| vec![payment]);
        let work =
            Work::new(Arc::new(self.template(value)), (TipNumber(self.tip), now.moment), VersionMask::BIP320);
        let mark = PoolMark { tag: b"/Sluice/".to_vec(), extranonce_length: 12 };
        let ids = (JobId(self.next), u64::from(self.next));
        let job = Job::new(ids, Arc::new(work), payments.into(), &mark, now).unwrap();
        let work = Arc::new(Broadcast::new(Arc::new(job.owned_by(owner.clone()))).unwrap());
        self.latest.retain(|(of, _)| *of != owner);
        self.latest.push((owner, Arc::clone(&work)));
        work
    }

    /// What a channel of the account is given when it begins.
    pub(crate) fn present(&mut self, account: &AccountName, now: Now) -> Arc<Broadcast> {
        let owner = self.owner(Some(account));
        let is_present = |work: &Broadcast| work.job().work.tip == TipNumber(self.tip);
        let found = self.latest.iter().find(|(of, work)| *of == owner && is_present(work));
        let found = found.map(|(_, work)| Arc::clone(work));
        found.unwrap_or_else(|| self.job(Some(account), now))
    }

    fn template(&self, value: Amount) -> Template {
        let transactions = (0..self.transactions).map(|index| TemplateTransaction {
            data: vec![],
            txid: Txid::from_byte_array([u8::try_from(index).unwrap() + 1; 32]),
            wtxid: Wtxid::from_byte_array([9; 32]),
        });
        Template {
            id: TemplateId(u64::from(self.next)),
            network: Network::Regtest,
            height: 200,
            previous: self.previous(),
            version: 0x2000_0000,
            bits: CompactTarget::from_consensus(self.bits),
            min_time: MIN_TIME,
            cur_time: MIN_TIME + 600,
            coinbase_value: value,
            subsidy: value,
            witness_commitment: Some([[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed].as_slice(), &[3; 32]].concat()),
            transactions: transactions.collect(),
            received: Timestamp(0),
        }
    }

    /// The hash of the tip's block: no two bytes of it alike, so that order shows.
    pub(crate) fn previous(&self) -> BlockHash {
        let block = u8::try_from(self.block.unwrap_or(self.tip) % 256).unwrap();
        let mut previous = [0u8; 32];
        for (index, byte) in previous.iter_mut().enumerate() {
            *byte = u8::try_from(index).unwrap() ^ block;
        }
        BlockHash::from_byte_array(previous)
    }
}
