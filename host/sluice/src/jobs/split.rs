//! What the next block's coinbase pays: the payout policy's answer, divided to the satoshi and fitted into the room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::{Address, Amount};
use sluice_core::coinbase::{self, Payment, PoolMark, parse_address};
use sluice_core::ids::AccountName;
use sluice_core::job::Work;
use sluice_core::policy::PolicyFailure;
use sluice_core::policy::payout::{Entitlement, Plan, Portion, Round, Window};
use sluice_core::policy::split::{Credit, split};
use sluice_core::template::Template;
use sluice_ledger::{Ledger, TemplateFacts};
use sluice_policy::Policies;

use crate::clock;

/// Asks the payout policy what the next block would pay.
pub struct Splitter {
    pub policies: Policies,
    pub ledger: Ledger,
    pub pool: Address,
    /// Budget of the serialised coinbase, in bytes (V1-92).
    pub room: usize,
    pub mark: PoolMark,
    /// The last answers that could be used, by finder; they stand while the policy gives none.
    pub last: Mutex<HashMap<String, Vec<Entitlement>>>,
}

/// How long miners may wait for the policy's word on what their next block pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It did not answer a moment ago: do not ask.
    None,
    /// [`PREVIEW_LIMIT`].
    Short,
}

/// A new block must reach the miners, whatever the payout policy does.
const PREVIEW_LIMIT: Duration = Duration::from_millis(50);
/// Answers remembered; beyond it they are forgotten together.
const LAST_LIMIT: usize = 200_000;

impl Splitter {
    /// The ledger needs to know what shares were worked on.
    pub fn note_template(&self, template: &Template) {
        self.ledger.template(TemplateFacts {
            id: template.id,
            height: template.height,
            previous: template.previous,
            network_difficulty: template.network_difficulty(),
            subsidy: template.subsidy,
            fees: template.fees(),
            at: template.received,
        });
    }

    pub async fn plan(&self) -> Option<Plan> {
        match self.policies.plan().await {
            Ok(plan) => {
                if plan.accrues {
                    tracing::error!(
                        "the payout policy wants to accrue, which this version does not do: it credits blocks only"
                    );
                }
                Some(plan)
            }
            Err(error) => {
                tracing::error!(%error, "payout plan unknown");
                None
            }
        }
    }

    /// What a coinbase pays, and whether the policy said so. Never fails: without a usable answer in time the last split
    /// stands, and without any the pool's own address keeps the reward and the ledger owes it.
    pub async fn payments(
        &self,
        work: &Work,
        finder: Option<&AccountName>,
        window: Window,
        patience: Patience,
    ) -> (Arc<[Payment]>, bool) {
        let template = &work.template;
        let asked = match patience {
            Patience::None => Err(PolicyFailure::Unavailable("it did not answer in time".to_owned())),
            Patience::Short => {
                tokio::time::timeout(PREVIEW_LIMIT, self.ask(template, finder, window)).await.unwrap_or_else(
                    |_| Err(PolicyFailure::Unavailable(format!("no answer within {PREVIEW_LIMIT:?}"))),
                )
            }
        };
        let answered = asked.is_ok();
        let credits = asked.unwrap_or_else(|error| {
            if patience != Patience::None {
                tracing::error!(%error, height = template.height, "payout preview failed; the last split stands");
            }
            self.fall_back(template.coinbase_value, finder)
        });
        let address_of = |account: &str| {
            let text = self.ledger.address_of(account)?;
            parse_address(&text, template.network).ok()
        };
        let room = (self.room, coinbase::overhead(&self.mark));
        (coinbase::payments(&credits, &address_of, &self.pool, room).into(), answered)
    }

    async fn ask(
        &self,
        template: &Template,
        finder: Option<&AccountName>,
        window: Window,
    ) -> Result<Vec<Credit>, PolicyFailure> {
        let difficulty = template.network_difficulty();
        let contributions = self
            .ledger
            .contributions(window, difficulty)
            .await
            .map_err(|error| PolicyFailure::Unavailable(error.to_string()))?;
        let round = Round {
            found: false,
            height: template.height,
            at: clock::wall(),
            subsidy: template.subsidy,
            fees: template.fees(),
            network_difficulty: difficulty.get(),
            finder: finder.map(ToString::to_string).unwrap_or_default(),
            work_unit: contributions.work_unit,
            contributions: contributions.list,
        };
        let settled = self.policies.settle(round).await?;
        let credits = self.divide(template.coinbase_value, &settled.entitlements);
        if credits.is_ok() {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() >= LAST_LIMIT {
                last.clear();
            }
            last.insert(finder.map(ToString::to_string).unwrap_or_default(), settled.entitlements);
        }
        credits
    }

    fn divide(&self, reward: Amount, entitlements: &[Entitlement]) -> Result<Vec<Credit>, PolicyFailure> {
        split(reward, entitlements, &|account| self.ledger.account_known(account))
            .map_err(|error| PolicyFailure::BadAnswer(error.to_string()))
    }

    fn fall_back(&self, reward: Amount, finder: Option<&AccountName>) -> Vec<Credit> {
        let finder = finder.map(AccountName::as_str).unwrap_or_default();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).get(finder).cloned();
        last.and_then(|entitlements| self.divide(reward, &entitlements).ok()).unwrap_or_else(|| {
            let house = Entitlement {
                account: String::new(),
                portion: Portion::Weight(1),
                reason: "held until the payout policy answers".to_owned(),
            };
            self.divide(reward, &[house]).unwrap_or_default()
        })
    }
}
