//! What the next block's coinbase pays: the payout policy's answer, divided to the satoshi, with what is owed from before,
//! and fitted into the room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::{Address, Amount};
use sluice_core::coinbase::{self, Claims, Owed, Payment, PoolMark, parse_address};
use sluice_core::ids::AccountName;
use sluice_core::policy::PolicyFailure;
use sluice_core::policy::payout::{Entitlement, Plan, Portion, Round, Window};
use sluice_core::policy::split::{Credit, split};
use sluice_core::template::Template;
use sluice_ledger::{Ledger, TemplateFacts};
use sluice_policy::{Policies, PolicyIdentity};
use tokio::sync::Semaphore;

use super::{Class, Classes};
use crate::blocks::Unbooked;
use crate::clock;

/// What a splitter is made with.
pub struct SplitterConfig {
    pub policies: Policies,
    pub ledger: Ledger,
    /// The pool's own address.
    pub pool: Address,
    /// Budgets of the serialised coinbase (V1-92).
    pub classes: Classes,
    pub mark: PoolMark,
    /// While there are such, balances may be paid already.
    pub unbooked: Arc<Unbooked>,
}

/// Asks the payout policy what the next block would pay.
pub struct Splitter {
    pub(super) config: SplitterConfig,
    known: Mutex<Known>,
    /// What the present coinbases may pay beside the credits.
    owed: Mutex<Arc<Owed>>,
    /// A node left less room than a class has, and that was said.
    cut: AtomicBool,
    pub(super) previews: Semaphore,
}

/// What was asked and answered.
struct Known {
    /// Counts templates and plans: an answer of this round is of the present template and plan.
    round: u64,
    template: Option<Arc<Template>>,
    /// The most bytes that the template leaves to a coinbase.
    room: usize,
    plan: Option<Plan>,
    /// The last answers that could be used, by finder; they stand while the policy gives none.
    last: HashMap<String, LastAnswer>,
    /// What everybody's coinbase of no class pays, and since which round.
    paid: Option<(u64, Arc<[Payment]>)>,
}

struct LastAnswer {
    round: u64,
    entitlements: Vec<Entitlement>,
    /// Of an answer that is everybody's: those of one finder are short, and many.
    credits: Option<Arc<[Credit]>>,
    policy: Arc<PolicyIdentity>,
}

/// A round as it is at a moment.
pub(super) struct Present {
    pub(super) round: u64,
    pub(super) template: Arc<Template>,
    pub(super) plan: Plan,
}

/// An answer for the present template.
pub(super) struct Divided {
    pub(super) credits: Arc<[Credit]>,
    pub(super) policy: Arc<PolicyIdentity>,
}

/// Whether the policy is to be asked where its answer for the present template is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    Anew,
    UnlessKnown,
}

/// How long miners may wait for the policy's word on what their next block pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It did not answer a moment ago: do not ask.
    None,
    /// [`PREVIEW_LIMIT`].
    Short,
}

/// A new block must reach the miners, whatever the payout policy does, and whatever the ledger.
const PREVIEW_LIMIT: Duration = Duration::from_millis(50);
/// Answers remembered; beyond it they are forgotten together.
const LAST_LIMIT: usize = 200_000;
/// Accounts to be paid beside a finder of their own, for each of whom the list is gone through: those owed most.
const OWED_PER_FINDER: usize = 100;

impl Splitter {
    pub fn new(config: SplitterConfig) -> Self {
        let known = Known {
            round: 0,
            template: None,
            room: usize::MAX,
            plan: None,
            last: HashMap::new(),
            paid: None,
        };
        Self {
            config,
            known: Mutex::new(known),
            owed: Mutex::default(),
            cut: AtomicBool::new(false),
            previews: Semaphore::new(super::preview::AT_ONCE),
        }
    }

    /// Other work: it is the present template from now on, and the ledger needs to know what shares were worked on.
    pub(super) fn note_template(&self, template: &Arc<Template>) {
        // A node may be told to leave next to nothing.
        let room = template.coinbase_room();
        let mut known = self.known();
        known.round += 1;
        known.room = room;
        known.template = Some(Arc::clone(template));
        drop(known);
        self.config.ledger.template(TemplateFacts {
            id: template.id,
            height: template.height,
            previous: template.previous,
            network_difficulty: template.network_difficulty(),
            subsidy: template.subsidy,
            fees: template.fees(),
            at: template.received,
        });
    }

    /// What was answered by another policy, or with other settings, is not known any more.
    pub(super) fn note_plan(&self, plan: Plan) {
        let mut known = self.known();
        known.round += 1;
        known.plan = Some(plan);
    }

    pub(super) async fn plan(&self) -> Option<Plan> {
        let plan = self.config.policies.plan().await;
        plan.inspect_err(|error| tracing::error!(%error, "payout plan unknown")).ok()
    }

    pub(super) fn present(&self) -> Option<Present> {
        let known = self.known();
        Some(Present {
            round: known.round,
            template: Arc::clone(known.template.as_ref()?),
            plan: known.plan?,
        })
    }

    /// Finds out what coinbases may pay beside the credits, if the plan says so. Nothing, where that cannot be known for
    /// sure: while a block of the pool is not in the books, it may have paid the same.
    pub(super) async fn look_up_owed(&self, plan: Plan) {
        let owed = if plan.pays_balances && self.config.unbooked.is_none() {
            let mut owed = self.read_owed().await;
            if plan.per_finder {
                keep_largest(&mut owed, OWED_PER_FINDER);
            }
            owed
        } else {
            Owed::new()
        };
        *self.owed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(owed);
    }

    async fn read_owed(&self) -> Owed {
        match tokio::time::timeout(PREVIEW_LIMIT, self.config.ledger.owed()).await {
            Ok(Ok(owed)) => owed,
            Ok(Err(error)) => {
                tracing::error!(%error, "balances unknown; coinbases pay none for now");
                Owed::new()
            }
            Err(_) => {
                tracing::warn!("balances not known within {PREVIEW_LIMIT:?}; coinbases pay none for now");
                Owed::new()
            }
        }
    }

    /// As of the last [`Splitter::look_up_owed`].
    pub(super) fn owed(&self) -> Arc<Owed> {
        Arc::clone(&self.owed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the finder's block is credited, and whether the policy said so. Never fails: without a usable answer in time
    /// the last split stands, and without any the pool's own address keeps the reward and the ledger owes it.
    pub(super) async fn credits(
        &self,
        template: &Template,
        finder: Option<&AccountName>,
        window: Window,
        (asking, patience): (Asking, Patience),
    ) -> (Arc<[Credit]>, bool) {
        let round = self.known().round;
        let known = if asking == Asking::UnlessKnown { self.divided(round, template, finder) } else { None };
        let asked = match (known, patience) {
            (Some(known), _) => Ok(known),
            (None, Patience::None) => Err(PolicyFailure::Unavailable("it did not answer in time".to_owned())),
            (None, Patience::Short) => {
                tokio::time::timeout(PREVIEW_LIMIT, self.ask(round, template, finder, window))
                    .await
                    .unwrap_or_else(|_| {
                        Err(PolicyFailure::Unavailable(format!("no answer within {PREVIEW_LIMIT:?}")))
                    })
            }
        };
        match asked {
            Ok(divided) => (divided.credits, true),
            Err(error) => {
                if patience != Patience::None {
                    tracing::error!(%error, height = template.height, "payout preview failed; the last split stands");
                }
                (self.fall_back(template.coinbase_value, finder).into(), false)
            }
        }
    }

    /// What a class's coinbase pays of that, and of what is owed.
    pub(super) fn fit(&self, template: &Template, class: Class, claims: &Claims<'_>) -> Arc<[Payment]> {
        let room = self.known().room;
        let wanted = self.config.classes.bytes(class);
        if room < wanted && !self.cut.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                wanted,
                room,
                "the node leaves a coinbase less room than pool.coinbase_bytes or a class has; more fits with \
                 blockreservedweight={} in bitcoin.conf",
                wanted.saturating_mul(4).saturating_add(1000)
            );
        }
        let address_of = |account: &str| {
            let text = self.config.ledger.address_of(account)?;
            parse_address(&text, template.network).ok()
        };
        let room = (wanted.min(room), coinbase::overhead(&self.config.mark));
        claims.payments(&address_of, &self.config.pool, room).into()
    }

    /// What everybody's coinbase of no class pays now.
    pub(super) fn note_paid(&self, payments: &Arc<[Payment]>) {
        let mut known = self.known();
        known.paid = Some((known.round, Arc::clone(payments)));
    }

    /// What everybody's coinbase of no class pays, if it was made in this round.
    pub(super) fn paid(&self, round: u64) -> Option<Arc<[Payment]>> {
        let known = self.known();
        known.paid.as_ref().filter(|(since, _)| *since == round).map(|(_, payments)| Arc::clone(payments))
    }

    /// The policy's answer of this round, if it was asked.
    pub(super) fn divided(
        &self,
        round: u64,
        template: &Template,
        finder: Option<&AccountName>,
    ) -> Option<Divided> {
        let known = self.known();
        let last = known.last.get(name(finder)).filter(|last| last.round == round)?;
        let policy = Arc::clone(&last.policy);
        if let Some(credits) = &last.credits {
            return Some(Divided { credits: Arc::clone(credits), policy });
        }
        let entitlements = last.entitlements.clone();
        drop(known);
        let credits = self.divide(template.coinbase_value, &entitlements).ok()?;
        Some(Divided { credits: credits.into(), policy })
    }

    pub(super) async fn ask(
        &self,
        round: u64,
        template: &Template,
        finder: Option<&AccountName>,
        window: Window,
    ) -> Result<Divided, PolicyFailure> {
        let difficulty = template.network_difficulty();
        let contributions = self
            .config
            .ledger
            .contributions(window, difficulty)
            .await
            .map_err(|error| PolicyFailure::Unavailable(error.to_string()))?;
        let question = Round {
            found: false,
            height: template.height,
            at: clock::wall(),
            subsidy: template.subsidy,
            fees: template.fees(),
            network_difficulty: difficulty.get(),
            finder: name(finder).to_owned(),
            work_unit: contributions.work_unit,
            contributions: contributions.list,
        };
        let settled = self.config.policies.settle(question).await?;
        let credits: Arc<[Credit]> = self.divide(template.coinbase_value, &settled.entitlements)?.into();
        let policy = Arc::clone(&settled.policy);
        self.remember(
            finder,
            LastAnswer {
                round,
                entitlements: settled.entitlements,
                credits: finder.is_none().then(|| Arc::clone(&credits)),
                policy: settled.policy,
            },
        );
        Ok(Divided { credits, policy })
    }

    fn remember(&self, finder: Option<&AccountName>, answer: LastAnswer) {
        let mut known = self.known();
        let is_older = known.last.get(name(finder)).is_some_and(|last| last.round > answer.round);
        if is_older {
            return;
        }
        if known.last.len() >= LAST_LIMIT {
            known.last.clear();
        }
        known.last.insert(name(finder).to_owned(), answer);
    }

    fn divide(&self, reward: Amount, entitlements: &[Entitlement]) -> Result<Vec<Credit>, PolicyFailure> {
        split(reward, entitlements, &|account| self.config.ledger.account_known(account))
            .map_err(|error| PolicyFailure::BadAnswer(error.to_string()))
    }

    fn fall_back(&self, reward: Amount, finder: Option<&AccountName>) -> Vec<Credit> {
        let last = self.known().last.get(name(finder)).map(|last| last.entitlements.clone());
        last.and_then(|entitlements| self.divide(reward, &entitlements).ok()).unwrap_or_else(|| {
            let house = Entitlement {
                account: String::new(),
                portion: Portion::Weight(1),
                reason: "held until the payout policy answers".to_owned(),
            };
            self.divide(reward, &[house]).unwrap_or_default()
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Empty: everybody's.
fn name(finder: Option<&AccountName>) -> &str {
    finder.map(AccountName::as_str).unwrap_or_default()
}

fn keep_largest(owed: &mut Owed, count: usize) {
    if owed.len() <= count {
        return;
    }
    let mut amounts: Vec<Amount> = owed.values().copied().collect();
    amounts.sort_unstable_by(|a, b| b.cmp(a));
    if let Some(least) = amounts.get(count) {
        // Those that are owed the same as the first that is too many are too many, too.
        owed.retain(|_, amount| *amount > *least);
    }
}

#[cfg(test)]
mod tests;
