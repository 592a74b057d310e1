//! `sluice plugin bench`: what a plugin costs beside another of its kind.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use sluice_core::ids::Protocol;
use sluice_core::policy::auth::Login;
use sluice_core::policy::{Client, PolicyKind};
use sluice_policy::config::Settings;
use sluice_policy::measure::{Asked, Measured, Questions, Spread, Suggestion, measure};
use sluice_policy::{Loader, SlotConfig};

use super::asking::{Candidate, Scratch};
use crate::cli::{BenchPlugin, exit};
use crate::commands::printable;
use crate::demo::SHIPPED;

/// BIP173's example.
const ADDRESS: &str = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";

#[derive(Debug, Serialize)]
struct Report {
    kind: PolicyKind,
    plugin: Measured,
    against: Measured,
    suggested_limits: Suggestion,
}

/// # Errors
/// A plugin that does not load, or that fails when it is asked.
pub(super) fn run(args: &BenchPlugin, out: &mut dyn Write) -> anyhow::Result<u8> {
    let calls = usize::try_from(args.calls).unwrap_or(usize::MAX);
    let candidate = Candidate::read(&args.file, None)?;
    let scratch = Scratch::new("bench");
    let plugin = candidate_measured(&candidate, args, calls, &scratch.loader("plugin")?, &scratch)?;
    let against = match &args.against {
        Some(file) => {
            let other = Candidate::read(file, None)?;
            anyhow::ensure!(
                other.kind == candidate.kind,
                "{} is of kind {}, {} of kind {}; two of one kind can be compared",
                candidate.file.display(),
                candidate.kind,
                other.file.display(),
                other.kind
            );
            candidate_measured(&other, args, calls, &scratch.loader("against")?, &scratch)?
        }
        None => shipped(candidate.kind, calls, &scratch.loader("against")?)?,
    };
    let suggested_limits = plugin.suggestion(candidate.kind);
    let report = Report { kind: candidate.kind, plugin, against, suggested_limits };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        table(&report, out)?;
    }
    Ok(exit::OK)
}

/// Auth policies are asked with the first login of the scenarios that is let in: refusing may be cheaper.
fn candidate_measured(
    candidate: &Candidate,
    args: &BenchPlugin,
    calls: usize,
    loader: &Loader,
    scratch: &Scratch,
) -> anyhow::Result<Measured> {
    // Looking for settings compiles; what is measured must not find that.
    let chosen = || candidate.settings(args.settings.as_deref(), &scratch.loader("settings")?);
    let (settings, (login, lookups)) = match candidate.welcome_login() {
        Some((scenarios, asked)) if args.settings.is_none() => (scenarios.settings.clone(), asked),
        Some((_, asked)) => (chosen()?.1, asked),
        None => (chosen()?.1, (login(), Vec::new())),
    };
    let config = SlotConfig { settings, ..SlotConfig::new(candidate.kind, "") };
    measure(&candidate.wasm, candidate.kind, &config, &Questions { login, lookups, calls }, loader)
        .with_context(|| format!("{} cannot be measured", candidate.file.display()))
}

fn shipped(kind: PolicyKind, calls: usize, loader: &Loader) -> anyhow::Result<Measured> {
    let (name, settings) = match kind {
        PolicyKind::Auth => {
            ("auth-address.wasm", Settings::from_iter([("network".to_owned(), Value::from("main"))]))
        }
        PolicyKind::Vardiff => ("vardiff-steady.wasm", Settings::new()),
        PolicyKind::Payout => ("payout-pplns.wasm", Settings::new()),
    };
    let (_, wasm) = SHIPPED.iter().find(|(file, _)| *file == name).context("the program carries it")?;
    let config = SlotConfig { settings, ..SlotConfig::new(kind, "") };
    let questions = Questions { login: login(), lookups: Vec::new(), calls };
    measure(wasm, kind, &config, &questions, loader)
        .with_context(|| format!("the shipped {name} cannot be measured"))
}

fn login() -> Login {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: Arc::from("main"),
        address: Arc::from("203.0.113.7"),
        agent: Arc::from("cgminer/4.12"),
        hardware: Arc::from(""),
    };
    Login { username: format!("{ADDRESS}.rig-1"), password: Some("x".to_owned()), client }
}

/// A name and a figure of each.
type Row = (String, [String; 2]);
type Quantile = fn(&Spread) -> u64;

fn table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let both = [&report.plugin, &report.against];
    let titles = both.map(|one| printable(&format!("{} {}", one.name, one.version)));
    let rows = rows(both);
    let wide = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let column = |index: usize| {
        let cells = rows.iter().map(|(_, cells)| cells[index].chars().count());
        cells.chain([titles[index].chars().count()]).max().unwrap_or(0)
    };
    let (first, second) = (column(0), column(1));
    let [left, right] = &titles;
    writeln!(out, "{:wide$}  {left:>first$}  {right:>second$}", report.kind.label())?;
    for (name, [left, right]) in &rows {
        writeln!(out, "{name:wide$}  {left:>first$}  {right:>second$}")?;
    }
    writeln!(out, "\nLimits for {} in the configuration, ten times what was measured here:\n", titles[0])?;
    write!(out, "{}", report.suggested_limits)
}

fn rows(both: [&Measured; 2]) -> Vec<Row> {
    let row = |name: &str, figure: &dyn Fn(&Measured) -> String| (name.to_owned(), both.map(figure));
    let mut rows = vec![
        row("size", &|one| size(one.bytes as u64)),
        row("compile, cold", &|one| time(one.compile_cold_ns)),
        row("compile, cached", &|one| time(one.compile_cached_ns)),
        row("new instance, p50", &|one| time(one.instantiate_ns.p50)),
        row("memory, at most", &|one| size(one.memory)),
    ];
    for (index, asked) in both[0].questions.iter().enumerate() {
        let question = asked.question;
        let figure = |name: &str, figure: &dyn Fn(&Asked) -> String| {
            let cell = |one: &Measured| one.questions.get(index).map(figure).unwrap_or_default();
            (format!("{question}: {name}"), both.map(cell))
        };
        rows.push(figure("first call", &|asked| time(asked.first_ns)));
        let quantiles: [(&str, Quantile); 4] =
            [("p50", |s| s.p50), ("p90", |s| s.p90), ("p99", |s| s.p99), ("max", |s| s.max)];
        for (name, quantile) in quantiles {
            rows.push(figure(name, &|asked| time(quantile(&asked.time_ns))));
        }
        rows.push(figure("fuel, p50", &|asked| asked.fuel.p50.to_string()));
        rows.push(figure("fuel, max", &|asked| asked.fuel.max.to_string()));
        rows.push(figure("calls", &|asked| asked.calls.to_string()));
    }
    rows
}

fn time(nanos: u64) -> String {
    let nanos = nanos as f64;
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} us", n / 1e3),
        n if n < 1e9 => format!("{:.1} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 1e6 { format!("{:.1} KB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_their_unit() {
        assert_eq!(
            [time(126), time(12_340), time(5_678_000), time(3_500_000_000)].join(", "),
            "126 ns, 12.3 us, 5.7 ms, 3.50 s"
        );
        assert_eq!([size(12_600), size(18_300_000)].join(", "), "12.6 KB, 18.3 MB");
    }

    #[test]
    fn the_shipped_policy_of_every_kind_is_in_the_program() {
        for file in ["auth-address.wasm", "vardiff-steady.wasm", "payout-pplns.wasm"] {
            assert!(SHIPPED.iter().any(|(name, _)| *name == file), "{file}");
        }
    }
}
