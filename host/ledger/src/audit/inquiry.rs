//! What the steps of an audit share: the file, the judge, and what has come of it so far.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::booked::{self, Booked};
use super::findings::{Bearing, Difference, Findings, Subject, first_unequal};
use super::scope::Scope;
use super::{Judge, MissingPolicy, NoAnswer, PolicyRecord};
use crate::journal::Owner;

/// What a missing policy answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answered {
    Round,
    Accrual,
}

/// An account's part of an answer.
pub(crate) trait Part: PartialEq {
    fn account(&self) -> &str;
    fn told(&self) -> String;
}

/// What comes of all steps.
pub(crate) struct Outcome {
    pub(crate) findings: Findings,
    pub(crate) missing: Vec<MissingPolicy>,
    pub(crate) entries: u64,
    pub(crate) folded: u64,
    /// By account, the house's under the empty name.
    pub(crate) balances: BTreeMap<String, i128>,
}

pub(crate) struct Inquiry<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) scope: &'a Scope,
    pub(crate) judge: &'a mut dyn Judge,
    findings: Findings,
    missing: BTreeMap<PolicyRecord, MissingPolicy>,
    entries: u64,
    folded: u64,
    balances: BTreeMap<String, i128>,
}

/// What a transaction should be: words for its owner's lines, and whether the owner's state has it booked.
pub(crate) struct Turns<'a> {
    pub(crate) owner: Owner,
    pub(crate) at: Bearing,
    pub(crate) booked: Booked,
    pub(crate) counts: bool,
    /// What is told where that is not so.
    pub(crate) state: &'a str,
    pub(crate) subject: Subject,
    pub(crate) what: &'a str,
}

impl<'a> Inquiry<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        scope: &'a Scope,
        judge: &'a mut dyn Judge,
        findings: Findings,
    ) -> Self {
        let (missing, balances) = (BTreeMap::new(), BTreeMap::new());
        Self { connection, scope, judge, findings, missing, entries: 0, folded: 0, balances }
    }

    pub(crate) fn finish(self) -> Outcome {
        let missing = self.missing.into_values().collect();
        let Self { findings, entries, folded, balances, .. } = self;
        Outcome { findings, missing, entries, folded, balances }
    }

    pub(crate) fn tell(&mut self, at: Bearing, difference: Difference) {
        self.findings.add(difference.at(at));
    }

    /// What concerns no round, accrual or payout by itself.
    pub(crate) fn note(&mut self, difference: Difference) {
        self.findings.add(difference);
    }

    /// The question cannot be computed from what is left of the log.
    pub(crate) fn fold(&mut self) {
        self.folded += 1;
    }

    /// Asks the policy on record again.
    pub(crate) fn check_answer<T: Part>(
        &mut self,
        (at, kind): (Bearing, Answered),
        policy: &PolicyRecord,
        recorded: &[T],
        mut ask: impl FnMut(&mut dyn Judge) -> Result<Vec<T>, NoAnswer>,
    ) {
        let PolicyRecord { name, version, hash, .. } = policy;
        let who = format!("policy {name} {version} ({hash})");
        match ask(self.judge) {
            Ok(again) if again == recorded => {}
            Ok(again) => {
                let what = match ask(self.judge) {
                    Ok(third) if third == again => format!("{who} does not give what is recorded"),
                    _ => format!("{who} does not repeat its answer to the same question"),
                };
                self.tell(at, answer_unlike(what, &again, recorded));
            }
            Err(NoAnswer::Missing(why)) => self.miss(policy, why, kind),
            Err(NoAnswer::Failed(why)) => {
                self.tell(at, Difference::new(Subject::Policy, who, "its answer", why));
            }
        }
    }

    fn miss(&mut self, policy: &PolicyRecord, why: String, kind: Answered) {
        let missing = self.missing.entry(policy.clone()).or_insert_with(|| MissingPolicy {
            policy: policy.clone(),
            why,
            rounds: 0,
            accruals: 0,
        });
        match kind {
            Answered::Round => missing.rounds += 1,
            Answered::Accrual => missing.accruals += 1,
        }
    }

    /// An owner's transactions: the odd ones book, the even ones take it back.
    pub(crate) fn check_turns(&mut self, turns: &Turns<'_>) -> rusqlite::Result<()> {
        let expected = [turns.booked.reversed(), turns.booked.clone()];
        let journals = turns.owner.journals(self.connection)?;
        for (number, journal) in (1usize..).zip(&journals) {
            let expected = &expected[number % 2];
            let (found, entries) = booked::read(self.connection, *journal)?;
            self.entries += entries;
            self.compare(turns, expected, &found);
            if *journal <= self.scope.journal {
                expected.add_to(&mut self.balances);
            }
        }
        let counts = journals.len() % 2 == 1;
        // Nothing to enter may be no transaction at all.
        if counts != turns.counts && !turns.booked.is_empty() {
            let word = |booked| if booked { "booked" } else { "not booked" };
            let difference = Difference::new(Subject::Journal, turns.state, word(turns.counts), word(counts));
            self.tell(turns.at, difference);
        }
        Ok(())
    }

    fn compare(&mut self, turns: &Turns<'_>, expected: &Booked, found: &Booked) {
        let sides = [
            (turns.subject, turns.what, &expected.credits, &found.credits),
            (Subject::Payments, "what the coinbase paid it, in sat", &expected.payments, &found.payments),
        ];
        for (subject, what, expected, found) in sides {
            if let Some((account, expected, found)) = first_unequal(expected, found) {
                self.tell(turns.at, Difference::new(subject, what, expected, found).of(account));
            }
        }
        let books = [
            ("reward", expected.reward, found.reward),
            ("coinbase", expected.coinbase, found.coinbase),
            ("payout", expected.payout, found.payout),
        ];
        for (book, expected, found) in books.into_iter().filter(|(_, expected, found)| expected != found) {
            let difference = Difference::new(Subject::Journal, format_args!("book {book}"), expected, found);
            self.tell(turns.at, difference);
        }
    }
}

fn answer_unlike<T: Part>(what: String, expected: &[T], found: &[T]) -> Difference {
    let at = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let (now, then) = (expected.get(at), found.get(at));
    let account = now.or(then).map_or("", Part::account);
    let words = |one: Option<&T>| one.map_or_else(|| "-".to_owned(), Part::told);
    Difference::new(Subject::Answer, what, words(now), words(then)).of(account)
}
