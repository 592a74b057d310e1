//! A question to each export, what a caller gets by default, and what is to be seen afterwards.

use sluice_core::bitcoin::Amount;
use sluice_core::policy::PolicyKind;
use sluice_core::policy::auth::Refusal;
use sluice_core::policy::payout::{Contribution, Tally};
use sluice_core::policy::vardiff::Memo;
use sluice_policy::{Limits, Policies, PolicyEvent, TrapCause};

use crate::guest::Guest;
use crate::house::{House, applied, event, login, opening, review, round, status};

/// A question that the pool asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Authorize,
    Open,
    ReviewAll,
    DescribePlan,
    Settle,
    Accrue,
}

impl Question {
    pub(crate) const ALL: [Self; 6] =
        [Self::Authorize, Self::Open, Self::ReviewAll, Self::DescribePlan, Self::Settle, Self::Accrue];

    pub(crate) fn kind(self) -> PolicyKind {
        match self {
            Self::Authorize => PolicyKind::Auth,
            Self::Open | Self::ReviewAll => PolicyKind::Vardiff,
            Self::DescribePlan | Self::Settle | Self::Accrue => PolicyKind::Payout,
        }
    }

    /// The export that answers.
    pub(crate) fn export(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Open => "open",
            Self::ReviewAll => "review-all",
            Self::DescribePlan => "describe-plan",
            Self::Settle => "settle",
            Self::Accrue => "accrue",
        }
    }

    /// Asks; `Err` is the default of the kind.
    pub(crate) async fn ask(self, policies: &Policies) -> Result<(), String> {
        match self {
            Self::Authorize => match policies.authorize(login("alice")).await {
                Ok(_) => Ok(()),
                Err(Refusal::TryLater(text)) => Err(text),
                Err(other) => panic!("not the default: {other:?}"),
            },
            Self::Open => policies.open(opening()).await.map(|_| ()).ok_or_else(String::new),
            Self::ReviewAll => {
                policies.review(review(Memo::default())).await.map(|_| ()).ok_or_else(String::new)
            }
            Self::DescribePlan => policies.plan().await.map(|_| ()).map_err(|why| why.to_string()),
            Self::Settle => {
                policies.settle(round(&[("alice", 1)])).await.map(|_| ()).map_err(|why| why.to_string())
            }
            Self::Accrue => policies.accrue(vec![tally()]).await.map(|_| ()).map_err(|why| why.to_string()),
        }
    }
}

pub(crate) fn tally() -> Tally {
    Tally {
        height: 100,
        subsidy: Amount::from_sat(5_000_000_000),
        fees: Amount::ZERO,
        network_difficulty: 1000.0,
        work_unit: 1.0,
        contributions: vec![Contribution { account: "alice".to_owned(), work: 10, shares: 10 }],
    }
}

/// A guest that is fine when it loads, in a pool of its own.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) policies: Policies,
    question: Question,
}

impl Scene {
    pub(crate) async fn of(question: Question, guest: Guest) -> Self {
        Self::with(question, guest, |_| {}).await
    }

    pub(crate) async fn with(question: Question, guest: Guest, change: impl FnOnce(&mut Limits)) -> Self {
        let mut house = House::new();
        house.config.debounce = std::time::Duration::from_millis(5);
        let slot = match question.kind() {
            PolicyKind::Auth => &mut house.config.auth,
            PolicyKind::Vardiff => &mut house.config.vardiff,
            PolicyKind::Payout => &mut house.config.payout,
        };
        slot.limits.fuel = 4_000_000;
        change(&mut slot.limits);
        house.put(question.kind(), &guest.build());
        let policies = house.start().await;
        Self { house, policies, question }
    }

    /// The call fails with the default, is counted by its cause and told with `says`; the other kinds answer.
    pub(crate) async fn stopped(&self, stop: TrapCause, says: &str) {
        let mut events = self.policies.events();
        let kind = self.question.kind();
        let before = status(&self.policies, kind).figures;
        let answer = self.question.ask(&self.policies).await;
        assert!(answer.is_err(), "it answered");
        let after = status(&self.policies, kind).figures;
        assert_eq!(after.traps, before.traps + 1, "{:?}", after.traps_by_cause);
        assert_eq!(after.traps_by_cause.of(stop), before.traps_by_cause.of(stop) + 1, "{after:?}");
        let why = event(&mut events, told).await;
        assert!(why.contains(says), "{why}");
        self.others_answer().await;
    }

    /// The call fails with the default since its answer breaks a rule; the other kinds answer.
    pub(crate) async fn refused(&self, says: &str) {
        let mut events = self.policies.events();
        let kind = self.question.kind();
        assert!(self.question.ask(&self.policies).await.is_err(), "it is taken");
        let figures = status(&self.policies, kind).figures;
        assert_eq!((figures.traps, figures.bad_answers), (0, 1));
        let why = event(&mut events, told).await;
        assert!(why.contains(says), "{why}");
        self.others_answer().await;
    }

    pub(crate) async fn others_answer(&self) {
        for other in [Question::Authorize, Question::Open, Question::Settle] {
            if other.kind() != self.question.kind() {
                other.ask(&self.policies).await.unwrap();
            }
        }
    }

    /// A good file takes over, and answers.
    pub(crate) async fn mended(&self) {
        let mut events = self.policies.events();
        let kind = self.question.kind();
        self.house.put(kind, &Guest::new(kind, "mended").build());
        assert_eq!(applied(&mut events).await, "mended");
        self.question.ask(&self.policies).await.unwrap();
    }
}

fn told(event: &PolicyEvent) -> Option<String> {
    match event {
        PolicyEvent::Trapped { why, .. } => Some(why.clone()),
        _ => None,
    }
}
