//! The board's task: what a template, a plan, a newcomer or time lead to.

use std::sync::Arc;

use bitcoin::{BlockHash, CompactTarget};
use sluice_core::coinbase::Claims;
use sluice_core::job::{TipNumber, Work};
use sluice_core::template::Template;
use sluice_core::units::Moment;
use tokio::sync::watch;

use super::board::Finder;
use super::split::{Asking, Patience};
use super::{Board, Class, Splitter};

/// What makes the board's task act.
enum Event {
    Template(Arc<Template>),
    Plan,
    /// Somebody waits for the first job of a line.
    Request(Finder, Class),
    Refresh,
    Stop,
}

/// Keeps the board until the node's watch closes.
pub async fn keep(
    board: Arc<Board>,
    splitter: Arc<Splitter>,
    mut templates: watch::Receiver<Option<Arc<Template>>>,
    mut plans: watch::Receiver<u64>,
) {
    let mut keeper = Keeper { board, splitter, tip: None, unanswered: false, plan_due: false };
    keeper.splitter.note_plan(keeper.board.plan());
    let mut refresh = tokio::time::interval(keeper.board.refresh_interval());
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    templates.mark_changed();
    loop {
        let event = tokio::select! {
            biased;
            changed = templates.changed() => match changed {
                Ok(()) => templates.borrow_and_update().clone().map_or(Event::Refresh, Event::Template),
                Err(_) => Event::Stop,
            },
            Ok(()) = plans.changed() => Event::Plan,
            _ = refresh.tick() => Event::Refresh,
            (finder, class) = keeper.board.request() => Event::Request(finder, class),
        };
        if keeper.plan_due {
            keeper.ask_plan().await;
        }
        match event {
            Event::Template(template) => {
                keeper.take(template);
                keeper.publish_all(&templates, Asking::Anew).await;
                refresh.reset();
            }
            Event::Plan => {
                keeper.ask_plan().await;
                keeper.publish_all(&templates, Asking::Anew).await;
            }
            Event::Request(finder, class) => keeper.publish(&finder, &[class], Asking::UnlessKnown).await,
            // What the policy did not answer in time is asked again, now without a hurry to lose.
            Event::Refresh if keeper.unanswered => keeper.publish_all(&templates, Asking::Anew).await,
            // What is owed may have been paid by other means.
            Event::Refresh if keeper.board.plan().pays_balances => {
                keeper.publish_all(&templates, Asking::UnlessKnown).await;
            }
            Event::Refresh => keeper.board.refresh(),
            Event::Stop => break,
        }
    }
}

/// What all present work is on.
struct Tip {
    on: (BlockHash, CompactTarget),
    number: TipNumber,
    since: Moment,
}

/// The board's task, between two events.
struct Keeper {
    board: Arc<Board>,
    splitter: Arc<Splitter>,
    tip: Option<Tip>,
    /// The payout policy did not answer for the present work; the last split stands.
    unanswered: bool,
    /// It has not said how it wants to be asked.
    plan_due: bool,
}

impl Keeper {
    fn take(&mut self, template: Arc<Template>) {
        let place = next_tip(&mut self.tip, &template, self.board.clock.moment());
        let work = Arc::new(Work::new(template, place, self.board.rollable()));
        self.splitter.note_template(&work.template);
        self.board.set_work(&work);
        self.unanswered = false;
    }

    async fn ask_plan(&mut self) {
        match self.splitter.plan().await {
            Some(plan) => {
                self.splitter.note_plan(plan);
                self.board.set_plan(plan);
                self.plan_due = false;
            }
            None => self.plan_due = true,
        }
    }

    /// Work for everybody. Left when a newer template is there.
    async fn publish_all(&mut self, templates: &watch::Receiver<Option<Arc<Template>>>, asking: Asking) {
        self.unanswered = false;
        self.splitter.look_up_owed(self.board.plan()).await;
        for (finder, classes) in self.board.wanted() {
            self.publish(&finder, &classes, asking).await;
            if templates.has_changed().unwrap_or(false) {
                break;
            }
        }
    }

    /// The policy is asked once, whatever the number of classes.
    async fn publish(&mut self, finder: &Finder, classes: &[Class], asking: Asking) {
        let plan = self.board.plan();
        let Some(work) = self.board.work().filter(|_| finder.is_some() == plan.per_finder) else { return };
        let patience = if self.unanswered { Patience::None } else { Patience::Short };
        let template = &work.template;
        let (credits, answered) =
            self.splitter.credits(template, finder.as_ref(), plan.window, (asking, patience)).await;
        self.unanswered |= !answered;
        let owed = self.splitter.owed();
        let claims = Claims::new(&credits, &owed);
        for class in classes {
            let payments = self.splitter.fit(template, *class, &claims);
            if finder.is_none() && *class == Class::DEFAULT {
                self.splitter.note_paid(&payments);
            }
            self.board.publish(finder, *class, payments);
        }
    }
}

/// Another previous block, or another difficulty on the same one, which testnet4 allows: SV2 miners learn of either
/// only with SetNewPrevHash (M-41).
fn next_tip(tip: &mut Option<Tip>, template: &Template, now: Moment) -> (TipNumber, Moment) {
    let on = (template.previous, template.bits);
    match tip {
        Some(known) if known.on == on => (known.number, known.since),
        _ => {
            let number = TipNumber(tip.as_ref().map_or(0, |known| known.number.0) + 1);
            *tip = Some(Tip { on, number, since: now });
            (number, now)
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
