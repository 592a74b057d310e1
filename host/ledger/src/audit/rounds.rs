//! Settled rounds, each settled again.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::Connection;
use sluice_core::policy::payout::{Contribution, Entitlement, Plan, Portion, Round};
use sluice_core::policy::split::split;

use super::findings::{Difference, Findings, Subject, first_unequal};
use super::scope::{RoundRef, Scope};
use super::{Judge, MissingPolicy, NoAnswer, PolicyRecord, Progress};
use crate::blocks::{self, StoredBlock};
use crate::insert::{sql, unsigned};
use crate::readonly::FileError;
use crate::window::Ask;
use crate::window::replay::Replay;

/// Earlier blocks that a round may have begun at: a block that has a verdict now may have had none then.
const BOUNDARIES: usize = 16;

/// What comes of all rounds.
pub(crate) struct Outcome {
    pub(crate) missing: Vec<MissingPolicy>,
    pub(crate) entries: u64,
    /// By account, the house's under the empty name.
    pub(crate) balances: BTreeMap<String, i128>,
}

/// A round as recorded.
struct Recorded {
    policy: PolicyRecord,
    input: Round,
    answer: Vec<Entitlement>,
}

pub(crate) struct Rounds<'a> {
    connection: &'a Connection,
    scope: &'a Scope,
    judge: &'a mut dyn Judge,
    findings: &'a mut Findings,
    replay: Replay<'a>,
    missing: BTreeMap<PolicyRecord, (String, u64)>,
    entries: u64,
    balances: BTreeMap<String, i128>,
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        scope: &'a Scope,
        judge: &'a mut dyn Judge,
        findings: &'a mut Findings,
    ) -> Self {
        let replay = Replay::new(connection, &scope.accounts);
        let (missing, balances) = (BTreeMap::new(), BTreeMap::new());
        Self { connection, scope, judge, findings, replay, missing, entries: 0, balances }
    }

    pub(crate) fn check(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, FileError> {
        let scope = self.scope;
        let of = u64::try_from(scope.rounds.len()).unwrap_or(u64::MAX);
        for (done, round) in (0u64..).zip(&scope.rounds) {
            progress(Progress::Rounds { done, of });
            self.round(*round)?;
        }
        progress(Progress::Rounds { done: of, of });
        let missing: Vec<MissingPolicy> = self
            .missing
            .into_iter()
            .map(|(policy, (why, rounds))| MissingPolicy { policy, why, rounds })
            .collect();
        Ok(Outcome { missing, entries: self.entries, balances: self.balances })
    }

    fn round(&mut self, round: RoundRef) -> Result<(), FileError> {
        // One moment for all that belongs to a round.
        let transaction = self.connection.unchecked_transaction()?;
        let recorded = match self.recorded(round.id)? {
            Ok(recorded) => recorded,
            Err(why) => {
                let difference = Difference::new(Subject::Input, "its record", "JSON as it was written", why);
                self.tell(round, difference);
                return Ok(());
            }
        };
        let block = blocks::find(self.connection, round.block.0)?;
        self.check_input(round, &block, &recorded)?;
        self.check_answer(round, &recorded);
        self.check_entries(round, &block, &recorded)?;
        transaction.commit()?;
        Ok(())
    }

    fn tell(&mut self, round: RoundRef, difference: Difference) {
        self.findings.add(difference.at(round.block));
    }

    fn recorded(&self, id: i64) -> rusqlite::Result<Result<Recorded, serde_json::Error>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT policy_name, policy_version, policy_hash, settings, input, answer FROM rounds WHERE block = ?",
        )?;
        statement.query_row([id], |row| {
            let policy = PolicyRecord {
                name: row.get(0)?,
                version: row.get(1)?,
                hash: row.get(2)?,
                settings: row.get(3)?,
            };
            let (input, answer): (String, String) = (row.get(4)?, row.get(5)?);
            let parsed =
                serde_json::from_str(&input).and_then(|input| Ok((input, serde_json::from_str(&answer)?)));
            Ok(parsed.map(|(input, answer)| Recorded { policy, input, answer }))
        })
    }

    /// The question, from the log and the block alone.
    fn check_input(
        &mut self,
        round: RoundRef,
        block: &StoredBlock,
        recorded: &Recorded,
    ) -> Result<(), FileError> {
        // Why there is none is told with the answer.
        let plan = self.judge.plan(&recorded.policy).ok();
        let window = plan.map_or_else(|| block.window(), |plan| Ok(plan.window))?;
        let ask = block.ask(self.connection, window)?;
        let Some(first) = self.input_unlike(block, &ask, plan, &recorded.input)? else { return Ok(()) };
        // The round began after the last block that was not rejected then; verdicts may have come since.
        for boundary in self.boundaries(round.id, ask.boundary)? {
            let then = Ask { boundary, ..ask };
            if self.input_unlike(block, &then, plan, &recorded.input)?.is_none() {
                return Ok(());
            }
        }
        self.tell(round, first);
        Ok(())
    }

    fn boundaries(&self, id: i64, now: u64) -> rusqlite::Result<Vec<u64>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT DISTINCT through FROM blocks WHERE id < ? AND through <> ? ORDER BY through DESC LIMIT ?",
        )?;
        let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0).map(unsigned);
        statement.query_map([id, sql(now), sql(BOUNDARIES as u64)], read)?.collect()
    }

    /// How the question that `ask` gives differs from the recorded one.
    fn input_unlike(
        &mut self,
        block: &StoredBlock,
        ask: &Ask,
        plan: Option<Plan>,
        found: &Round,
    ) -> Result<Option<Difference>, FileError> {
        let sums = match self.replay.sums(ask, block.through()) {
            Ok(sums) => sums,
            Err(rusqlite::Error::IntegralValueOutOfRange(_, worker)) => {
                return Ok(Some(Difference::new(Subject::Input, "a worker", "one that there is", worker)));
            }
            Err(error) => return Err(error.into()),
        };
        let (unit, contributions) = sums.tell(&self.scope.names);
        // Without the policy it is not known whether it asked for the finder.
        let named = plan.map_or(!found.finder.is_empty(), |plan| plan.per_finder);
        let finder =
            if named { self.scope.account_of_worker(block.worker()).unwrap_or_default() } else { "" };
        let expected = block.round(finder.to_owned(), unit, contributions);
        Ok(unlike(&expected, found))
    }

    fn check_answer(&mut self, round: RoundRef, recorded: &Recorded) {
        let Recorded { policy, input, answer } = recorded;
        let PolicyRecord { name, version, hash, .. } = policy;
        let who = format!("policy {name} {version} ({hash})");
        match self.judge.settle(policy, input) {
            Ok(again) if again == *answer => {}
            Ok(again) => {
                let repeats = self.judge.settle(policy, input).as_ref() == Ok(&again);
                let what = if repeats {
                    format!("{who} does not give what is recorded")
                } else {
                    format!("{who} does not repeat its answer to the same question")
                };
                self.tell(round, answer_unlike(what, &again, answer));
            }
            Err(NoAnswer::Missing(why)) => {
                self.missing.entry(policy.clone()).or_insert((why, 0)).1 += 1;
            }
            Err(NoAnswer::Failed(why)) => {
                self.tell(round, Difference::new(Subject::Policy, who, "its answer", why));
            }
        }
    }

    /// A block's transactions: the odd ones book what the answer gives, the even ones take it back.
    fn check_entries(
        &mut self,
        round: RoundRef,
        block: &StoredBlock,
        recorded: &Recorded,
    ) -> Result<(), FileError> {
        let credits = self.credits(round, &recorded.input, &recorded.answer);
        let books = Booked::expected(block.reward().to_sat().into(), credits, self.coinbase(round.id)?);
        let turns = [books.reversed(), books];
        let journals = self.journals(round.id)?;
        for (number, journal) in (1usize..).zip(&journals) {
            let expected = &turns[number % 2];
            let found = self.booked(*journal)?;
            self.compare(round, expected, &found);
            if *journal <= self.scope.journal {
                expected.add_to(&mut self.balances);
            }
        }
        let counts = journals.len() % 2 == 1;
        if counts != block.state.counts() {
            let what = format!("its round, while the block is {}", block.state.label());
            let word = |booked| if booked { "booked" } else { "not booked" };
            self.tell(round, Difference::new(Subject::Journal, what, word(!counts), word(counts)));
        }
        Ok(())
    }

    fn journals(&self, id: i64) -> rusqlite::Result<Vec<i64>> {
        let mut statement =
            self.connection.prepare_cached("SELECT id FROM journal WHERE block = ? ORDER BY id")?;
        statement.query_map([id], |row| row.get(0))?.collect()
    }

    fn compare(&mut self, round: RoundRef, expected: &Booked, found: &Booked) {
        let sides = [
            (Subject::Credits, "its credit, in sat", &expected.credits, &found.credits),
            (Subject::Payments, "what the coinbase paid it, in sat", &expected.payments, &found.payments),
        ];
        for (subject, what, expected, found) in sides {
            if let Some((account, expected, found)) = first_unequal(expected, found) {
                self.tell(round, Difference::new(subject, what, expected, found).of(account));
            }
        }
        let books =
            [("reward", expected.reward, found.reward), ("coinbase", expected.coinbase, found.coinbase)];
        for (book, expected, found) in books.into_iter().filter(|(_, expected, found)| expected != found) {
            self.tell(round, Difference::new(Subject::Journal, format_args!("book {book}"), expected, found));
        }
    }

    /// The recorded answer, divided as the host divides.
    fn credits(&mut self, round: RoundRef, input: &Round, answer: &[Entitlement]) -> BTreeMap<String, i128> {
        let known = |account: &str| self.scope.names.account(account).is_some();
        match split(input.reward(), answer, &known) {
            Ok(credits) => {
                let amounts = credits.into_iter().filter(|credit| credit.amount.to_sat() > 0);
                amounts.map(|credit| (credit.account, i128::from(credit.amount.to_sat()))).collect()
            }
            Err(why) => {
                self.tell(round, Difference::new(Subject::Answer, "its division", "one that comes out", why));
                BTreeMap::new()
            }
        }
    }

    /// What the coinbase pays, as the entries have it: negative.
    fn coinbase(&self, id: i64) -> rusqlite::Result<BTreeMap<String, i128>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT account, amount FROM block_payments WHERE block = ? AND amount <> 0")?;
        let mut rows = statement.query([id])?;
        let mut payments = BTreeMap::new();
        while let Some(row) = rows.next()? {
            *payments.entry(row.get(0)?).or_default() -= i128::from(row.get::<_, i64>(1)?);
        }
        Ok(payments)
    }

    fn booked(&mut self, journal: i64) -> rusqlite::Result<Booked> {
        let mut statement = self.connection.prepare_cached(
            "SELECT e.book, e.cause, coalesce(a.name, CASE e.book WHEN 'account' THEN '?' || e.account ELSE '' END), \
             e.amount FROM entries e LEFT JOIN accounts a ON a.id = e.account WHERE e.journal = ?",
        )?;
        let mut rows = statement.query([journal])?;
        let mut booked = Booked::default();
        while let Some(row) = rows.next()? {
            let (book, cause): (String, String) = (row.get(0)?, row.get(1)?);
            self.entries += 1;
            booked.add((&book, &cause), row.get(2)?, row.get::<_, i64>(3)?.into());
        }
        Ok(booked)
    }
}

/// The entries of a transaction, added up by account; the house's under the empty name.
#[derive(Clone, Default)]
struct Booked {
    reward: i128,
    coinbase: i128,
    credits: BTreeMap<String, i128>,
    payments: BTreeMap<String, i128>,
}

impl Booked {
    /// `payments` are negative.
    fn expected(reward: i128, credits: BTreeMap<String, i128>, payments: BTreeMap<String, i128>) -> Self {
        Self { reward: -reward, coinbase: -payments.values().sum::<i128>(), credits, payments }
    }

    /// A reversal does not tell credits from payments.
    fn reversed(&self) -> Self {
        let mut credits = BTreeMap::new();
        for (account, sats) in self.credits.iter().chain(&self.payments) {
            *credits.entry(account.clone()).or_default() -= sats;
        }
        Self { reward: -self.reward, coinbase: -self.coinbase, credits, payments: BTreeMap::new() }
    }

    fn add(&mut self, (book, cause): (&str, &str), account: String, sats: i128) {
        let sum = match (book, cause) {
            ("reward", _) => &mut self.reward,
            ("coinbase", _) => &mut self.coinbase,
            (_, "payment") => self.payments.entry(account).or_default(),
            // Anything else is money that an account got at this round: it has to be a credit.
            _ => self.credits.entry(account).or_default(),
        };
        *sum += sats;
    }

    fn add_to(&self, balances: &mut BTreeMap<String, i128>) {
        for (account, sats) in self.credits.iter().chain(&self.payments) {
            *balances.entry(account.clone()).or_default() += sats;
        }
    }
}

/// What an account did.
#[derive(PartialEq)]
struct Work {
    work: u64,
    shares: u64,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "work {} in {} shares", self.work, self.shares)
    }
}

fn by_account(list: &[Contribution]) -> BTreeMap<String, Work> {
    list.iter().map(|one| (one.account.clone(), Work { work: one.work, shares: one.shares })).collect()
}

/// The first field, or else the first account, in which two questions differ.
fn unlike(expected: &Round, found: &Round) -> Option<Difference> {
    if expected == found {
        return None;
    }
    let unlike = |what: &str, expected: String, found: String| {
        (expected != found).then(|| Difference::new(Subject::Input, what, expected, found))
    };
    let header = [
        unlike("height", expected.height.to_string(), found.height.to_string()),
        unlike("time", expected.at.0.to_string(), found.at.0.to_string()),
        unlike("subsidy", expected.subsidy.to_string(), found.subsidy.to_string()),
        unlike("fees", expected.fees.to_string(), found.fees.to_string()),
        unlike(
            "network difficulty",
            expected.network_difficulty.to_string(),
            found.network_difficulty.to_string(),
        ),
        unlike("finder", format!("{:?}", expected.finder), format!("{:?}", found.finder)),
        unlike("found", expected.found.to_string(), found.found.to_string()),
    ];
    let work = || {
        let (expected, found) = (by_account(&expected.contributions), by_account(&found.contributions));
        let (account, expected, found) = first_unequal(&expected, &found)?;
        Some(Difference::new(Subject::Input, "its part of the window", expected, found).of(account))
    };
    let unit = || unlike("unit of work", expected.work_unit.to_string(), found.work_unit.to_string());
    let rest =
        || Some(Difference::new(Subject::Input, "the list of accounts", "sorted, each once", "it is not"));
    header.into_iter().flatten().next().or_else(work).or_else(unit).or_else(rest)
}

fn answer_unlike(what: String, expected: &[Entitlement], found: &[Entitlement]) -> Difference {
    let at = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let (now, then) = (expected.get(at), found.get(at));
    let account = now.or(then).map_or("", |one| one.account.as_str());
    Difference::new(Subject::Answer, what, told(now), told(then)).of(account)
}

fn told(entitlement: Option<&Entitlement>) -> String {
    let Some(Entitlement { account, portion, reason }) = entitlement else { return "-".to_owned() };
    let portion = match portion {
        Portion::Weight(weight) => format!("weight {weight}"),
        Portion::Fixed(sats) => format!("{sats} sat"),
    };
    format!("{portion} for {account:?} ({reason})")
}
