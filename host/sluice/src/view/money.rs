//! What the HTTP side sees of the pool's money: the ledger's words in the API's.

use std::pin::Pin;
use std::time::Duration;

use sluice_ledger::{AccountPayout, AccountView, AccountWorker, Done, Money, Owed, PayoutRow};

use super::{View, block_info, credit_info, failed};
use crate::clock;
use crate::http::{
    AccountInfo, AccountPayoutInfo, AccountWorkerInfo, BalanceInfo, BalancesInfo, DoneInfo, Forecast,
    MoneyInfo, OwedInfo, PayoutInfo, ViewError,
};

/// How long an account's view, and the books', are kept at least.
pub(super) const ACCOUNT_AGE: Duration = Duration::from_secs(1);
pub(super) const MONEY_AGE: Duration = Duration::from_secs(2);
/// Accounts' views that are kept.
pub(super) const ACCOUNTS_LIMIT: usize = 64;
/// Balances that are kept, at least as many as a list may have.
const BALANCES_LIMIT: usize = 1000;

/// A forecast under way.
pub type Forecasting<'a> = Pin<Box<dyn Future<Output = Forecast> + Send + 'a>>;

/// Says what the next block would pay an account if it were found now. Answers within seconds, whatever the policy does.
pub trait Forecaster: Send + Sync + 'static {
    fn next_block<'a>(&'a self, account: &'a str) -> Forecasting<'a>;
}

/// The books as they were a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Books {
    money: MoneyInfo,
    /// The largest.
    balances: Vec<BalanceInfo>,
}

impl View {
    pub(super) async fn books(&self) -> Result<Books, ViewError> {
        let ask = async { Ok(books(self.ledger.money().await.map_err(|error| failed(&error))?)) };
        self.books.get((), ask).await
    }

    pub(super) async fn money_info(&self) -> Result<MoneyInfo, ViewError> {
        Ok(self.books().await?.money)
    }

    pub(super) async fn balances_info(&self, limit: usize) -> Result<BalancesInfo, ViewError> {
        let Books { money, balances } = self.books().await?;
        Ok(BalancesInfo { house: money.house, accounts: balances.into_iter().take(limit).collect() })
    }

    pub(super) async fn payout_infos(&self, limit: usize) -> Result<Vec<PayoutInfo>, ViewError> {
        let rows = self.ledger.payout_rows(limit).await.map_err(|error| failed(&error))?;
        Ok(rows.into_iter().map(payout).collect())
    }

    pub(super) async fn account_info(
        &self,
        account: String,
        limit: usize,
    ) -> Result<Option<AccountInfo>, ViewError> {
        // Names that nobody has cost nothing, and take nobody's place.
        if !self.ledger.account_known(&account) {
            return Ok(None);
        }
        let ask = self.ask_account(account.clone(), limit);
        self.accounts.get((account, limit), ask).await
    }

    async fn ask_account(&self, account: String, limit: usize) -> Result<Option<AccountInfo>, ViewError> {
        let view = self.ledger.account(account.clone(), clock::wall(), limit);
        let (view, forecast) = tokio::join!(view, self.forecast(&account));
        let view = view.map_err(|error| failed(&error))?;
        Ok(view.map(|view| account_info(view, forecast)))
    }

    async fn forecast(&self, account: &str) -> Forecast {
        let unknown = |reason: &str| Forecast::Unknown { reason: reason.to_owned() };
        let Some(forecaster) = &self.forecaster else { return unknown("nobody here asks the payout policy") };
        forecaster.next_block(account).await
    }
}

fn books(money: Money) -> Books {
    let creditors = money.balances.iter().filter(|(_, balance)| balance.sat > 0).count();
    let balances = money.balances.into_iter().take(BALANCES_LIMIT);
    Books {
        money: MoneyInfo {
            house: owed(money.house),
            accounts: owed(money.accounts),
            creditors: creditors as u64,
            open_payouts: money.open_payouts.into_iter().map(payout).collect(),
            held_rounds: money.held_rounds,
            unaccrued_shares: money.unaccrued,
        },
        balances: balances.map(|(account, sums)| BalanceInfo { account, owed: owed(sums) }).collect(),
    }
}

const fn owed(owed: Owed) -> OwedInfo {
    let Owed { sat, mature_sat, immature_sat, due_sat } = owed;
    OwedInfo { balance_sat: sat, mature_sat, immature_sat, due_sat }
}

const fn done(done: Done) -> DoneInfo {
    DoneInfo {
        shares: done.shares,
        work: done.work,
        recent_work: done.recent_work,
        hashrate: done.hashrate.0,
    }
}

fn payout(row: PayoutRow) -> PayoutInfo {
    PayoutInfo {
        batch: row.batch,
        state: row.state,
        at: row.at,
        lines: row.lines,
        amount_sat: row.amount_sat,
        txid: row.txid.map(|txid| txid.to_string()),
        height: row.height,
        fee_sat: row.fee_sat,
    }
}

fn account_info(view: AccountView, forecast: Forecast) -> AccountInfo {
    AccountInfo {
        account: view.account,
        address: view.address,
        owed: owed(view.owed),
        carried_microsats: view.carried_microsats,
        minimum_sat: view.terms.minimum.map(|amount| amount.to_sat()),
        held: view.terms.held,
        done: done(view.done),
        workers: view.workers.into_iter().map(worker).collect(),
        forecast,
        blocks: view.blocks.into_iter().map(block_info).collect(),
        credits: view.credits.into_iter().map(credit_info).collect(),
        payouts: view.payouts.into_iter().map(account_payout).collect(),
    }
}

fn worker(worker: AccountWorker) -> AccountWorkerInfo {
    let AccountWorker { worker, protocol, done: sums, last_share_at } = worker;
    AccountWorkerInfo { worker, protocol, done: done(sums), last_share_at }
}

fn account_payout(payout: AccountPayout) -> AccountPayoutInfo {
    AccountPayoutInfo {
        batch: payout.batch,
        state: payout.state,
        at: payout.at,
        amount_sat: payout.amount_sat,
        address: payout.address,
        txid: payout.txid.map(|txid| txid.to_string()),
    }
}
