//! The series of the policies, read from the policy host's own counts when they are asked for: nothing is counted twice,
//! and nothing is counted on the way of a call for their sake.
//!
//! Their labels are bounded though generations are not: of each slot the generation that serves and the last few before
//! it are told of, of its shadows likewise, and what is older leaves. A counter of a generation that is there never falls.

mod lookup;

use std::fmt::Error;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use sluice_policy::{Budgets, Figures, GenerationStatus, PolicyStatus, Role, TrapCause};

/// Digits of a hash that tell components apart.
const HASH_DIGITS: usize = 12;

/// What the policy host said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    told: Arc<Mutex<Vec<PolicyStatus>>>,
}

impl Policies {
    pub(super) fn tell(&self, status: Vec<PolicyStatus>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

impl Collector for Policies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Out { encoder: &mut encoder, told: &told, rows: &rows(&told) };
        out.who()?;
        out.calls()?;
        out.peaks()?;
        out.slots()?;
        out.limits()?;
        out.shadows()?;
        out.lookups()
    }
}

type Labels = Vec<(&'static str, String)>;

/// A generation under its labels.
struct Row<'a> {
    role: Role,
    labels: Labels,
    one: &'a GenerationStatus,
}

impl Row<'_> {
    fn with(&self, name: &'static str, value: &str) -> Labels {
        let mut labels = self.labels.clone();
        labels.push((name, value.to_owned()));
        labels
    }
}

fn rows(told: &[PolicyStatus]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for slot in told {
        let live = slot.generations.iter().map(|one| (Role::Live, one));
        let shadows = slot.shadow.iter().flat_map(|shadow| &shadow.generations);
        for (role, one) in live.chain(shadows.map(|one| (Role::Shadow, one))) {
            let mut labels = slot_labels(slot, Some(role));
            labels.push(("generation", one.generation.to_string()));
            labels.push(("hash", one.hash.chars().take(HASH_DIGITS).collect()));
            rows.push(Row { role, labels, one });
        }
    }
    rows
}

fn slot_labels(slot: &PolicyStatus, role: Option<Role>) -> Labels {
    let kind = ("kind", slot.kind.label().to_owned());
    [kind].into_iter().chain(role.map(|role| ("role", role.label().to_owned()))).collect()
}

struct Out<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    told: &'a [PolicyStatus],
    rows: &'a [Row<'a>],
}

impl Out<'_, '_> {
    /// A series; a sample for each element.
    fn series(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        samples: impl FnOnce(&mut MetricEncoder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        samples(&mut self.encoder.encode_descriptor(name, help, None, kind)?)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Result<(), Error> {
        self.series((name, help, MetricType::Counter), |metric| {
            samples.into_iter().try_for_each(|(labels, value)| {
                ConstCounter::new(value).encode(metric.encode_family(&labels)?)
            })
        })
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Result<(), Error> {
        self.series((name, help, MetricType::Gauge), |metric| {
            samples
                .into_iter()
                .try_for_each(|(labels, value)| ConstGauge::new(value).encode(metric.encode_family(&labels)?))
        })
    }

    fn of_generations(&mut self, name: &str, help: &str, figure: fn(&Figures) -> u64) -> Result<(), Error> {
        let rows = self.rows;
        self.counters(name, help, rows.iter().map(|row| (row.labels.clone(), figure(&row.one.figures))))
    }

    fn who(&mut self) -> Result<(), Error> {
        let rows = self.rows;
        self.series(("policy", "What serves, and what is compared with it", MetricType::Info), |metric| {
            let present = rows.iter().filter(|row| row.one.until.is_none());
            present.into_iter().try_for_each(|row| {
                let mut labels = row.with("name", &row.one.name);
                labels.push(("version", row.one.version.clone()));
                metric.encode_info(&labels)
            })
        })
    }

    fn calls(&mut self) -> Result<(), Error> {
        let rows = self.rows;
        self.of_generations("policy_calls", "Calls of a policy", |all| all.calls)?;
        self.of_generations("policy_questions", "Questions put to a policy, many in a call", |all| {
            all.items
        })?;
        let help = "How long calls of a policy took";
        self.series(("policy_call_seconds", help, MetricType::Histogram), |metric| {
            rows.iter().try_for_each(|row| {
                let latency = &row.one.figures.latency;
                let buckets = latency.buckets();
                let count = buckets.iter().map(|(_, count)| count).sum();
                let sum = latency.sum_nanos as f64 / 1e9;
                metric.encode_family(&row.labels)?.encode_histogram::<Labels>(sum, count, &buckets, None)
            })
        })?;
        let traps = rows.iter().flat_map(|row| {
            let count = |cause: TrapCause| {
                (row.with("cause", cause.label()), row.one.figures.traps_by_cause.of(cause))
            };
            TrapCause::ALL.map(count)
        });
        self.counters("policy_traps", "Calls of a policy that were stopped, by cause", traps)?;
        self.of_generations("policy_bad_answers", "Answers that broke a rule", |all| all.bad_answers)?;
        self.of_generations("policy_refused_inputs", "Questions that were beyond a policy", |all| {
            all.bad_input
        })?;
        self.of_generations("policy_errors", "Calls that a policy itself called broken", |all| all.internal)?;
        self.of_generations("policy_instances", "Instances that were made", |all| all.instances)?;
        self.of_generations("policy_renewals", "Instances replaced for the memory they held", |all| {
            all.renewed
        })?;
        self.of_generations("policy_log_lines", "Lines that a policy wrote to the log", |all| all.log_lines)?;
        self.of_generations("policy_log_dropped", "Log lines beyond the limits", |all| all.log_dropped)
    }

    fn peaks(&mut self) -> Result<(), Error> {
        let rows = self.rows;
        let mut peak = |name: &str, help: &str, figure: fn(&Figures) -> u64| {
            self.gauges(
                name,
                help,
                rows.iter().map(|row| (row.labels.clone(), figure(&row.one.figures) as f64)),
            )
        };
        peak("policy_fuel_peak", "The most fuel that a call took", |all| all.fuel_peak)?;
        peak("policy_memory_peak_bytes", "The most memory that an instance held", |all| all.memory_peak)?;
        peak("policy_table_peak", "The most elements of tables that an instance held", |all| all.table_peak)?;
        peak("policy_answer_peak_bytes", "The most that a call answered", |all| all.answer_peak)
    }

    fn slots(&mut self) -> Result<(), Error> {
        let told = self.told;
        let defaults = told.iter().flat_map(|slot| {
            let count = |cause: &str, count| {
                let mut labels = slot_labels(slot, None);
                labels.push(("cause", cause.to_owned()));
                (labels, count)
            };
            [count("backing_off", slot.figures.unavailable), count("queue_full", slot.slot.queue_full)]
        });
        let help = "Questions that got the default without being asked, by cause";
        self.counters("policy_defaults", help, defaults)?;
        let waiting = told.iter().flat_map(|slot| {
            let live = (slot_labels(slot, Some(Role::Live)), slot.budgets.queue.used as f64);
            let shadow = slot.shadow.as_ref();
            let shadow = shadow.map(|shadow| (slot_labels(slot, Some(Role::Shadow)), shadow.waiting as f64));
            [live].into_iter().chain(shadow)
        });
        self.gauges("policy_queue", "Questions that wait for a policy", waiting)
    }

    fn limits(&mut self) -> Result<(), Error> {
        let told = self.told;
        let mut limit = |name: &str, help: &str, limit: fn(&Budgets) -> f64| {
            self.gauges(name, help, told.iter().map(|slot| (slot_labels(slot, None), limit(&slot.budgets))))
        };
        limit("policy_fuel_limit", "Fuel of a call, without its items", |all| all.fuel.limit as f64)?;
        limit("policy_deadline_seconds", "Time of a call", |all| all.micros.limit as f64 / 1e6)?;
        limit("policy_memory_limit_bytes", "Memory of an instance", |all| all.memory_bytes.limit as f64)?;
        limit("policy_answer_limit_bytes", "Size of an answer", |all| all.answer_bytes.limit as f64)?;
        limit("policy_queue_limit", "Questions that may wait", |all| all.queue.limit as f64)
    }

    fn shadows(&mut self) -> Result<(), Error> {
        let shadows = self.rows.iter().filter(|row| row.role == Role::Shadow);
        let outcomes = shadows.flat_map(|row| {
            let all = row.one.compared.unwrap_or_default();
            let outcomes = [
                ("agreed", all.agreed),
                ("differed", all.differed),
                ("failed", all.failed),
                ("dropped", all.dropped),
                ("skipped", all.skipped),
            ];
            outcomes.map(|(outcome, count)| (row.with("outcome", outcome), count))
        });
        let help = "Questions left to a shadow, by what came of them";
        self.counters("policy_shadow_questions", help, outcomes)
    }
}
