//! The entries of a transaction, as they should be and as they are.

use std::collections::BTreeMap;

use rusqlite::Connection;

/// The entries of a transaction, added up by account; the house's under the empty name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Booked {
    pub(crate) reward: i128,
    pub(crate) coinbase: i128,
    pub(crate) payout: i128,
    pub(crate) credits: BTreeMap<String, i128>,
    /// By coinbases: negative.
    pub(crate) payments: BTreeMap<String, i128>,
}

impl Booked {
    /// A settled round. `payments` are negative.
    pub(crate) fn round(
        reward: i128,
        credits: BTreeMap<String, i128>,
        payments: BTreeMap<String, i128>,
    ) -> Self {
        let coinbase = -payments.values().sum::<i128>();
        Self { reward: -reward, coinbase, payout: 0, credits, payments }
    }

    /// Work credited at the house's cost.
    pub(crate) fn accrual(mut credits: BTreeMap<String, i128>) -> Self {
        let cost: i128 = credits.values().sum();
        if cost != 0 {
            credits.insert(String::new(), -cost);
        }
        Self { credits, ..Self::default() }
    }

    /// What a transaction of the pool's takes from accounts, or its fee from the house: negative.
    pub(crate) fn payout(taken: BTreeMap<String, i128>) -> Self {
        Self { payout: -taken.values().sum::<i128>(), credits: taken, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A reversal does not tell credits from payments.
    pub(crate) fn reversed(&self) -> Self {
        let mut credits = BTreeMap::new();
        for (account, sats) in self.credits.iter().chain(&self.payments) {
            *credits.entry(account.clone()).or_default() -= sats;
        }
        Self {
            reward: -self.reward,
            coinbase: -self.coinbase,
            payout: -self.payout,
            credits,
            payments: BTreeMap::new(),
        }
    }

    fn add(&mut self, (book, cause): (&str, &str), account: String, sats: i128) {
        let sum = match (book, cause) {
            ("reward", _) => &mut self.reward,
            ("coinbase", _) => &mut self.coinbase,
            ("payout", _) => &mut self.payout,
            (_, "payment") => self.payments.entry(account).or_default(),
            // Anything else is money that an account got: it has to be a credit.
            _ => self.credits.entry(account).or_default(),
        };
        *sum += sats;
    }

    pub(crate) fn add_to(&self, balances: &mut BTreeMap<String, i128>) {
        for (account, sats) in self.credits.iter().chain(&self.payments) {
            *balances.entry(account.clone()).or_default() += sats;
        }
    }
}

/// What is entered under the transaction `journal`, and in how many entries.
pub(crate) fn read(connection: &Connection, journal: i64) -> rusqlite::Result<(Booked, u64)> {
    let mut statement = connection.prepare_cached(
        "SELECT e.book, e.cause, coalesce(a.name, CASE e.book WHEN 'account' THEN '?' || e.account ELSE '' END), \
         e.amount FROM entries e LEFT JOIN accounts a ON a.id = e.account WHERE e.journal = ?",
    )?;
    let mut rows = statement.query([journal])?;
    let (mut booked, mut entries) = (Booked::default(), 0);
    while let Some(row) = rows.next()? {
        let (book, cause): (String, String) = (row.get(0)?, row.get(1)?);
        entries += 1;
        booked.add((&book, &cause), row.get(2)?, row.get::<_, i64>(3)?.into());
    }
    Ok((booked, entries))
}
