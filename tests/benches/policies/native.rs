//! Policies that are part of the program, and do what the shipped ones do under this load: everybody is let in, every
//! difficulty stays, the finder takes the reward.

use std::time::Duration;

use anyhow::Result;
use sluice_core::ids::{AccountName, WorkerName};
use sluice_core::policy::PolicyFailure;
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};
use sluice_core::policy::payout::{Accrued, Entitlement, PayoutPolicy, Plan, Portion, Round, Tally, Window};
use sluice_core::policy::vardiff::{Decision, Memo, Opening, Review, VardiffPolicy};
use sluice_policy::Policies;

struct Native;

pub(crate) fn policies() -> Result<Policies> {
    Ok(Policies::native(Box::new(Native), Box::new(Native), Box::new(Native))?)
}

impl AuthPolicy for Native {
    fn authorize(&mut self, login: &Login) -> Result<Result<Grant, Refusal>, PolicyFailure> {
        let (account, worker) = login.username.split_once('.').unwrap_or((&login.username, ""));
        let bad = |why: String| PolicyFailure::BadAnswer(why);
        let payout_address = account
            .parse::<bitcoin::Address<bitcoin::address::NetworkUnchecked>>()
            .ok()
            .map(bitcoin::Address::assume_checked);
        Ok(Ok(Grant {
            account: AccountName::new(account).map_err(|error| bad(error.to_string()))?,
            worker: WorkerName::new(worker).map_err(|error| bad(error.to_string()))?,
            payout_address,
            start: None,
            minimum: None,
            maximum: None,
        }))
    }
}

/// As often again as a channel may be reviewed at all.
fn decision(review: &Review) -> Decision {
    let review_after = Duration::from_secs(60);
    Decision { difficulty: review.current, review_after, review_after_shares: 1, memo: Memo::default() }
}

impl VardiffPolicy for Native {
    fn open(&mut self, opening: &Opening) -> Result<Decision, PolicyFailure> {
        Ok(Decision {
            difficulty: opening.start.unwrap_or(opening.channel.floor),
            review_after: Duration::from_secs(60),
            review_after_shares: 1,
            memo: Memo::default(),
        })
    }

    fn review_all(&mut self, reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        Ok(reviews.iter().map(decision).collect())
    }
}

impl PayoutPolicy for Native {
    fn plan(&mut self) -> Result<Plan, PolicyFailure> {
        Ok(Plan { window: Window::None, per_finder: true, accrues: false, pays_balances: false })
    }

    fn settle(&mut self, round: &Round) -> Result<Vec<Entitlement>, PolicyFailure> {
        let all =
            Entitlement { account: round.finder.clone(), portion: Portion::Weight(1), reason: String::new() };
        Ok(vec![all])
    }

    fn accrue(&mut self, _: &[Tally]) -> Result<Vec<Accrued>, PolicyFailure> {
        Ok(Vec::new())
    }
}
