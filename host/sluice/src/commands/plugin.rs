//! `sluice plugin`: what an author does, each in a room of its own, and `inspect`: what a component is, shown. Finding out
//! is the policy host's.

mod asking;
mod bench;
mod build;
mod compiled;
mod manifest;
mod recipe;
mod running;
mod rust;
mod starters;
mod trial;
mod workshop;

use std::io::{self, Write};

use serde::Serialize;
use sluice_core::policy::{Descriptor, PolicyKind};

pub(crate) use asking::read_component;
pub(crate) use compiled::Code;

use super::printable;
use crate::cli::{PluginCommand, exit};
use crate::run;

/// Does what was asked. The exit code says whether the plugin is fit.
///
/// # Errors
/// What could not be done, and what would help.
pub fn run(command: &PluginCommand, out: &mut dyn Write) -> anyhow::Result<u8> {
    match command {
        PluginCommand::New(args) => starters::run(args, out),
        PluginCommand::Build(args) => build::run(args, out),
        PluginCommand::Inspect(args) => {
            let file = asking::component(&args.file)?;
            Ok(render(&run::inspect(&file)?, args.json, out)?)
        }
        PluginCommand::Test(args) => trial::run(args, out),
        PluginCommand::Bench(args) => bench::run(args, out),
    }
}

/// What was found out about a file, as far as it got.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Inspection {
    pub file: String,
    pub bytes: u64,
    /// SHA-256 of the file, in hex: what credits and the API name.
    pub hash: String,
    /// Which world it targets; `None` where it is none of the three.
    pub kind: Option<PolicyKind>,
    /// Version of the WIT package it was built against.
    pub wit: Option<String>,
    pub imports: Vec<Import>,
    pub exports: Vec<String>,
    /// `None` where it could not be asked.
    pub descriptor: Option<Descriptor>,
    /// Each check in the order of loading, up to the first that failed.
    pub checks: Vec<CheckResult>,
}

/// Something the component wants from its host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Import {
    pub name: String,
    pub granted: bool,
    /// What to do about one that is not granted, or what the configuration has to say for it.
    pub hint: Option<String>,
}

/// A step of loading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckResult {
    pub name: String,
    /// Why it failed.
    pub error: Option<String>,
}

impl Inspection {
    /// Whether this pool would take it.
    pub fn is_accepted(&self) -> bool {
        self.imports.iter().all(|import| import.granted)
            && !self.checks.is_empty()
            && self.checks.iter().all(|check| check.error.is_none())
    }
}

/// Prints the inspection as a table or as JSON.
///
/// # Errors
/// Writing failed.
pub fn render(inspection: &Inspection, json: bool, out: &mut dyn Write) -> io::Result<u8> {
    if json {
        serde_json::to_writer_pretty(&mut *out, inspection)?;
        writeln!(out)?;
    } else {
        table(inspection, out)?;
    }
    Ok(if inspection.is_accepted() { exit::OK } else { exit::FAILED })
}

fn table(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |name: &str, value: &str| writeln!(out, "{name:<10} {}", printable(value));
    row("file", &inspection.file)?;
    row("size", &format!("{} bytes", inspection.bytes))?;
    row("sha256", &inspection.hash)?;
    row("kind", inspection.kind.map_or("none of auth, vardiff, payout", PolicyKind::label))?;
    row("wit", inspection.wit.as_deref().unwrap_or("unknown"))?;
    if let Some(descriptor) = &inspection.descriptor {
        row("name", &descriptor.name)?;
        row("version", &descriptor.version)?;
        row("summary", &descriptor.summary)?;
        row(
            "settings",
            if descriptor.settings_schema.is_empty() { "no schema" } else { "has a JSON Schema" },
        )?;
    }
    for import in &inspection.imports {
        let verdict = match (import.granted, import.hint.as_deref()) {
            (true, None) => "granted".to_owned(),
            // Where the configuration says so.
            (true, Some(hint)) => hint.to_owned(),
            (false, hint) => format!("NOT GRANTED{}", hint.map_or(String::new(), |hint| format!(": {hint}"))),
        };
        row("import", &format!("{} ({verdict})", import.name))?;
    }
    for export in &inspection.exports {
        row("export", export)?;
    }
    for check in &inspection.checks {
        let result = check.error.as_deref().map_or("ok".to_owned(), |error| format!("FAILED: {error}"));
        row("check", &format!("{}: {result}", check.name))?;
    }
    row("verdict", if inspection.is_accepted() { "this pool takes it" } else { "this pool refuses it" })
}

#[cfg(test)]
mod tests;
