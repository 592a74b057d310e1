//! Difficulty of channels, in batches.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::policy::vardiff::{
    ChannelFacts, Decision, MEMO_LIMIT, Memo, Opening, Review, VardiffPolicy,
};
use sluice_core::policy::{PolicyFailure, PolicyKind};
use sluice_core::units::Difficulty;
use tokio::sync::oneshot;

use crate::bindings::vardiff as wit;
use crate::check::{bad_answer, client, difficulty, lifted, small, without};
use crate::instance::Instance;
use crate::load::{Interface, Loaded};
use crate::lookup::Service;
use crate::shadow::Unlike;
use crate::slot::{Desk, Kind, Wake};

mod comparison;

use comparison::{Memos, VardiffCase, compare};

/// The most reviews in one call.
const BATCH: usize = 256;

type Reply = oneshot::Sender<Option<Decision>>;

/// A channel that waits for its answer.
pub(crate) enum VardiffJob {
    Open { opening: Opening, reply: Reply },
    Review { review: Review, reply: Reply },
}

/// What a candidate is tried on.
pub(crate) enum VardiffSample {
    Opening(Opening),
    Review(Review),
}

pub(crate) struct Vardiff;

impl Kind for Vardiff {
    const KIND: PolicyKind = PolicyKind::Vardiff;
    const BAD_ANSWERS: u32 = 8;
    type Policy = dyn VardiffPolicy;
    type Job = VardiffJob;
    type Sample = VardiffSample;
    /// Batches.
    const SHADOW_QUEUE: usize = 64;
    type Case = VardiffCase;
    type Memory = Memos;

    type Aside = ();

    fn aside(_: Option<&Arc<Service>>, _: Wake<Self>) {}

    fn instance(loaded: &Arc<Loaded>) -> Result<Box<dyn VardiffPolicy>, PolicyFailure> {
        Ok(Box::new(WasmVardiff::new(loaded)?))
    }

    fn serve(desk: &mut Desk<Self>, jobs: &mut Vec<VardiffJob>) {
        let mut reviews = Vec::new();
        let mut replies = Vec::new();
        for job in jobs.drain(..) {
            match job {
                VardiffJob::Open { reply, .. } | VardiffJob::Review { reply, .. } if reply.is_closed() => {}
                VardiffJob::Open { opening, reply } => {
                    let answer = desk.ask(1, |policy| policy.open(&opening));
                    desk.shadow(1, || VardiffCase::Opening {
                        opening: opening.clone(),
                        live: answer.clone(),
                    });
                    if answer.is_ok() {
                        desk.sample(VardiffSample::Opening(opening));
                    }
                    let _ = reply.send(answer.ok());
                }
                VardiffJob::Review { review, reply } => {
                    reviews.push(review);
                    replies.push(reply);
                }
            }
        }
        review_batches(desk, &reviews, replies);
    }

    fn try_on(policy: &mut Self::Policy, sample: &VardiffSample) -> Result<(), PolicyFailure> {
        match sample {
            VardiffSample::Opening(opening) => policy.open(opening).map(|_| ()),
            VardiffSample::Review(review) => policy.review_all(std::slice::from_ref(review)).map(|_| ()),
        }
    }

    fn compare(
        policy: &mut Self::Policy,
        memos: &mut Memos,
        case: &VardiffCase,
    ) -> Result<Vec<Unlike>, PolicyFailure> {
        compare(policy, memos, case)
    }

    /// A channel's facts hold its password, and a plugin may say anything when it fails.
    fn redact(case: &VardiffCase, text: String) -> String {
        case.channels().fold(text, |text, channel| without(text, channel.password.as_deref().unwrap_or("")))
    }
}

fn review_batches(desk: &mut Desk<Vardiff>, reviews: &[Review], replies: Vec<Reply>) {
    let mut replies = replies.into_iter();
    for batch in reviews.chunks(BATCH) {
        let decisions = review_batch(desk, batch);
        let items = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        desk.shadow(items, || VardiffCase::Reviews { reviews: batch.to_vec(), live: decisions.clone() });
        if let (Some(review), Some(Some(_))) = (batch.first(), decisions.first()) {
            desk.sample(VardiffSample::Review(review.clone()));
        }
        for (decision, reply) in decisions.into_iter().zip(&mut replies) {
            let _ = reply.send(decision);
        }
    }
}

/// One answer for each. Where one channel spoils the batch, each is asked about alone.
fn review_batch(desk: &mut Desk<Vardiff>, batch: &[Review]) -> Vec<Option<Decision>> {
    let items = u64::try_from(batch.len()).unwrap_or(u64::MAX);
    match desk.ask(items, |policy| policy.review_all(batch)) {
        Ok(decisions) => decisions.into_iter().map(Some).collect(),
        Err(PolicyFailure::BadInput(_) | PolicyFailure::BadAnswer(_)) if batch.len() > 1 => {
            batch.iter().map(|review| review_alone(desk, review)).collect()
        }
        Err(_) => batch.iter().map(|_| None).collect(),
    }
}

fn review_alone(desk: &mut Desk<Vardiff>, review: &Review) -> Option<Decision> {
    desk.ask(1, |policy| policy.review_all(std::slice::from_ref(review))).ok()?.pop()
}

/// The vardiff policy behind the contract.
pub(crate) struct WasmVardiff {
    instance: Instance,
    guest: wit::Guest,
    memo_format: u32,
}

impl WasmVardiff {
    pub(crate) fn new(loaded: &Arc<Loaded>) -> Result<Self, PolicyFailure> {
        let mut instance = loaded.instance()?;
        let Interface::Vardiff(indices) = &loaded.interface else { return Err(loaded.wrong_kind()) };
        let guest = instance.load(|store, instance| indices.load(store, instance))?;
        Ok(Self { instance, guest, memo_format: loaded.descriptor.memo_format })
    }
}

impl VardiffPolicy for WasmVardiff {
    fn open(&mut self, opening: &Opening) -> Result<Decision, PolicyFailure> {
        self.instance.hide(opening.channel.password.as_deref().into_iter());
        self.ask_to_open(opening).map_err(|failure| self.instance.without_secrets(failure))
    }

    fn review_all(&mut self, reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        self.instance.hide(reviews.iter().filter_map(|review| review.channel.password.as_deref()));
        self.ask_to_review(reviews).map_err(|failure| self.instance.without_secrets(failure))
    }
}

impl WasmVardiff {
    fn ask_to_open(&mut self, opening: &Opening) -> Result<Decision, PolicyFailure> {
        let question = wit::Opening {
            channel: channel(&opening.channel),
            now: small("now", opening.now.0)?,
            start: opening.start.map(Difficulty::get),
            suggested: opening.suggested.map(Difficulty::get),
            nominal_hashrate: opening.nominal_hashrate.filter(|rate| rate.is_finite()),
        };
        let guest = &self.guest;
        let answer = self.instance.call(1, |store| guest.call_open(store, question))?.map_err(lifted)?;
        decision(answer, self.memo_format)
    }

    fn ask_to_review(&mut self, reviews: &[Review]) -> Result<Vec<Decision>, PolicyFailure> {
        let format = self.memo_format;
        let questions = reviews.iter().map(|one| review(one, format)).collect::<Result<Vec<_>, _>>()?;
        let guest = &self.guest;
        let answers = self
            .instance
            .call(reviews.len(), |store| guest.call_review_all(store, &questions))?
            .map_err(lifted)?;
        if answers.len() != reviews.len() {
            let (answered, asked) = (answers.len(), reviews.len());
            return Err(bad_answer(format_args!(
                "{answered} decisions for {asked} reviews; one for each is allowed"
            )));
        }
        answers.into_iter().map(|answer| decision(answer, format)).collect()
    }
}

fn channel(facts: &ChannelFacts) -> wit::Channel<'_> {
    wit::Channel {
        account: facts.account.as_str(),
        worker: facts.worker.as_str(),
        client: client(&facts.client),
        password: facts.password.as_deref(),
        floor: facts.floor.get(),
        ceiling: facts.ceiling.get(),
    }
}

fn review(review: &Review, format: u32) -> Result<wit::Review<'_>, PolicyFailure> {
    let elapsed = u64::try_from(review.elapsed.as_millis()).unwrap_or(u64::MAX);
    Ok(wit::Review {
        channel: channel(&review.channel),
        now: small("now", review.now.0)?,
        current: review.current.get(),
        elapsed_ms: small("elapsed", elapsed)?,
        accepted: review.accepted,
        rejected: review.rejected,
        work: if review.work.is_finite() { review.work } else { 0.0 },
        suggested: review.suggested.map(Difficulty::get),
        nominal_hashrate: review.nominal_hashrate.filter(|rate| rate.is_finite()),
        // What another format wrote means nothing here.
        memo: if review.memo.format == format { &review.memo.bytes } else { &[] },
    })
}

fn decision(answer: wit::Decision, format: u32) -> Result<Decision, PolicyFailure> {
    if answer.memo.len() > MEMO_LIMIT {
        let length = answer.memo.len();
        return Err(bad_answer(format_args!("a memo of {length} bytes; at most {MEMO_LIMIT} are allowed")));
    }
    Ok(Decision {
        difficulty: difficulty(answer.difficulty)?,
        review_after: Duration::from_millis(u64::from(answer.review_after_ms)),
        review_after_shares: answer.review_after_shares,
        memo: Memo { format, bytes: answer.memo.into_boxed_slice() },
    })
}
