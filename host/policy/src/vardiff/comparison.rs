//! When two decisions about a channel are alike.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use sluice_core::policy::PolicyFailure;
use sluice_core::policy::vardiff::{ChannelFacts, Decision, Memo, Opening, Review, VardiffPolicy};

use crate::shadow::{Unlike, verdict};

/// Difficulties that are closer than this part of the greater are alike: a miner sees no difference.
const TOLERANCE: f64 = 0.05;
/// Channels whose memo by the shadow is kept; for further ones it begins anew each time.
const MEMOS: usize = 65_536;
/// Channels that ended are looked for once in so many times that there is no room: looking takes as long as a call.
const SWEEP_EVERY: u32 = 4096;

/// Questions and what the channels got.
pub(crate) enum VardiffCase {
    Opening {
        opening: Opening,
        live: Result<Decision, PolicyFailure>,
    },
    /// `None`: the channel goes on as it was.
    Reviews {
        reviews: Vec<Review>,
        live: Vec<Option<Decision>>,
    },
}

impl VardiffCase {
    pub(super) fn channels(&self) -> impl Iterator<Item = &ChannelFacts> {
        let (opening, reviews) = match self {
            Self::Opening { opening, .. } => (Some(opening), &[][..]),
            Self::Reviews { reviews, .. } => (None, &reviews[..]),
        };
        let of_reviews = reviews.iter().map(|review| &*review.channel);
        opening.map(|opening| &*opening.channel).into_iter().chain(of_reviews)
    }
}

/// What the shadow remembers of channels. Where it writes the format of what serves it gets that one's memo, as it would
/// once promoted; where it writes another, its own.
#[derive(Default)]
pub(crate) struct Memos {
    /// By address. The weak reference keeps that from being used again.
    kept: HashMap<usize, (Weak<ChannelFacts>, Memo)>,
    /// How often there was no room.
    full: u32,
}

impl Memos {
    fn keep(&mut self, channel: &Arc<ChannelFacts>, memo: &Memo) {
        let address = Arc::as_ptr(channel).addr();
        if self.kept.contains_key(&address) || self.has_room() {
            self.kept.insert(address, (Arc::downgrade(channel), memo.clone()));
        }
    }

    fn has_room(&mut self) -> bool {
        if self.kept.len() >= MEMOS {
            if self.full.is_multiple_of(SWEEP_EVERY) {
                self.kept.retain(|_, (channel, _)| channel.strong_count() > 0);
            }
            self.full = self.full.wrapping_add(1);
        }
        self.kept.len() < MEMOS
    }

    /// The question as it is to be put to the shadow.
    fn applied(&self, review: &Review) -> Review {
        let mut review = review.clone();
        if let Some((_, memo)) = self.kept.get(&Arc::as_ptr(&review.channel).addr())
            && memo.format != review.memo.format
        {
            review.memo.clone_from(memo);
        }
        review
    }
}

pub(super) fn compare(
    policy: &mut dyn VardiffPolicy,
    memos: &mut Memos,
    case: &VardiffCase,
) -> Result<Vec<Unlike>, PolicyFailure> {
    match case {
        VardiffCase::Opening { opening, live } => {
            let answer = policy.open(opening);
            if let Ok(decision) = &answer {
                memos.keep(&opening.channel, &decision.memo);
            }
            let channel = &opening.channel;
            let answers = verdict(live, answer, |a, b| differ(channel, a, b), tell)?;
            let unlike = |answers| Unlike { input: format!("{} opens", name(channel)), answers };
            Ok(answers.map(unlike).into_iter().collect())
        }
        VardiffCase::Reviews { reviews, live } => {
            let questions: Vec<Review> = reviews.iter().map(|review| memos.applied(review)).collect();
            let answers = review_all(policy, &questions)?;
            let mut unlike = Vec::new();
            for ((review, live), answer) in questions.iter().zip(live).zip(answers) {
                unlike.extend(compare_review(memos, review, live.as_ref(), answer)?);
            }
            Ok(unlike)
        }
    }
}

/// As what serves is asked: where one channel spoils the batch, each alone.
fn review_all(
    policy: &mut dyn VardiffPolicy,
    reviews: &[Review],
) -> Result<Vec<Result<Decision, PolicyFailure>>, PolicyFailure> {
    let alone = |policy: &mut dyn VardiffPolicy, review| {
        let answers = policy.review_all(std::slice::from_ref(review))?;
        answers.into_iter().next().ok_or_else(|| PolicyFailure::BadAnswer("no decision".to_owned()))
    };
    match policy.review_all(reviews) {
        Ok(decisions) => Ok(decisions.into_iter().map(Ok).collect()),
        Err(PolicyFailure::BadInput(_) | PolicyFailure::BadAnswer(_)) if reviews.len() > 1 => {
            Ok(reviews.iter().map(|review| alone(policy, review)).collect())
        }
        Err(failure) if reviews.len() > 1 => Err(failure),
        Err(failure) => Ok(vec![Err(failure)]),
    }
}

fn compare_review(
    memos: &mut Memos,
    review: &Review,
    live: Option<&Decision>,
    answer: Result<Decision, PolicyFailure>,
) -> Result<Option<Unlike>, PolicyFailure> {
    let channel = &review.channel;
    if let Ok(decision) = &answer {
        memos.keep(channel, &decision.memo);
    }
    // What serves may have failed or refused; the channel does not know which.
    let unanswered = || PolicyFailure::BadInput("it goes on as it was".to_owned());
    let live = live.cloned().ok_or_else(unanswered);
    let answers = verdict(&live, answer, |a, b| differ(channel, a, b), tell)?;
    let input = || {
        let Review { current, elapsed, accepted, .. } = review;
        format!("{} at {current}, {accepted} shares in {} s", name(channel), elapsed.as_secs())
    };
    Ok(answers.map(|answers| Unlike { input: input(), answers }))
}

/// Held between floor and ceiling, as the host does. When it is to be asked again is a policy's own affair.
fn differ(channel: &ChannelFacts, live: &Decision, shadow: &Decision) -> Option<[String; 2]> {
    let held =
        |decision: &Decision| decision.difficulty.get().max(channel.floor.get()).min(channel.ceiling.get());
    let (one, other) = (held(live), held(shadow));
    ((one - other).abs() > TOLERANCE * one.max(other)).then(|| [tell(live), tell(shadow)])
}

fn tell(decision: &Decision) -> String {
    let Decision { difficulty, review_after, review_after_shares, .. } = decision;
    format!(
        "difficulty {difficulty}, again after {} s or {review_after_shares} shares",
        review_after.as_secs()
    )
}

fn name(channel: &ChannelFacts) -> String {
    match channel.worker.as_str() {
        "" => channel.account.to_string(),
        worker => format!("{}.{worker}", channel.account),
    }
}
