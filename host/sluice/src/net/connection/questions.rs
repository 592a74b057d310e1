//! What a connection asks of the vardiff policy: openings and reviews, of many channels at a time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use sluice_core::session::Answer;

/// Questions of one connection that a policy thinks about at a time; the others wait their turn, so that a connection
/// with thousands of channels does not crowd out everybody else.
const RUNNING_LIMIT: usize = 32;
/// Questions of one connection that wait. A channel has at most one open, so that more come only of channels that are
/// opened and closed without end; beyond it there is no answer, and what is configured holds.
const WAITING_LIMIT: usize = 65_536;

/// A question on its way. It is asked when it is first polled.
pub(super) type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The questions of one connection.
#[derive(Default)]
pub(super) struct Questions {
    /// The only one, for a connection with one channel.
    first: Option<Running>,
    others: Option<Box<Others>>,
}

#[derive(Default)]
struct Others {
    running: Vec<Running>,
    waiting: VecDeque<Running>,
}

impl Questions {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_none()
    }

    /// Whether another may be asked.
    pub(super) fn has_room(&self) -> bool {
        self.others.as_ref().is_none_or(|others| others.waiting.len() < WAITING_LIMIT)
    }

    pub(super) fn ask(&mut self, question: Running) {
        if self.first.is_none() {
            self.first = Some(question);
            return;
        }
        let others = self.others.get_or_insert_default();
        if others.running.len() + 1 < RUNNING_LIMIT {
            others.running.push(question);
        } else {
            others.waiting.push_back(question);
        }
    }

    /// The next answer, of whichever question; for ever pending while there is none.
    pub(super) async fn answer(&mut self) -> Answer {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        if let Some(first) = &mut self.first
            && let Poll::Ready(answer) = first.as_mut().poll(context)
        {
            self.first = None;
            self.advance();
            return Poll::Ready(answer);
        }
        let Some(others) = &mut self.others else { return Poll::Pending };
        for index in 0..others.running.len() {
            if let Poll::Ready(answer) = others.running[index].as_mut().poll(context) {
                // It is over.
                drop(others.running.swap_remove(index));
                self.advance();
                return Poll::Ready(answer);
            }
        }
        Poll::Pending
    }

    /// Somebody else's turn.
    fn advance(&mut self) {
        let Some(mut others) = self.others.take() else { return };
        if let Some(next) = others.waiting.pop_front() {
            others.running.push(next);
        }
        if self.first.is_none() {
            self.first = others.running.pop();
        }
        if !others.running.is_empty() {
            self.others = Some(others);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use sluice_core::ids::ChannelId;
    use tokio::sync::Semaphore;

    use super::*;

    fn channel(answer: &Answer) -> u32 {
        match answer {
            Answer::Reviewed(ChannelId(channel), None) => *channel,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn all_are_answered_and_few_are_asked_at_a_time() {
        let (asked, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let mut questions = Questions::default();
        assert!(questions.is_empty() && questions.has_room());
        for number in 0..100 {
            let (asked, release) = (Arc::clone(&asked), Arc::clone(&release));
            questions.ask(Box::pin(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                release.acquire().await.unwrap().forget();
                Answer::Reviewed(ChannelId(number), None)
            }));
        }
        let impatient = tokio::time::timeout(Duration::from_millis(1), questions.answer());
        assert!(impatient.await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), RUNNING_LIMIT);
        release.add_permits(100);
        let mut answered = Vec::new();
        while !questions.is_empty() {
            answered.push(channel(&questions.answer().await));
        }
        answered.sort_unstable();
        assert_eq!(answered, (0..100).collect::<Vec<_>>());
        assert!(questions.others.is_none(), "an idle connection keeps nothing");
    }

    #[tokio::test]
    async fn a_question_that_comes_later_is_asked_too() {
        let mut questions = Questions::default();
        questions.ask(Box::pin(std::future::pending()));
        let impatient = tokio::time::timeout(Duration::from_millis(1), questions.answer());
        assert!(impatient.await.is_err());
        questions.ask(Box::pin(async { Answer::Reviewed(ChannelId(7), None) }));
        assert_eq!(channel(&questions.answer().await), 7);
    }
}
