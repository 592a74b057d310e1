//! Where nodes report, and where it is decided whose templates are served.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_core::template::Template;
use sluice_core::units::Timestamp;
use tokio::sync::watch;

use crate::health::{ChainHealth, Health, NodeStatus};

pub(super) type Templates = watch::Receiver<Option<Arc<Template>>>;
pub(super) type HealthWatch = watch::Receiver<ChainHealth>;

/// How many blocks the active node may be behind the best one before another takes over. One: a block takes a moment
/// to reach every node.
const LAG_LIMIT: u32 = 1;

/// The nodes' latest words. The lock is never held over a call.
pub(super) struct Board {
    state: Mutex<State>,
    templates: watch::Sender<Option<Arc<Template>>>,
    health: watch::Sender<ChainHealth>,
}

struct State {
    seats: Vec<Seat>,
    active: Option<usize>,
    down_since: Option<Timestamp>,
}

struct Seat {
    name: String,
    health: Health,
    template: Option<Arc<Template>>,
    /// Counts templates, so that an answer can tell whether another overtook it.
    generation: Generation,
}

/// How many templates a node had published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation(u64);

impl Board {
    pub(super) fn new(names: &[String], now: Timestamp) -> (Self, Templates, HealthWatch) {
        let seat = |name: &String| Seat {
            name: name.clone(),
            health: Health::Starting,
            template: None,
            generation: Generation::default(),
        };
        let state = State { seats: names.iter().map(seat).collect(), active: None, down_since: Some(now) };
        let (templates, template_watch) = watch::channel(None);
        let (health, health_watch) = watch::channel(state.summary());
        (Self { state: Mutex::new(state), templates, health }, template_watch, health_watch)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generation(&self, node: usize) -> Generation {
        self.state().seats[node].generation
    }

    /// A template that was asked for when `node` stood at `asked`. Dropped, and `false`, if the long poll brought a
    /// newer one meanwhile; the node is healthy either way.
    pub(super) fn answer(
        &self,
        node: usize,
        template: Arc<Template>,
        asked: Generation,
        now: Timestamp,
    ) -> bool {
        let mut state = self.state();
        let seat = &mut state.seats[node];
        seat.health = Health::Healthy;
        let current = seat.generation == asked;
        if current {
            seat.place(template);
        }
        self.decide(&mut state, now);
        current
    }

    /// A template that a long poll brought. Dropped, and `false`, while the node is not known to be healthy.
    pub(super) fn push(&self, node: usize, template: Arc<Template>, now: Timestamp) -> bool {
        let mut state = self.state();
        let seat = &mut state.seats[node];
        let healthy = seat.health == Health::Healthy;
        if healthy {
            seat.place(template);
            self.decide(&mut state, now);
        }
        healthy
    }

    /// The node is not healthy.
    pub(super) fn report(&self, node: usize, health: Health, now: Timestamp) {
        let mut state = self.state();
        let seat = &mut state.seats[node];
        let was = std::mem::replace(&mut seat.health, health);
        // Its last template must not come back as fresh when it recovers.
        seat.template = None;
        if let (Health::Unreachable { since, .. }, Health::Unreachable { since: new, .. }) =
            (&was, &mut seat.health)
        {
            *new = *since;
        }
        if was.label() != seat.health.label() {
            tracing::warn!(node = %seat.name, health = %seat.health, "node is not healthy");
        }
        self.decide(&mut state, now);
    }

    fn decide(&self, state: &mut State, now: Timestamp) {
        let heights: Vec<Option<u32>> = state.seats.iter().map(Seat::height).collect();
        let chosen = choose(&heights, state.active);
        if chosen != state.active {
            let name = chosen.map_or("none", |node| state.seats[node].name.as_str());
            tracing::info!(node = name, "the node that serves templates has changed");
        }
        state.active = chosen;
        state.down_since = match chosen {
            Some(_) => None,
            None => state.down_since.or(Some(now)),
        };
        if let Some(template) = chosen.and_then(|node| state.seats[node].template.as_ref()) {
            self.templates.send_if_modified(|served| {
                let same = served.as_ref().is_some_and(|served| Arc::ptr_eq(served, template));
                if !same {
                    *served = Some(Arc::clone(template));
                }
                !same
            });
        }
        let summary = state.summary();
        self.health.send_if_modified(|known| {
            *known != summary && {
                *known = summary;
                true
            }
        });
    }
}

impl State {
    fn summary(&self) -> ChainHealth {
        let status = |seat: &Seat| NodeStatus { name: seat.name.clone(), health: seat.health.clone() };
        ChainHealth {
            nodes: self.seats.iter().map(status).collect(),
            active: self.active,
            down_since: self.down_since,
        }
    }
}

impl Seat {
    fn place(&mut self, template: Arc<Template>) {
        self.template = Some(template);
        self.generation.0 += 1;
    }

    /// `None` while the node cannot serve.
    fn height(&self) -> Option<u32> {
        self.template.as_ref().filter(|_| self.health == Health::Healthy).map(|template| template.height)
    }
}

/// The first node that can serve and is not behind the best; the active one may be a little behind.
fn choose(heights: &[Option<u32>], active: Option<usize>) -> Option<usize> {
    let best = heights.iter().flatten().max()?;
    heights.iter().enumerate().position(|(node, height)| {
        let allowed = if active == Some(node) { LAG_LIMIT } else { 0 };
        height.is_some_and(|height| best - height <= allowed)
    })
}

#[cfg(test)]
mod tests;
