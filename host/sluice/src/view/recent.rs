//! Answers that are kept for a moment, so that however many ask, the pool is asked little.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// An answer is kept at least so many times as long as it took to get, so that asking takes a twentieth of the time at most.
const REST: u32 = 20;

/// Answers by question, kept for `age` or longer where they are dear; no more than `limit`, beside those that somebody waits
/// for at this moment. Each question is under way once at a time; whoever asks the same waits for it, and for no other.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    slots: std::sync::Mutex<HashMap<K, Arc<Slot<V>>>>,
    age: Duration,
    limit: usize,
}

type Slot<V> = Mutex<Option<Kept<V>>>;

#[derive(Debug)]
struct Kept<V> {
    until: Instant,
    value: V,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(age: Duration, limit: usize) -> Self {
        Self { slots: std::sync::Mutex::default(), age, limit }
    }

    /// The answer that is kept, else that of `ask`, whose failure is not kept.
    pub(super) async fn get<E>(&self, key: K, ask: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let slot = self.slot(key);
        let mut kept = slot.lock().await;
        let begun = Instant::now();
        if let Some(known) = kept.as_ref().filter(|known| begun < known.until) {
            return Ok(known.value.clone());
        }
        let value = ask.await?;
        let now = Instant::now();
        let until = now + self.age.max((now - begun) * REST);
        *kept = Some(Kept { until, value: value.clone() });
        Ok(value)
    }

    /// The question's own. Where there are too many, the old ones go, else all that nobody waits for.
    fn slot(&self, key: K) -> Arc<Slot<V>> {
        let mut slots = self.lock();
        if slots.len() >= self.limit && !slots.contains_key(&key) {
            let now = Instant::now();
            slots.retain(|_, slot| {
                !slot.try_lock().is_ok_and(|kept| kept.as_ref().is_none_or(|it| it.until <= now))
            });
            if slots.len() >= self.limit {
                slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
        }
        Arc::clone(slots.entry(key).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Slot<V>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    async fn count(recent: &Recent<u32, usize>, key: u32, asked: &AtomicUsize) -> usize {
        let ask = async {
            tokio::task::yield_now().await;
            Ok::<_, ()>(asked.fetch_add(1, Ordering::Relaxed) + 1)
        };
        recent.get(key, ask).await.unwrap()
    }

    impl<K: Eq + Hash, V: Clone> Recent<K, V> {
        fn until(&self, key: K) -> Instant {
            let slot = self.slot(key);
            slot.try_lock().unwrap().as_ref().unwrap().until
        }
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_or_soon_after_gets_the_same_answer() {
        let (recent, asked) = (Recent::new(LONG, 8), AtomicUsize::new(0));
        let (first, second) = tokio::join!(count(&recent, 1, &asked), count(&recent, 1, &asked));
        assert_eq!((first, second, count(&recent, 2, &asked).await), (1, 1, 2));
    }

    #[tokio::test]
    async fn one_that_hangs_keeps_nobody_else_waiting() {
        let (recent, asked) = (Recent::new(LONG, 1), AtomicUsize::new(0));
        let hangs = recent.get(1, std::future::pending::<Result<usize, ()>>());
        tokio::pin!(hangs);
        assert!(futures_are_pending(&mut hangs).await);
        for key in 2..5 {
            count(&recent, key, &asked).await;
            assert!(recent.lock().len() <= 2, "one that is waited for, and one");
        }
        assert!(futures_are_pending(&mut hangs).await);
    }

    async fn futures_are_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn an_old_answer_is_asked_for_again() {
        let (recent, asked) = (Recent::new(Duration::ZERO, 8), AtomicUsize::new(0));
        count(&recent, 1, &asked).await;
        let until = recent.until(1);
        tokio::time::sleep_until(until).await;
        assert_eq!(count(&recent, 1, &asked).await, 2);
        assert_eq!(recent.lock().len(), 1);
    }

    #[tokio::test]
    async fn what_took_long_is_kept_long() {
        const TOOK: Duration = Duration::from_millis(20);
        let recent = Recent::new(Duration::ZERO, 8);
        let begun = Instant::now();
        let ask = async {
            tokio::time::sleep(TOOK).await;
            Ok::<_, ()>(1)
        };
        assert_eq!(recent.get(1, ask).await, Ok(1));
        assert!(recent.until(1) >= begun + TOOK * (REST + 1));
    }

    #[tokio::test]
    async fn failures_are_not_kept_and_answers_are_bounded() {
        let (recent, asked) = (Recent::new(LONG, 8), AtomicUsize::new(0));
        assert_eq!(recent.get(1, async { Err::<usize, _>("busy") }).await, Err("busy"));
        assert_eq!(count(&recent, 1, &asked).await, 1);
        for key in 0..100 {
            count(&recent, key, &asked).await;
            assert!(recent.lock().len() <= 8);
        }
    }
}
