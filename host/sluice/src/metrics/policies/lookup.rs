//! The series of what the auth policy looks up. Where nothing is granted they are not there.

use std::fmt::Error;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use sluice_policy::lookup::{LookupFault, LookupStatus};

use super::{Labels, Out};

impl Out<'_, '_> {
    pub(super) fn lookups(&mut self) -> Result<(), Error> {
        let told = self.told;
        let Some(all) = told.iter().find_map(|slot| slot.lookup.as_ref()) else { return Ok(()) };
        self.count("policy_lookup_requests", "Requests sent for the auth policy", all.requests)?;
        let answers = [("fresh", all.fresh), ("joined", all.joined), ("stale", all.stale)];
        let help = "Lookups that were answered without a request of their own, by source";
        self.counters(
            "policy_lookup_answers",
            help,
            answers.map(|(source, count)| (label("source", source), count)),
        )?;
        let failures = LookupFault::ALL.map(|fault| (label("reason", fault.label()), all.failures.of(fault)));
        self.counters("policy_lookup_failures", "Requests without an answer, by reason", failures)?;
        self.count(
            "policy_lookup_denied",
            "Requests refused by the host: not granted, or against a rule",
            all.denied,
        )?;
        let put_off = [("crowd", all.turned_away), ("time", all.given_up)];
        let help = "Logins told to try later instead of waiting on, by cause";
        self.counters(
            "policy_lookup_put_off",
            help,
            put_off.map(|(cause, count)| (label("cause", cause), count)),
        )?;
        self.gauge("policy_lookup_in_flight", "Requests under way", all.in_flight)?;
        self.gauge("policy_lookup_waiting", "Logins that wait for an answer", all.waiting)?;
        self.gauge("policy_lookup_cached_bytes", "Answers that are kept", all.cached_bytes)?;
        self.took(all)
    }

    fn took(&mut self, all: &LookupStatus) -> Result<(), Error> {
        let help = "From sending a request to its whole answer or its failure";
        self.series(("policy_lookup_seconds", help, MetricType::Histogram), |metric| {
            let buckets = all.latency.buckets();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = all.latency.sum_nanos as f64 / 1e9;
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    fn count(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.series((name, help, MetricType::Counter), |metric| {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.series((name, help, MetricType::Gauge), |metric| metric.encode_gauge(&value))
    }
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}
