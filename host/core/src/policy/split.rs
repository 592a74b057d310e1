//! Dividing a reward to the satoshi.
//!
//! The policy answers with weights or fixed amounts; the host divides. Floating point never touches money.

use std::collections::BTreeSet;

use bitcoin::Amount;
use serde::{Deserialize, Serialize};

use super::payout::{Entitlement, Portion};

/// An account's part of a reward, in satoshis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Empty: the pool's own account.
    pub account: String,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
    pub reason: String,
}

/// An answer that cannot be divided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("fixed portions come to {fixed} sat, more than the reward of {reward} sat")]
    MoreThanReward { fixed: u128, reward: u64 },
    #[error("account {0:?} is named twice")]
    Twice(String),
    #[error("account {0:?} is not known to the pool")]
    UnknownAccount(String),
    #[error("{left} sat are left over and no portion has a weight; give one account a weight")]
    NobodyForTheRest { left: u64 },
    #[error("{count} entitlements; at most {limit} are allowed")]
    TooMany { count: usize, limit: usize },
}

/// The most entitlements in an answer.
pub const ENTITLEMENT_LIMIT: usize = 1_000_000;

/// Divides `reward` exactly: fixed portions first, the rest by weight with the largest remainder, ties to the account
/// that sorts first. Returned in the order of the entitlements, portions of zero included.
///
/// # Errors
/// See [`SplitError`]; nothing is divided then.
pub fn split(
    reward: Amount,
    entitlements: &[Entitlement],
    known: &dyn Fn(&str) -> bool,
) -> Result<Vec<Credit>, SplitError> {
    check_names(entitlements, known)?;
    let fixed: u128 = entitlements.iter().filter_map(fixed_portion).map(u128::from).sum();
    let rest = u128::from(reward.to_sat())
        .checked_sub(fixed)
        .ok_or(SplitError::MoreThanReward { fixed, reward: reward.to_sat() })?;
    let weights: u128 = entitlements.iter().map(weight).sum();
    if weights == 0 && rest > 0 {
        return Err(SplitError::NobodyForTheRest {
            left: reward.to_sat() - u64::try_from(fixed).unwrap_or(0),
        });
    }
    let mut shares: Vec<u128> = entitlements.iter().map(|e| floor_share(e, rest, weights)).collect();
    hand_out_remainder(entitlements, &mut shares, rest, weights);
    Ok(entitlements
        .iter()
        .zip(shares)
        .map(|(entitlement, sats)| Credit {
            account: entitlement.account.clone(),
            amount: Amount::from_sat(u64::try_from(sats).unwrap_or(0)),
            reason: entitlement.reason.clone(),
        })
        .collect())
}

fn check_names(entitlements: &[Entitlement], known: &dyn Fn(&str) -> bool) -> Result<(), SplitError> {
    if entitlements.len() > ENTITLEMENT_LIMIT {
        return Err(SplitError::TooMany { count: entitlements.len(), limit: ENTITLEMENT_LIMIT });
    }
    let mut seen = BTreeSet::new();
    for entitlement in entitlements {
        let account = entitlement.account.as_str();
        if !account.is_empty() && !known(account) {
            return Err(SplitError::UnknownAccount(account.to_owned()));
        }
        if !seen.insert(account) {
            return Err(SplitError::Twice(account.to_owned()));
        }
    }
    Ok(())
}

fn fixed_portion(entitlement: &Entitlement) -> Option<u64> {
    match entitlement.portion {
        Portion::Fixed(sats) => Some(sats),
        Portion::Weight(_) => None,
    }
}

fn weight(entitlement: &Entitlement) -> u128 {
    match entitlement.portion {
        Portion::Weight(weight) => u128::from(weight),
        Portion::Fixed(_) => 0,
    }
}

fn floor_share(entitlement: &Entitlement, rest: u128, weights: u128) -> u128 {
    match entitlement.portion {
        Portion::Fixed(sats) => u128::from(sats),
        // rest < 2^51 and a weight < 2^64, so the product fits.
        Portion::Weight(weight) => (rest * u128::from(weight)).checked_div(weights).unwrap_or(0),
    }
}

fn hand_out_remainder(entitlements: &[Entitlement], shares: &mut [u128], rest: u128, weights: u128) {
    if weights == 0 {
        return;
    }
    let mut order: Vec<(u128, usize)> = entitlements
        .iter()
        .enumerate()
        .filter(|(_, e)| weight(e) > 0)
        .map(|(index, e)| ((rest * weight(e)) % weights, index))
        .collect();
    order.sort_by(|(a, i), (b, j)| {
        b.cmp(a).then_with(|| entitlements[*i].account.cmp(&entitlements[*j].account))
    });
    let given: u128 = order.iter().map(|(_, index)| shares[*index]).sum();
    let left = usize::try_from(rest - given).unwrap_or(0);
    for (_, index) in order.iter().take(left) {
        shares[*index] += 1;
    }
}

#[cfg(test)]
mod tests;
