//! What an account would get if the next block were found now.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Amount;
use sluice_core::coinbase::{Claims, Payment};
use sluice_core::ids::AccountName;
use sluice_core::policy::PolicyFailure;
use sluice_policy::PolicyIdentity;

use super::Class;
use super::split::{Divided, Present, Splitter};
use crate::http::{Forecast, NextBlock, PolicyName};
use crate::view::{Forecaster, Forecasting};

/// Questions to the policy for who only wants to know, at a time; others wait.
pub(super) const AT_ONCE: usize = 2;
/// How long an answer may take, the wait included.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the next block would bring an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Its part of the reward.
    pub credit: Amount,
    /// What the coinbase itself would pay it, balances included, if it is one of no class; `None`: it has no output.
    pub coinbase_output: Option<Amount>,
    /// The whole reward.
    pub reward: Amount,
    /// The policy credits work as it comes, whether or not a block is found.
    pub accrues: bool,
    /// Who says so.
    pub policy: Arc<PolicyIdentity>,
}

impl Splitter {
    /// The dry run of the present template's split. The policy is asked only where it was not yet.
    ///
    /// # Errors
    /// There is no template yet, or the policy gives no answer, or none in time.
    pub async fn preview(&self, account: &AccountName) -> Result<Preview, PolicyFailure> {
        let present =
            self.present().ok_or_else(|| PolicyFailure::Unavailable("there is no work yet".to_owned()))?;
        let finder = present.plan.per_finder.then_some(account);
        let divided = match self.divided(present.round, &present.template, finder) {
            Some(divided) => divided,
            None => tokio::time::timeout(PATIENCE, self.ask_in_turn(&present, finder))
                .await
                .map_err(|_| PolicyFailure::Unavailable(format!("no answer within {PATIENCE:?}")))??,
        };
        let is_own = |name: &str| name == account.as_str();
        let credit = divided.credits.iter().find(|credit| is_own(&credit.account));
        let payments = self.payments(&present, finder, &divided);
        let payment = payments.iter().find(|payment| is_own(&payment.account));
        Ok(Preview {
            credit: credit.map_or(Amount::ZERO, |credit| credit.amount),
            coinbase_output: payment.map(|payment| payment.amount),
            reward: present.template.coinbase_value,
            accrues: present.plan.accrues,
            policy: divided.policy,
        })
    }

    async fn ask_in_turn(
        &self,
        present: &Present,
        finder: Option<&AccountName>,
    ) -> Result<Divided, PolicyFailure> {
        let turn = self.previews.acquire().await;
        let _turn = turn.map_err(|error| PolicyFailure::Unavailable(error.to_string()))?;
        // Who was before may have asked the same.
        match self.divided(present.round, &present.template, finder) {
            Some(divided) => Ok(divided),
            None => self.ask(present.round, &present.template, finder, present.plan.window).await,
        }
    }

    fn payments(&self, present: &Present, finder: Option<&AccountName>, divided: &Divided) -> Arc<[Payment]> {
        if let Some(paid) = self.paid(present.round).filter(|_| finder.is_none()) {
            return paid;
        }
        let owed = self.owed();
        self.fit(&present.template, Class::DEFAULT, &Claims::new(&divided.credits, &owed))
    }
}

impl Forecaster for Splitter {
    fn next_block<'a>(&'a self, account: &'a str) -> Forecasting<'a> {
        Box::pin(async move {
            let unknown = |reason: String| Forecast::Unknown { reason };
            match AccountName::new(account) {
                Ok(account) => {
                    self.preview(&account).await.map_or_else(|error| unknown(error.to_string()), known)
                }
                Err(error) => unknown(error.to_string()),
            }
        })
    }
}

fn known(preview: Preview) -> Forecast {
    let Preview { credit, coinbase_output, reward, accrues, policy } = preview;
    Forecast::Known(NextBlock {
        reward_sat: reward.to_sat(),
        credit_sat: credit.to_sat(),
        output_sat: coinbase_output.unwrap_or(Amount::ZERO).to_sat(),
        accrues,
        policy: PolicyName {
            name: policy.name.clone(),
            version: policy.version.clone(),
            hash: policy.hash.clone(),
        },
    })
}
