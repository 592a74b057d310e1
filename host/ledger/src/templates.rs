//! The templates that shares may name: the host's number to the row's. A row is written with the first share that uses
//! it; the host counts its templates anew in every process, the rows go on.

use std::collections::BTreeMap;

use sluice_core::bitcoin::{Amount, BlockHash};
use sluice_core::ids::TemplateId;
use sluice_core::template::Template;
use sluice_core::units::{Difficulty, Timestamp};

/// Templates kept in memory, the newest. A share of an older one is logged without its template.
pub const TEMPLATES_LIMIT: usize = 4096;

/// The row of a template nobody announced.
pub(crate) const NO_TEMPLATE: u32 = 0;

/// What the ledger keeps of a template.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TemplateFacts {
    pub id: TemplateId,
    pub height: u32,
    pub previous: BlockHash,
    pub network_difficulty: Difficulty,
    pub subsidy: Amount,
    pub fees: Amount,
    pub at: Timestamp,
}

impl From<&Template> for TemplateFacts {
    fn from(template: &Template) -> Self {
        Self {
            id: template.id,
            height: template.height,
            previous: template.previous,
            network_difficulty: template.network_difficulty(),
            subsidy: template.subsidy,
            fees: template.fees(),
            at: template.received,
        }
    }
}

/// A template that has just got its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TemplateRow {
    pub(crate) row: u32,
    pub(crate) facts: TemplateFacts,
}

#[derive(Debug)]
pub(crate) struct Templates {
    known: BTreeMap<TemplateId, (TemplateFacts, Option<u32>)>,
    next_row: u32,
    /// The last one asked for: shares come in runs.
    last: Option<(TemplateId, u32)>,
}

impl Templates {
    pub(crate) fn new(last_row: u32) -> Self {
        Self { known: BTreeMap::new(), next_row: last_row.saturating_add(1), last: None }
    }

    pub(crate) fn announce(&mut self, facts: TemplateFacts) {
        self.known.entry(facts.id).or_insert((facts, None));
        if self.known.len() > TEMPLATES_LIMIT {
            self.known.pop_first();
        }
        self.last = None;
    }

    pub(crate) fn facts(&self, id: TemplateId) -> Option<TemplateFacts> {
        self.known.get(&id).map(|(facts, _)| *facts)
    }

    /// The row of `id`, and the row itself where it has to be written first.
    pub(crate) fn row(&mut self, id: TemplateId) -> (u32, Option<TemplateRow>) {
        if let Some((last, row)) = self.last
            && last == id
        {
            return (row, None);
        }
        let (row, new) = match self.known.get_mut(&id) {
            None => (NO_TEMPLATE, None),
            Some((_, Some(row))) => (*row, None),
            Some((facts, slot)) => {
                let row = self.next_row;
                self.next_row = row.saturating_add(1);
                *slot = Some(row);
                (row, Some(TemplateRow { row, facts: *facts }))
            }
        };
        self.last = Some((id, row));
        (row, new)
    }
}
