//! What every vardiff policy is asked.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::ids::{AccountName, Protocol, WorkerName};
use sluice_core::policy::Client;
use sluice_core::policy::vardiff::{
    ChannelFacts, Decision, MEMO_LIMIT, Memo, Opening, Review, VardiffPolicy,
};
use sluice_core::units::{Difficulty, Timestamp};

use super::{MANY, Sheet, about, fair, same, texts};
use crate::load::Loaded;
use crate::vardiff::WasmVardiff;

/// The greatest u64 of the contract.
const INTEGER: u64 = (1 << 53) - 1;
/// Reviews in a row of one channel.
const REVIEWS: u32 = 2000;

pub(super) fn check(sheet: &mut Sheet, loaded: &Arc<Loaded>) {
    sheet.note("decides on a plain opening, over SV1 and SV2", plain_openings(loaded));
    sheet.note("decides on plain reviews", plain_reviews(loaded));
    sheet.note("openings at every bound: finite difficulties in range, or bad-input", openings_asked(loaded));
    sheet.note("reviews at every bound: finite difficulties in range, or bad-input", reviews_asked(loaded));
    sheet.note("takes memos that it did not write", memos(loaded));
    sheet.note("takes its own memo back, review after review", own_memos(loaded));
    sheet.note("an empty batch has an empty answer", counted(loaded, 0));
    sheet.note("ten thousand reviews have ten thousand answers", counted(loaded, MANY));
    sheet.note("answers in the order of the reviews, each as if it were alone", order(loaded));
    sheet.note("answers the same question the same way: again, and in a fresh instance", repeats(loaded));
}

fn fresh(loaded: &Arc<Loaded>) -> Result<WasmVardiff, String> {
    WasmVardiff::new(loaded).map_err(|failure| failure.to_string())
}

fn plain_openings(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    for protocol in Protocol::ALL {
        let opening = opening(channel("cgminer/4.12", protocol, Difficulty::ONE, Difficulty::MAX));
        policy.open(&opening).map_err(|failure| about(&protocol.label(), failure))?;
    }
    Ok(())
}

fn plain_reviews(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    for accepted in [0, 1, 18, 1000] {
        let review = review(accepted);
        policy
            .review_all(std::slice::from_ref(&review))
            .map_err(|failure| about(&format!("{accepted} shares in a minute"), failure))?;
    }
    Ok(())
}

fn openings_asked(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    for opening in extreme_openings() {
        fair(policy.open(&opening)).map_err(|why| about(&shown_opening(&opening), why))?;
    }
    Ok(())
}

fn reviews_asked(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    for review in extreme_reviews() {
        alone(&mut policy, &review)?;
    }
    Ok(())
}

fn alone(policy: &mut WasmVardiff, review: &Review) -> Result<Option<Vec<Decision>>, String> {
    fair(policy.review_all(std::slice::from_ref(review))).map_err(|why| about(&shown_review(review), why))
}

fn memos(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    for length in [0, 1, 3, 4, 7, 8, 16, 24, 32, 64, 255, MEMO_LIMIT] {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let memo = Memo { format: loaded.descriptor.memo_format, bytes: vec![byte; length].into() };
            fair(policy.review_all(&[Review { memo, ..review(18) }]))
                .map_err(|why| format!("a memo of {length} bytes {byte:#04x}: {why}"))?;
        }
    }
    Ok(())
}

fn own_memos(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    let channel = channel("", Protocol::StratumV1, Difficulty::ONE, Difficulty::MAX);
    let mut last = policy.open(&opening(channel)).map_err(|failure| failure.to_string())?;
    for step in 0..REVIEWS {
        let review = Review {
            current: last.difficulty,
            now: Timestamp(u64::from(step) * 10_000),
            memo: last.memo.clone(),
            ..review(step % 40)
        };
        let at = |why: String| format!("review {}: {why}", step + 1);
        let mut answer = policy.review_all(&[review]).map_err(|failure| at(failure.to_string()))?;
        last = answer.pop().ok_or_else(|| at("no decision".to_owned()))?;
    }
    Ok(())
}

fn counted(loaded: &Arc<Loaded>, count: usize) -> Result<(), String> {
    let reviews: Vec<Review> = [0, 5, 18, 300].map(review).into_iter().cycle().take(count).collect();
    // The host compares the lengths.
    fresh(loaded)?.review_all(&reviews).map(|_| ()).map_err(|failure| failure.to_string())
}

fn order(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    let reviews: Vec<Review> = [0, 300, 1, 18, 40, 5, 0, 900].map(review).into();
    let together = policy.review_all(&reviews).map_err(|failure| failure.to_string())?;
    for (index, (review, decision)) in reviews.iter().zip(&together).enumerate() {
        let Some(one) = alone(&mut policy, review)? else { continue };
        same(&format!("review {} of a batch, then alone", index + 1), &Some(decision), &one.first())?;
    }
    let backwards: Vec<Review> = reviews.into_iter().rev().collect();
    let mut answers = policy.review_all(&backwards).map_err(|failure| failure.to_string())?;
    answers.reverse();
    same("a batch, then the same backwards", &together, &answers)
}

fn repeats(loaded: &Arc<Loaded>) -> Result<(), String> {
    let (mut policy, mut other) = (fresh(loaded)?, fresh(loaded)?);
    for review in extreme_reviews() {
        let first = alone(&mut policy, &review)?;
        same(&about(&shown_review(&review), "asked twice"), &first, &alone(&mut policy, &review)?)?;
        same(&about(&shown_review(&review), "another instance"), &first, &alone(&mut other, &review)?)?;
    }
    for opening in extreme_openings() {
        let (first, second) = (fair(policy.open(&opening))?, fair(other.open(&opening))?);
        same(&about(&shown_opening(&opening), "another instance"), &first, &second)?;
    }
    Ok(())
}

fn shown_opening(opening: &Opening) -> String {
    let Opening { channel, now, start, suggested, nominal_hashrate } = opening;
    let (floor, ceiling) = (channel.floor.get(), channel.ceiling.get());
    format!("open: {floor}..{ceiling} now {} {start:?} {suggested:?} {nominal_hashrate:?}", now.0)
}

fn shown_review(review: &Review) -> String {
    let Review { current, elapsed, accepted, work, suggested, nominal_hashrate, .. } = review;
    let current = current.get();
    format!(
        "review: current {current}, {accepted} in {elapsed:?}, work {work}, {suggested:?}, {nominal_hashrate:?}"
    )
}

fn channel(text: &str, protocol: Protocol, floor: Difficulty, ceiling: Difficulty) -> Arc<ChannelFacts> {
    let client = Client {
        protocol,
        listener: Arc::from("main"),
        address: Arc::from("203.0.113.7"),
        agent: Arc::from(text),
        hardware: Arc::from(text),
    };
    Arc::new(ChannelFacts {
        account: AccountName::new("alice").expect("a short name"),
        worker: WorkerName::new("rig").expect("a short name"),
        client,
        password: (!text.is_empty()).then(|| text.to_owned()),
        floor,
        ceiling,
    })
}

fn opening(channel: Arc<ChannelFacts>) -> Opening {
    let now = Timestamp(1_700_000_000_000);
    Opening { channel, now, start: None, suggested: None, nominal_hashrate: None }
}

fn extreme_openings() -> Vec<Opening> {
    let (low, one, high) = (Difficulty::MIN, Difficulty::ONE, Difficulty::MAX);
    let mut openings = Vec::new();
    for (floor, ceiling) in [(low, high), (low, low), (high, high), (one, one), (high, low)] {
        for protocol in Protocol::ALL {
            let base = opening(channel("", protocol, floor, ceiling));
            for wish in [None, Some(low), Some(one), Some(high)] {
                openings.push(Opening { start: wish, ..base.clone() });
                openings.push(Opening { suggested: wish, ..base.clone() });
                openings.push(Opening {
                    start: wish,
                    suggested: Some(one),
                    nominal_hashrate: Some(1.0),
                    ..base.clone()
                });
            }
            for hashrate in [0.0, f64::MIN_POSITIVE, 1.0, 1e15, 1e30, f64::MAX] {
                openings.push(Opening { nominal_hashrate: Some(hashrate), ..base.clone() });
            }
            for now in [0, INTEGER] {
                openings.push(Opening { now: Timestamp(now), ..base.clone() });
            }
        }
    }
    openings.extend(texts().iter().map(|text| opening(channel(text, Protocol::StratumV1, one, high))));
    openings
}

fn review(accepted: u32) -> Review {
    let current = Difficulty::saturating(1024.0);
    Review {
        channel: channel("", Protocol::StratumV1, Difficulty::ONE, Difficulty::MAX),
        now: Timestamp(1_700_000_000_000),
        current,
        elapsed: Duration::from_secs(60),
        accepted,
        rejected: 0,
        work: f64::from(accepted) * current.get(),
        suggested: None,
        nominal_hashrate: None,
        memo: Memo::default(),
    }
}

fn extreme_reviews() -> Vec<Review> {
    let (low, one, high) = (Difficulty::MIN, Difficulty::ONE, Difficulty::MAX);
    let mut reviews = Vec::new();
    for current in [low, one, high] {
        for elapsed in [0, 1, 60_000, INTEGER].map(Duration::from_millis) {
            for accepted in [0, 1, u32::MAX] {
                reviews.push(Review { current, elapsed, ..review(accepted) });
            }
        }
        for (floor, ceiling) in [(low, high), (low, low), (high, high), (high, low)] {
            for protocol in Protocol::ALL {
                let channel = channel("", protocol, floor, ceiling);
                for suggested in [None, Some(low), Some(high)] {
                    reviews.push(Review { channel: channel.clone(), current, suggested, ..review(18) });
                }
            }
        }
    }
    for work in [0.0, f64::MIN_POSITIVE, f64::MAX] {
        reviews.extend([0, 1, u32::MAX].map(|accepted| Review { work, ..review(accepted) }));
    }
    for hashrate in [0.0, f64::MIN_POSITIVE, f64::MAX] {
        reviews.push(Review { nominal_hashrate: Some(hashrate), ..review(18) });
    }
    reviews.push(Review { rejected: u32::MAX, ..review(0) });
    reviews.extend([0, INTEGER].map(|now| Review { now: Timestamp(now), ..review(18) }));
    reviews
}
