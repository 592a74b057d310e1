//! What each node has said of each block that is still open. Pure: time is an argument.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_core::bitcoin::BlockHash;
use sluice_core::share::FoundBlock;
use sluice_core::units::Timestamp;

use super::Outcome;
use crate::sink::SubmitAnswer;

/// The most blocks open at once. When full, blocks that a node has accepted are let go; a block that still finds no
/// room waits on disk.
pub(super) const OPEN_LIMIT: usize = 32;
/// How often a node that gives no verdict is tried once another one has given its own. About two minutes.
const TRIES_AFTER_VERDICT: u32 = 14;
/// Between two tries: from the first, doubled up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// A block of the journal, in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) hash: BlockHash,
    pub(super) height: u32,
    pub(super) template: u64,
    pub(super) found_at: Timestamp,
    pub(super) facts: Arc<Value>,
    pub(super) block: Vec<u8>,
}

impl Entry {
    pub(super) fn new(found: FoundBlock, facts: Value, found_at: Timestamp) -> Self {
        Self {
            hash: found.hash,
            height: found.height,
            template: found.template.0,
            found_at,
            facts: Arc::new(facts),
            block: found.block,
        }
    }
}

/// Where a node stands with a block.
#[derive(Clone, Debug)]
enum Progress {
    Due {
        at: Instant,
        tries: u32,
    },
    Answered(SubmitAnswer),
    /// It gave no verdict for long, while another one did.
    GivenUp,
}

struct Case {
    entry: Arc<Entry>,
    nodes: Vec<Progress>,
    /// An outcome was told.
    told: Option<Told>,
    opened: Instant,
}

/// How final it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Accepted,
    Other,
}

/// An outcome with nodes as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Accepted { node: usize },
    Inconclusive { node: usize },
    Rejected { node: usize, reason: String },
}

impl Finding {
    pub(super) fn named(self, name: impl Fn(usize) -> String) -> Outcome {
        match self {
            Self::Accepted { node } => Outcome::Accepted { node: name(node) },
            Self::Inconclusive { node } => Outcome::Inconclusive { node: name(node) },
            Self::Rejected { node, reason } => Outcome::Rejected { node: name(node), reason },
        }
    }
}

/// What a node's answer led to.
#[derive(Debug, Default)]
pub(super) struct Conclusion {
    /// To be told and written down.
    pub(super) outcome: Option<Finding>,
    /// The case is closed: there is room for another.
    pub(super) closed: bool,
}

/// What a node's thread is to do.
#[derive(Debug)]
pub(super) enum Step {
    Submit(Arc<Entry>),
    Wait(Duration),
    Nothing,
}

/// All open cases.
pub(super) struct Cases {
    open: HashMap<BlockHash, Case>,
    nodes: usize,
    /// Some block found no room and waits on disk.
    overflow: bool,
}

impl Cases {
    pub(super) fn new(nodes: usize) -> Self {
        Self { open: HashMap::new(), nodes, overflow: false }
    }

    pub(super) fn hashes(&self) -> HashSet<BlockHash> {
        self.open.keys().copied().collect()
    }

    /// Whether a block was turned away since the last call.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflow)
    }

    /// `false` if there is no room. A block that is open already is left as it is.
    pub(super) fn add(&mut self, entry: Arc<Entry>, now: Instant) -> bool {
        if self.open.len() >= OPEN_LIMIT && !self.let_go() {
            self.overflow = true;
            return false;
        }
        let nodes = vec![Progress::Due { at: now, tries: 0 }; self.nodes];
        self.open.entry(entry.hash).or_insert(Case { entry, nodes, told: None, opened: now });
        true
    }

    fn let_go(&mut self) -> bool {
        let accepted = self.open.values().filter(|case| case.told == Some(Told::Accepted));
        let oldest = accepted.min_by_key(|case| case.opened).map(|case| case.entry.hash);
        oldest.is_some_and(|hash| self.open.remove(&hash).is_some())
    }

    /// The block that `node` has been waiting for longest.
    pub(super) fn due(&self, node: usize, now: Instant) -> Step {
        let due = self.open.values().filter_map(|case| match case.nodes[node] {
            Progress::Due { at, .. } => Some((at, case)),
            Progress::Answered(_) | Progress::GivenUp => None,
        });
        match due.min_by_key(|(at, case)| (*at, case.opened)) {
            Some((at, case)) if at <= now => Step::Submit(Arc::clone(&case.entry)),
            Some((at, _)) => Step::Wait(at - now),
            None => Step::Nothing,
        }
    }

    /// `node` answered; `None` if it gave no verdict.
    pub(super) fn answered(
        &mut self,
        hash: BlockHash,
        node: usize,
        answer: Option<SubmitAnswer>,
        now: Instant,
    ) -> Conclusion {
        let Some(case) = self.open.get_mut(&hash) else { return Conclusion::default() };
        case.note(node, answer, now);
        let outcome = case.conclude();
        let closed = case.is_closed();
        if closed {
            self.open.remove(&hash);
        }
        Conclusion { outcome, closed }
    }
}

impl Case {
    fn note(&mut self, node: usize, answer: Option<SubmitAnswer>, now: Instant) {
        let decided = self.nodes.iter().any(|progress| matches!(progress, Progress::Answered(_)));
        let tries = match self.nodes[node] {
            Progress::Due { tries, .. } => tries + 1,
            Progress::Answered(_) | Progress::GivenUp => return,
        };
        self.nodes[node] = match answer {
            Some(answer) => Progress::Answered(answer),
            None if decided && tries >= TRIES_AFTER_VERDICT => Progress::GivenUp,
            None => Progress::Due { at: now + back_off(tries), tries },
        };
    }

    fn is_closed(&self) -> bool {
        !self.nodes.iter().any(|progress| matches!(progress, Progress::Due { .. }))
    }

    /// The outcome to tell now, each once: accepted as soon as one node says so, another when all have spoken.
    fn conclude(&mut self) -> Option<Finding> {
        if self.told.is_some() {
            return None;
        }
        let finding = self.finding()?;
        let accepted = matches!(finding, Finding::Accepted { .. });
        if !accepted && !self.is_closed() {
            return None;
        }
        self.told = Some(if accepted { Told::Accepted } else { Told::Other });
        Some(finding)
    }

    /// The best word of any node.
    fn finding(&self) -> Option<Finding> {
        let words = self.nodes.iter().enumerate().filter_map(|(node, progress)| match progress {
            Progress::Answered(answer) => Some((node, answer)),
            Progress::Due { .. } | Progress::GivenUp => None,
        });
        let (node, answer) = words.min_by_key(|(_, answer)| match answer {
            SubmitAnswer::Accepted => 0,
            SubmitAnswer::Inconclusive => 1,
            SubmitAnswer::Rejected(_) => 2,
        })?;
        Some(match answer {
            SubmitAnswer::Accepted => Finding::Accepted { node },
            SubmitAnswer::Inconclusive => Finding::Inconclusive { node },
            SubmitAnswer::Rejected(reason) => Finding::Rejected { node, reason: reason.clone() },
        })
    }
}

fn back_off(tries: u32) -> Duration {
    (BACK_OFF.0 * 2u32.saturating_pow(tries.saturating_sub(1).min(16))).min(BACK_OFF.1)
}

#[cfg(test)]
mod tests;
