//! Answers as an author writes them: the contract's names, a variant as a table with one key.

use serde_json::{Map, Value, json};
use sluice_core::policy::PolicyFailure;
use sluice_core::policy::accrual::MICROSATS;
use sluice_core::policy::auth::{Grant, Refusal};
use sluice_core::policy::payout::{Accrued, Entitlement, Plan, Portion, Window};
use sluice_core::policy::vardiff::Decision;
use sluice_core::units::Difficulty;

pub(super) fn ok(value: Value) -> Value {
    Value::Object(Map::from_iter([("ok".to_owned(), value)]))
}

fn err(case: &str, text: &str) -> Value {
    json!({ "err": { case: text } })
}

/// # Errors
/// What is no answer: a trap, or an answer that the pool would refuse.
pub(super) fn failure(failure: PolicyFailure) -> Result<Value, String> {
    match failure {
        PolicyFailure::BadInput(text) => Ok(err("bad-input", &text)),
        PolicyFailure::Internal(text) => Ok(err("internal", &text)),
        other => Err(other.to_string()),
    }
}

pub(super) fn login(answer: &Result<Grant, Refusal>) -> Value {
    match answer {
        Ok(grant) => ok(json!({
            "account": grant.account.as_str(),
            "worker": grant.worker.as_str(),
            "payout-address": grant.payout_address.as_ref().map(ToString::to_string),
            "start-difficulty": grant.start.map(Difficulty::get),
            "minimum-difficulty": grant.minimum.map(Difficulty::get),
            "maximum-difficulty": grant.maximum.map(Difficulty::get),
        })),
        Err(Refusal::UnknownUser(text)) => err("unknown-user", text),
        Err(Refusal::WrongPassword(text)) => err("wrong-password", text),
        Err(Refusal::Forbidden(text)) => err("forbidden", text),
        Err(Refusal::TryLater(text)) => err("try-later", text),
    }
}

pub(super) fn decision(decision: &Decision) -> Value {
    json!({
        "difficulty": decision.difficulty.get(),
        "review-after-ms": u64::try_from(decision.review_after.as_millis()).unwrap_or(u64::MAX),
        "review-after-shares": decision.review_after_shares,
        "memo": decision.memo.bytes.to_vec(),
    })
}

pub(super) fn plan(plan: Plan) -> Value {
    let window = match plan.window {
        Window::Round => json!("round"),
        Window::Work(times) => json!({ "work": times }),
        Window::DurationMs(millis) => json!({ "duration-ms": millis }),
        Window::None => json!("none"),
    };
    json!({
        "window": window,
        "per-finder": plan.per_finder,
        "accrues": plan.accrues,
        "pays-balances": plan.pays_balances,
    })
}

pub(super) fn entitlements(list: &[Entitlement]) -> Value {
    let one = |entitlement: &Entitlement| {
        let portion = match entitlement.portion {
            Portion::Weight(weight) => json!({ "weight": weight }),
            Portion::Fixed(sats) => json!({ "fixed": sats }),
        };
        json!({ "account": entitlement.account, "portion": portion, "reason": entitlement.reason })
    };
    list.iter().map(one).collect()
}

pub(super) fn accruals(list: &[Accrued]) -> Value {
    let one = |accrued: &Accrued| {
        json!({
            "account": accrued.account,
            "sats": accrued.microsats / MICROSATS,
            "microsats": accrued.microsats % MICROSATS,
            "reason": accrued.reason,
        })
    };
    list.iter().map(one).collect()
}
