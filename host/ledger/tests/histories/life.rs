//! A pool and its desk living through steps, with the model beside them.

use std::fs;
use std::path::Path;

use proptest::sample::Index;
use sluice_core::bitcoin::hashes::Hash;
use sluice_core::bitcoin::{Amount, OutPoint, Txid};
use sluice_core::ids::{AccountName, Protocol, ShareSeq, TemplateId};
use sluice_core::policy::payout::{Accrued, Round, Window};
use sluice_core::share::ShareRecord;
use sluice_core::units::Timestamp;
use sluice_ledger::payouts::{self, BatchState, Coin, Desk, DeskError, Rules, Unpayable};
use sluice_ledger::{
    AccrualSettlement, BlockRow, BlockState, Change, INCONCLUSIVE, Ledger, LedgerError, Needed, OpenAccrual,
    Payment, Place, Verdict, database_in,
};
use tempfile::TempDir;

use crate::model::{ACCOUNTS, Accrual, Batch, Block, Model, Share, told};
use crate::policies::{Generation, Mood, credited};
use crate::step::{Step, Word, Work, Wrong};
use crate::support::{block, difficulty, hash, open, payment, until, worker};
use crate::tables::{assert_same, rows};

/// A template that nobody announces.
const ASTRAY: TemplateId = TemplateId(1 << 40);
/// Hashes of blocks begin behind those of shares.
const BLOCKS: u64 = 1 << 32;

pub(crate) struct Life {
    home: TempDir,
    ledger: Ledger,
    desk: Desk,
    pub(crate) model: Model,
    /// What was done and is still so, in order.
    pub(crate) done: Vec<Step>,
}

fn any(_: &str, _: Amount) -> Result<(), Unpayable> {
    Ok(())
}

fn desk(dir: &Path) -> Desk {
    Desk::open(&database_in(dir)).expect("a desk")
}

fn number<T>(index: &Index, list: &[T]) -> Option<usize> {
    (!list.is_empty()).then(|| index.index(list.len()))
}

pub(crate) fn block_hash(number: usize) -> sluice_core::bitcoin::BlockHash {
    hash(BLOCKS + number as u64)
}

fn txid(number: u64) -> Txid {
    Txid::from_byte_array(hash(number).to_byte_array())
}

fn sat(amount: i64) -> u64 {
    u64::try_from(amount).expect("money")
}

impl Life {
    pub(crate) fn begin() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let ledger = open(home.path());
        let (desk, model) = (desk(home.path()), Model::new());
        ledger.template(model.template);
        Self { home, ledger, desk, model, done: Vec::new() }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) async fn run(mut self, step: &Step) -> Self {
        match step {
            Step::Crash(steps, cut) => return self.crash(steps, *cut).await,
            Step::Reopen { beside } => self = self.reopen(*beside).await,
            _ => {
                if let Some(first) = self.before(step) {
                    self.apply(&first).await;
                    self.done.push(first);
                }
                self.apply(step).await;
            }
        }
        self.done.push(step.clone());
        self
    }

    /// A block comes with a share of the present template.
    fn before(&self, step: &Step) -> Option<Step> {
        let Step::Find { account, .. } = *step else { return None };
        let missing =
            self.model.shares.last().is_none_or(|last| last.template != Some(self.model.template.id));
        missing.then(|| Step::Shares(vec![Work { account, worth: 700, seconds: 1, astray: false }]))
    }

    /// What [`Life::done`] of another life says, without its ends.
    pub(crate) async fn repeat(mut self, step: &Step) -> Self {
        match step {
            Step::Reopen { .. } => self.new_template(),
            _ => self.apply(step).await,
        }
        self
    }

    pub(crate) async fn close(self) -> TempDir {
        drop(self.desk);
        self.ledger.close().await;
        self.home
    }

    async fn reopen(self, beside: bool) -> Self {
        let Self { home, ledger, desk: before, model, done } = self;
        let kept = beside.then_some(before);
        ledger.close().await;
        let ledger = open(home.path());
        let desk = kept.unwrap_or_else(|| desk(home.path()));
        let mut life = Self { home, ledger, desk, model, done };
        life.new_template();
        life
    }

    /// What was written until some moment of `steps` is all there is.
    async fn crash(mut self, steps: &[Step], cut: u16) -> Self {
        let file = |dir: &Path, end: &str| dir.join(format!("ledger.db{end}"));
        let after = tempfile::tempdir().expect("a directory");
        // Nothing moves into the database while this log is so short.
        fs::copy(file(self.dir(), ""), file(after.path(), "")).expect("copied");
        let log = |dir: &Path| fs::read(file(dir, "-wal")).unwrap_or_default();
        let safe = log(self.dir()).len();
        let mut moments = vec![(rows(self.dir()), self.model.clone())];
        let mut tried = Vec::new();
        for step in steps {
            for step in self.before(step).into_iter().chain([step.clone()]) {
                self.apply(&step).await;
                moments.push((rows(self.dir()), self.model.clone()));
                tried.push(step);
            }
        }
        let mut left = log(self.dir());
        left.truncate(safe + (left.len() - safe) * usize::from(cut) / usize::from(u16::MAX));
        fs::write(file(after.path(), "-wal"), left).expect("written");
        let mut done = self.done;
        drop(self.desk);
        self.ledger.close().await;
        let (ledger, home) = (open(after.path()), after);
        let found = rows(home.path());
        let moment = moments.iter().rposition(|(rows, _)| *rows == found);
        let moment = moment.unwrap_or_else(|| {
            assert_same(&moments[0].0, &found, "neither all of a step nor nothing of it");
            unreachable!("they differ")
        });
        let (desk, model) = (desk(home.path()), moments.swap_remove(moment).1);
        done.extend(tried.into_iter().take(moment));
        done.push(Step::Reopen { beside: false });
        let mut life = Self { home, ledger, desk, model, done };
        life.new_template();
        life
    }

    /// A pool that starts fetches one.
    fn new_template(&mut self) {
        self.model.template.id.0 += 1;
        self.ledger.template(self.model.template);
    }

    async fn apply(&mut self, step: &Step) {
        match step {
            Step::Shares(list) => self.log(list).await,
            Step::Template { higher, fees, difficulty: part } => {
                let template = &mut self.model.template;
                template.height += u32::from(*higher);
                template.fees = Amount::from_sat((*fees).into());
                template.network_difficulty = difficulty(1_000.0 + 37.1 * f64::from(*part));
                self.new_template();
            }
            Step::Find { account, paid, house } => self.find(*account, paid, *house).await,
            Step::Verdict(index, word) => self.tell(index, *word).await,
            Step::Place(index, place) => self.look(index, *place).await,
            Step::Settle(index) => drop(self.settle_one(|count| index.index(count)).await),
            Step::SettleAll => while self.settle_one(|_| 0).await {},
            Step::SettleWrongly(index) => self.settle_wrongly(index).await,
            Step::Accrue => self.accrue().await,
            Step::AccrueWrongly(wrong) => self.accrue_wrongly(*wrong).await,
            Step::Reload(plan) => self.reload(*plan).await,
            Step::Fold { seconds } => self.fold(*seconds).await,
            Step::Prepare { minimum, max_lines } => self.prepare(*minimum, *max_lines),
            Step::Hold(account) => drop(self.desk.hold(ACCOUNTS[*account], "a talk")),
            Step::Release(account) => drop(self.desk.release(ACCOUNTS[*account])),
            Step::Draft(index)
            | Step::Sent(index)
            | Step::Confirmed(index, _)
            | Step::Cancel(index)
            | Step::Conflicted(index)
            | Step::Revive(index) => self.pay(index, step),
            Step::Reopen { .. } | Step::Crash(..) => unreachable!("an end is no part of a life"),
        }
    }

    async fn log(&mut self, list: &[Work]) {
        let mut records = Vec::new();
        for work in list {
            let name = ACCOUNTS[work.account];
            if !self.model.has_worked(work.account) {
                let account = AccountName::new(name).expect("a name");
                self.ledger.payout_address(&account, &format!("address-of-{name}")).expect("room");
            }
            self.model.clock = (self.model.clock + i64::from(work.seconds)).max(0);
            let at = self.model.now();
            let template = (!work.astray).then_some(self.model.template.id);
            let worth = f64::from(work.worth) / 7.0;
            // The log's time never runs back.
            let logged = self.model.shares.last().map_or(at, |last| last.at.max(at));
            self.model.shares.push(Share { account: work.account, worth, template, at: logged });
            let (account, worker) = worker(&self.ledger, name, if work.worth % 2 == 0 { "rig" } else { "" });
            records.push(ShareRecord {
                at,
                account,
                worker,
                protocol: if work.worth % 3 == 0 { Protocol::StratumV2 } else { Protocol::StratumV1 },
                template: template.unwrap_or(ASTRAY),
                difficulty: difficulty(worth),
                hash: hash(self.model.newest()),
            });
        }
        let last = self.ledger.append(&records).await.expect("room");
        assert_eq!(last.0, self.model.newest());
        until(&self.ledger, last).await;
    }

    async fn find(&mut self, account: usize, paid: &[u16], house: u16) {
        let template = self.model.template;
        let Some(share) = self.model.shares.last().filter(|last| last.template == Some(template.id)) else {
            return;
        };
        let account = if self.model.has_worked(account) { account } else { share.account };
        let reward = template.subsidy + template.fees;
        let mut left = reward;
        let mut pay = |account: &str, parts: u16| {
            let amount = Amount::from_sat(reward.to_sat() * u64::from(parts / 2) / 65_536).min(left);
            left -= amount;
            payment(account, amount.to_sat())
        };
        let miners =
            ACCOUNTS.iter().zip(paid).enumerate().filter(|(account, _)| self.model.has_worked(*account));
        let mut payments: Vec<Payment> = miners.map(|(_, (account, parts))| pay(account, *parts)).collect();
        payments.push(pay("", house));
        let number = self.model.blocks.len();
        let (_, finder) = worker(&self.ledger, ACCOUNTS[account], self.rig_of(account));
        let row = BlockRow {
            hash: block_hash(number),
            height: template.height,
            template: template.id,
            at: self.model.now(),
            network_difficulty: template.network_difficulty,
            reward,
            payments: payments.clone(),
            ..block(0, finder, self.model.plan.settings.window)
        };
        self.ledger.block_found(row.clone()).await.expect("written");
        // Whoever does not know whether it was written down says it again.
        self.ledger.block_found(row).await.expect("written");
        let signed = |amount: Amount| i64::try_from(amount.to_sat()).expect("money");
        self.model.blocks.push(Block {
            state: BlockState::Found,
            finder: account,
            through: self.model.newest(),
            reward: signed(reward),
            paid: payments.into_iter().map(|one| (one.account, signed(one.amount))).collect(),
            credits: None,
        });
    }

    /// A worker of the account that has sent a share.
    fn rig_of(&self, account: usize) -> &'static str {
        let first = self.model.shares.iter().find(|share| share.account == account);
        let even = |share: &Share| ((share.worth * 7.0).round() as u64).is_multiple_of(2);
        if first.is_some_and(even) { "rig" } else { "" }
    }

    async fn tell(&mut self, index: &Index, word: Word) {
        let undecided = |block: &Block| matches!(block.state, BlockState::Found | BlockState::Submitted);
        let Some(number) = self.block(index, undecided) else { return };
        let verdict = match word {
            Word::Submitted => Verdict::Submitted,
            Word::Accepted => Verdict::Accepted,
            Word::Stale => Verdict::Rejected { reason: "stale-prevblk".into() },
            Word::Inconclusive => Verdict::Rejected { reason: INCONCLUSIVE.into() },
        };
        let block = &mut self.model.blocks[number];
        let told = self.ledger.block_verdict(block_hash(number), verdict).await;
        if block.credits.is_some() && matches!(word, Word::Stale | Word::Inconclusive) {
            assert!(matches!(told, Err(LedgerError::Settled(_))), "{told:?}");
        } else {
            told.expect("known");
            block.told(word);
        }
    }

    /// One of those that are `likely`, if there are such.
    fn block(&self, index: &Index, likely: impl Fn(&Block) -> bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.model.blocks.len()).collect();
        let some: Vec<usize> =
            all.iter().copied().filter(|number| likely(&self.model.blocks[*number])).collect();
        let list = if some.is_empty() { all } else { some };
        number(index, &list).map(|at| list[at])
    }

    async fn look(&mut self, index: &Index, place: Place) {
        let told = |block: &Block| {
            !matches!(block.state, BlockState::Found | BlockState::Submitted | BlockState::Mature)
        };
        let Some(number) = self.block(index, told) else { return };
        self.ledger.block_places(vec![(block_hash(number), place)]).await.expect("known");
        let block = &mut self.model.blocks[number];
        block.seen(place);
        let seen = block.state;
        let mut again = block.clone();
        again.seen(place);
        // An orphan that is deep at once is immature until the second look.
        if again.state == seen {
            let changes = self.ledger.block_places(vec![(block_hash(number), place)]).await.expect("known");
            assert_eq!(changes, [Change::None]);
        }
    }

    /// As the pool does it: an open round, over the window of the plan of today. `false` where none is settled.
    async fn settle_one(&mut self, choose: impl Fn(usize) -> usize) -> bool {
        let open = self.ledger.open_rounds().await.expect("rounds");
        let expected: Vec<usize> =
            (0..self.model.blocks.len()).filter(|number| self.model.blocks[*number].is_open()).collect();
        let hashes: Vec<_> = open.iter().map(|round| round.hash).collect();
        assert_eq!(hashes, expected.iter().map(|number| block_hash(*number)).collect::<Vec<_>>());
        if open.is_empty() {
            return false;
        }
        let place = choose(open.len());
        let (number, round) = (expected[place], &open[place]);
        let plan = self.model.plan;
        let input = match plan.settings.window {
            window if window == round.window => round.round.clone(),
            window => self.ledger.round_with(round.hash, window).await.expect("a round"),
        };
        self.compare(number, &input);
        let finder = if plan.settings.per_finder { input.finder.clone() } else { String::new() };
        let known = |account: &str| self.ledger.account_known(account);
        let Some(settlement) = plan.settle(Round { finder, ..input }, &known) else {
            assert_ne!(plan.mood, Mood::Steady, "a round was held");
            return false;
        };
        let credits = credited(&settlement);
        assert!(self.ledger.settle_round(round.hash, settlement.clone()).await.expect("settled"));
        self.model.blocks[number].credits = Some(credits);
        let again = self.ledger.settle_round(round.hash, settlement).await.expect("asked");
        assert!(!again, "it was settled twice");
        true
    }

    /// The question is what the model has.
    fn compare(&self, number: usize, input: &Round) {
        let block = &self.model.blocks[number];
        assert_eq!(
            (input.reward().to_sat(), input.finder.as_str()),
            (sat(block.reward), ACCOUNTS[block.finder])
        );
        match self.model.plan.settings.window {
            Window::Round => {
                assert_eq!(
                    told(&input.contributions),
                    self.model.shares_of(self.model.round_of(number), |_| true)
                );
            }
            Window::None => assert_eq!(input.contributions, []),
            // Tests of windows and the audit have the rest.
            Window::Work(_) | Window::DurationMs(_) => {}
        }
    }

    async fn settle_wrongly(&mut self, index: &Index) {
        let Some(number) = number(index, &self.model.blocks) else { return };
        let input = self.ledger.round_with(block_hash(number), Window::None).await.expect("a round");
        let steady = Generation { mood: Mood::Steady, ..self.model.plan };
        let mut settlement = steady.settle(input, &|_| true).expect("a split");
        settlement.credits[0].amount += Amount::ONE_SAT;
        let before = rows(self.dir());
        let asked = self.ledger.settle_round(block_hash(number), settlement).await;
        match &self.model.blocks[number] {
            block if block.credits.is_some() => assert!(!asked.expect("nothing to do")),
            block if block.counts() => {
                assert!(matches!(asked, Err(LedgerError::NotTheReward { .. })), "{asked:?}");
            }
            _ => assert!(matches!(asked, Err(LedgerError::NotAccepted(_))), "{asked:?}"),
        }
        assert_same(&before, &rows(self.dir()), "a refusal changed something");
    }

    async fn accrue(&mut self) {
        let Some(open) = self.open_accrual().await else { return };
        let OpenAccrual { first, through, tallies, .. } = open;
        let Some(answer) = self.model.plan.accrue(&tallies) else { return };
        let policy = self.model.plan.record();
        let settlement = AccrualSettlement { policy, first, through, input: tallies, answer: answer.clone() };
        if self.model.plan.mood != Mood::Steady && !answer.is_empty() {
            return self.refused(settlement).await;
        }
        assert!(self.ledger.accrue(settlement.clone()).await.expect("booked"));
        self.model.accruals.push(Accrual { first: first.0, through: through.0, answer });
        assert!(!self.ledger.accrue(settlement).await.expect("asked"), "it was booked twice");
    }

    /// The work that waits, which is that of the model.
    async fn open_accrual(&self) -> Option<OpenAccrual> {
        let open = self.ledger.open_accrual().await.expect("read");
        let after = self.model.accrued_through();
        let waiting = after.map_or(0, |after| self.model.newest() - after);
        assert_eq!(self.ledger.unaccrued().await.expect("read"), waiting);
        assert_eq!(open.is_some(), waiting > 0);
        let open = open?;
        assert_eq!((Some(open.first.0), open.through.0), (after.map(|after| after + 1), self.model.newest()));
        let range = (open.first.0, open.through.0);
        let contributions: Vec<_> =
            open.tallies.iter().flat_map(|tally| tally.contributions.clone()).collect();
        let named = self.model.shares_of(range, |share| share.template.is_some());
        assert_eq!(told(&contributions), named);
        assert_eq!(open.passed_over, waiting - named.values().sum::<u64>());
        Some(open)
    }

    async fn accrue_wrongly(&mut self, wrong: Wrong) {
        let Some(open) = self.open_accrual().await else { return };
        let OpenAccrual { mut first, through, tallies, .. } = open;
        let steady = Generation { mood: Mood::Steady, ..self.model.plan };
        let mut answer = steady.accrue(&tallies).expect("steady");
        let house = Accrued { account: String::new(), microsats: 1, reason: String::new() };
        match wrong {
            Wrong::TooMuch if answer.is_empty() => return,
            Wrong::TooMuch => answer[0].microsats = 1 << 60,
            Wrong::Late => first = ShareSeq(first.0 + 1),
            Wrong::ToTheHouse => answer.push(house),
        }
        let policy = steady.record();
        self.refused(AccrualSettlement { policy, first, through, input: tallies, answer }).await;
    }

    async fn refused(&self, settlement: AccrualSettlement) {
        let before = rows(self.dir());
        let refused = self.ledger.accrue(settlement).await;
        assert!(
            matches!(refused, Err(LedgerError::Accrual(_) | LedgerError::AccrualRange { .. })),
            "{refused:?}"
        );
        assert_same(&before, &rows(self.dir()), "a refusal changed something");
    }

    async fn reload(&mut self, plan: Generation) {
        let on = plan.settings.accrue_bps.is_some();
        self.ledger.accruing(on).await.expect("written");
        self.model.after = on.then(|| self.model.after.unwrap_or(self.model.newest()));
        self.model.plan = plan;
    }

    async fn fold(&mut self, seconds: u16) {
        let before = Timestamp(self.model.now().0.saturating_sub(u64::from(seconds) * 1000));
        let (window, network_difficulty) =
            (self.model.plan.settings.window, self.model.template.network_difficulty);
        let folded = self.ledger.fold(before, Needed { window, network_difficulty }).await.expect("folded");
        let through = folded.through.0;
        assert_eq!(folded.shares, through - self.model.folded, "keeps: {}", folded.keeps);
        assert!(through == 0 || through < self.model.newest(), "the newest stays");
        let kept = self.model.accrued_through().unwrap_or(u64::MAX);
        assert!(through <= kept.max(self.model.folded), "{through} is folded, {kept} is accrued");
        let old = |share: &Share| share.at < before;
        let newly = self.model.shares.iter().take(usize::try_from(through).expect("few"));
        assert!(newly.skip(usize::try_from(self.model.folded).expect("few")).all(old), "too young");
        self.model.folded = through;
    }

    fn prepare(&mut self, minimum: u16, max_lines: usize) {
        let rules = Rules { minimum: Amount::from_sat(minimum.into()), max_lines, payable: &any };
        let Some((batch, new)) = self.desk.prepare(&rules).expect("asked") else { return };
        let prepared = |batch: &Batch| batch.stands && batch.txid.is_none();
        assert_eq!(new, !self.model.batches.iter().any(prepared));
        if !new {
            return;
        }
        let balances = self.model.balances();
        for line in &batch.lines {
            let balance = balances.get(&line.account).copied().unwrap_or(0);
            assert!(sat(balance.max(0)) >= line.amount.to_sat(), "{line:?} of {balance} sat");
        }
        self.model.batches.push(Batch { id: batch.id, lines: Vec::new(), txid: None, stands: true, fee: 0 });
        self.follow(&batch, self.model.batches.len() - 1);
    }

    fn follow(&mut self, batch: &payouts::Batch, number: usize) {
        let (txid, fee) = match batch.state {
            BatchState::Prepared | BatchState::Cancelled { .. } => (None, 0),
            BatchState::Sent { txid } => (Some(txid), 0),
            BatchState::Confirmed { txid, fee, .. } => {
                (Some(txid), i64::try_from(fee.to_sat()).expect("money"))
            }
        };
        let line = |line: &payouts::Line| {
            (line.account.clone(), i64::try_from(line.amount.to_sat()).expect("money"))
        };
        let model = &mut self.model.batches[number];
        model.lines = batch.lines.iter().map(line).collect();
        model.stands = !matches!(batch.state, BatchState::Cancelled { .. });
        (model.txid, model.fee) = (txid, fee);
    }

    /// A step of a batch. Refused, it changes nothing.
    fn pay(&mut self, index: &Index, step: &Step) {
        let Some(number) = number(index, &self.model.batches) else { return };
        let batch = self.model.batches[number].clone();
        let own = txid(u64::try_from(batch.id.0).expect("a number"));
        let before = rows(self.dir());
        let desk = &mut self.desk;
        let changed = match step {
            Step::Draft(_) => desk.must_spend(batch.id).and_then(|mut coins| {
                let outpoint = OutPoint { txid: own, vout: u32::try_from(coins.len()).expect("few") };
                coins.push(Coin { outpoint, amount: Amount::from_sat(70_000) });
                desk.reserve(batch.id, &coins)
            }),
            Step::Sent(_) => desk.sent(batch.id, own, None),
            Step::Confirmed(_, fee) => desk.confirmed(batch.id, own, 500, Amount::from_sat((*fee).into())),
            Step::Cancel(_) => desk.cancel(batch.id),
            Step::Conflicted(_) => {
                let coins = desk.batch(batch.id).expect("there").coins;
                let Some(coin) = coins.first() else { return };
                desk.conflicted(batch.id, txid(1 << 40), coin.outpoint)
            }
            _ => desk.revive(batch.id, own),
        };
        match changed {
            Ok(true) => {
                let now = self.desk.batch(batch.id).expect("there");
                self.follow(&now, number);
            }
            Ok(false) => assert_same(&before, &rows(self.dir()), "nothing was to be done"),
            Err(DeskError::Database(error)) => panic!("{step:?}: {error}"),
            Err(_) => assert_same(&before, &rows(self.dir()), "a refusal changed something"),
        }
    }
}
