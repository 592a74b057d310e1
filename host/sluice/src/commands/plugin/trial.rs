//! `sluice plugin test`: the contract's questions and the author's own, a line for each.

use std::io::{self, Write};

use serde::Serialize;
use sluice_core::policy::PolicyKind;
use sluice_policy::Loader;
use sluice_policy::conformance::{self, Check};

use super::Code;
use super::asking::{Candidate, NONE, ScenarioFile};
use crate::app;
use crate::cli::{TestPlugin, exit};
use crate::commands::printable;

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    kind: PolicyKind,
    /// Where the settings of the contract's questions are from.
    settings: String,
    groups: Vec<Group>,
    checks: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct Group {
    /// `contract`, or the file of the scenarios.
    name: String,
    checks: Vec<Check>,
}

/// # Errors
/// A file that is no plugin.
pub(super) fn run(args: &TestPlugin, out: &mut dyn Write) -> anyhow::Result<u8> {
    let candidate = Candidate::read(&args.file, args.scenarios.as_deref())?;
    let code = Code::of(&candidate.wasm);
    let loader = Loader::new(code.dir(), app::compiler()?, bitcoin::Network::Bitcoin)?;
    let (from, settings) = candidate.settings(args.settings.as_deref(), &loader)?;
    let contract = conformance::conformance(&candidate.wasm, candidate.kind, &settings, &loader);
    let mut groups = vec![Group { name: "contract".to_owned(), checks: contract }];
    groups.extend(scenarios(&candidate, &loader));
    let all = || groups.iter().flat_map(|group| &group.checks);
    let (checks, failed) = (all().count(), all().filter(|check| check.error.is_some()).count());
    let file = candidate.file.display().to_string();
    let report = Report { file, kind: candidate.kind, settings: from, checks, failed, groups };
    show(&report, args.json, out)?;
    if !args.json && wants_settings(&report) {
        writeln!(out, "it has no settings to be tested with: name a TOML file of them with --settings")?;
    }
    Ok(if failed == 0 { exit::OK } else { exit::FAILED })
}

/// It was asked without settings, and that is why it did not load.
fn wants_settings(report: &Report) -> bool {
    let first = report.groups.first().and_then(|group| group.checks.first()?.error.as_deref());
    report.settings == NONE && first.is_some_and(|error| error.starts_with("it refuses its settings"))
}

fn scenarios(candidate: &Candidate, loader: &Loader) -> Vec<Group> {
    let group = |file: &ScenarioFile| Group {
        name: file.name.clone(),
        checks: match &file.scenarios {
            Ok(scenarios) => scenarios.run(&candidate.wasm, candidate.kind, loader),
            Err(why) => vec![Check { name: "the file is read".to_owned(), error: Some(why.clone()) }],
        },
    };
    candidate.scenarios.iter().map(group).collect()
}

fn show(report: &Report, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report)?;
        return writeln!(out);
    }
    writeln!(out, "{}: {} policy, settings: {}", printable(&report.file), report.kind, report.settings)?;
    for group in &report.groups {
        writeln!(out, "{}", printable(&group.name))?;
        for check in &group.checks {
            let name = printable(&check.name);
            match &check.error {
                None => writeln!(out, "  ok    {name}")?,
                Some(why) => writeln!(out, "  FAIL  {name}: {}", printable(why))?,
            }
        }
    }
    match report.failed {
        0 => writeln!(out, "{} checks, all passed", report.checks),
        failed => writeln!(out, "{} checks, {failed} failed", report.checks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_check_and_a_count() {
        let check = |name: &str, error: Option<&str>| Check {
            name: name.to_owned(),
            error: error.map(str::to_owned),
        };
        let checks = vec![check("loads", None), check("has a plan", Some("it\u{1b}[0m trapped"))];
        let report = Report {
            file: "a.wasm".to_owned(),
            kind: PolicyKind::Payout,
            settings: "none".to_owned(),
            groups: vec![Group { name: "contract".to_owned(), checks }],
            checks: 2,
            failed: 1,
        };
        let mut out = Vec::new();
        show(&report, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("  ok    loads\n"), "{text}");
        assert!(text.contains("  FAIL  has a plan: it\\u{1b}[0m trapped\n"), "{text}");
        assert!(text.ends_with("2 checks, 1 failed\n"), "{text}");
        let mut out = Vec::new();
        show(&report, true, &mut out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["groups"][0]["checks"][1]["name"], "has a plan");
        assert_eq!(json["failed"], 1);
    }
}
