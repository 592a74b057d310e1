//! Work added up by account, in integers, so that adding and taking away in any order gives the same.

use sluice_core::policy::payout::Contribution;

use crate::names::Names;

/// Units of work that difficulty 1 stands for. The least difficulty there is, 2^-32, is one unit.
const UNITS_PER_DIFFICULTY: f64 = 4_294_967_296.0;
/// log2 of [`UNITS_PER_DIFFICULTY`].
const UNIT_BITS: i32 = 32;
/// The most one share counts: difficulty 2^58, a thousand times the network's, so that 2^38 shares fit into a u128.
const SHARE_LIMIT: u128 = 1 << 90;
/// What a policy is told stays below 2^53, so that a double holds it.
const TOLD_BITS: u32 = 53;

/// Work of a share of `difficulty`, in units of 2^-32 difficulty; at least 1.
pub(crate) fn work_of(difficulty: f64) -> u128 {
    units(difficulty).clamp(1, SHARE_LIMIT)
}

/// `difficulty` in units of work. A cast from float saturates and takes NaN to 0.
pub(crate) fn units(difficulty: f64) -> u128 {
    let scaled = (difficulty * UNITS_PER_DIFFICULTY).round();
    // The cast to u64 is one instruction, the other a call.
    if scaled < 9e18 { u128::from(scaled as u64) } else { scaled as u128 }
}

/// Work back as difficulty, for people.
pub(crate) fn difficulty_of(work: u128) -> f64 {
    work as f64 / UNITS_PER_DIFFICULTY
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) work: u128,
    pub(crate) shares: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, other: Self) {
        self.work += other.work;
        self.shares += other.shares;
    }

    fn take(&mut self, other: Self) {
        self.work = self.work.saturating_sub(other.work);
        self.shares = self.shares.saturating_sub(other.shares);
    }
}

/// One sum for each account, by its number. 32 bytes an account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    by_account: Vec<Sum>,
    total: Sum,
}

impl Sums {
    pub(crate) fn add(&mut self, account: u32, work: u128) {
        let sum = Sum { work, shares: 1 };
        self.slot(account).add(sum);
        self.total.add(sum);
    }

    pub(crate) fn take(&mut self, account: u32, work: u128) {
        let sum = Sum { work, shares: 1 };
        self.slot(account).take(sum);
        self.total.take(sum);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (account, sum) in (0u32..).zip(&other.by_account) {
            if sum.shares > 0 {
                self.slot(account).add(*sum);
            }
        }
        self.total.add(other.total);
    }

    pub(crate) fn total(&self) -> Sum {
        self.total
    }

    fn slot(&mut self, account: u32) -> &mut Sum {
        let index = account as usize;
        if index >= self.by_account.len() {
            self.by_account.resize(index + 1, Sum::default());
        }
        &mut self.by_account[index]
    }

    /// See [`tell`].
    pub(crate) fn tell(&self, names: &Names) -> (f64, Vec<Contribution>) {
        tell(self.total.work, (0u32..).zip(self.by_account.iter().copied()), names)
    }
}

/// The difficulty that one unit stands for, and each account's work in such units, rounded down, sorted by account. The
/// unit is the smallest power of two, from 2^-32, that keeps `total` below 2^53.
pub(crate) fn tell(
    total: u128,
    parts: impl Iterator<Item = (u32, Sum)>,
    names: &Names,
) -> (f64, Vec<Contribution>) {
    let shift = (u128::BITS - total.leading_zeros()).saturating_sub(TOLD_BITS);
    let mut list: Vec<Contribution> = parts
        .filter(|(_, sum)| sum.shares > 0)
        .filter_map(|(account, sum)| {
            let work = u64::try_from(sum.work >> shift).unwrap_or(0);
            let account = names.account_name(account)?.as_str().to_owned();
            Some(Contribution { account, work, shares: sum.shares })
        })
        .collect();
    list.sort_unstable_by(|a, b| a.account.cmp(&b.account));
    (2f64.powi(i32::try_from(shift).unwrap_or(0) - UNIT_BITS), list)
}
