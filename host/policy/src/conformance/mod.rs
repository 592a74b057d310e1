//! Whether a policy keeps the contract, for `sluice plugin test`: the same questions to every policy of a kind, and the
//! author's own with the answers that must come.
//!
//! A question is plain, extreme or hostile. A plain one must be answered; to any other the policy may say that it is
//! beyond it (`bad-input`), and nothing else. What the pool would refuse of an answer fails here with the same words.

mod answer;
mod auth;
mod lifecycle;
mod lookups;
mod matching;
mod payout;
mod question;
mod scenario;
mod vardiff;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sluice_core::policy::{PolicyFailure, PolicyKind};

use crate::check::bounded;
use crate::compile::content_hash;
use crate::component::Outline;
use crate::config::{Limits, Settings};
use crate::error::LoadError;
use crate::load::{Candidate, Loaded, Loader};

pub use lookups::Lookup;
pub(crate) use lookups::answers;
pub use scenario::{Call, Function, Scenarios};

/// The wall-clock net: wider than the pool's, since a busy machine says nothing of the policy. The fuel is the pool's.
const PATIENCE: Duration = Duration::from_secs(60);
/// A batch of [`MANY`] is larger than any that the pool asks.
const ANSWER_BYTES: usize = 64 << 20;
/// Items of the longest lists.
const MANY: usize = 10_000;
/// The longest text that is handed in, in bytes.
const TEXT: usize = 1024;
/// How much of a made-up input is shown with what came of it, in characters.
const SHOWN: usize = 100;
/// The longest report of one check, in characters.
const REPORT: usize = 1500;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    /// What is wrong, and what is allowed.
    pub error: Option<String>,
}

/// What was found, in order.
#[derive(Debug, Default)]
struct Sheet {
    checks: Vec<Check>,
}

impl Sheet {
    fn note(&mut self, name: impl Into<String>, outcome: Result<(), String>) {
        let error = outcome.err().map(|why| bounded(&why, REPORT));
        self.checks.push(Check { name: name.into(), error });
    }
}

/// The kinds that a component is, whatever version of the contract it was built against.
///
/// # Errors
/// Bytes that are no component.
pub fn kinds(wasm: &[u8]) -> Result<Vec<PolicyKind>, LoadError> {
    Ok(Outline::read(wasm)?.kinds())
}

/// Asks a policy what every policy of its kind is asked. It stops where the policy does not load.
pub fn conformance(wasm: &[u8], kind: PolicyKind, settings: &Settings, loader: &Loader) -> Vec<Check> {
    let mut sheet = Sheet::default();
    match load(wasm, kind, settings, loader) {
        Ok(loaded) => {
            sheet.note("loads: granted imports, the contract's types, configure and self-test", Ok(()));
            examine(&mut sheet, wasm, settings, &Arc::new(loaded), loader);
        }
        Err(why) => {
            let name = "loads: granted imports, the contract's types, configure and self-test";
            sheet.note(name, Err(why.to_string()));
        }
    }
    sheet.checks
}

/// Whether it loads with these settings.
///
/// # Errors
/// [`LoadError`].
pub fn loads(wasm: &[u8], kind: PolicyKind, settings: &Settings, loader: &Loader) -> Result<(), LoadError> {
    load(wasm, kind, settings, loader).map(|_| ())
}

fn load(wasm: &[u8], kind: PolicyKind, settings: &Settings, loader: &Loader) -> Result<Loaded, LoadError> {
    let own = Limits::of(kind);
    let limits = Limits { deadline: PATIENCE, answer_bytes: own.answer_bytes.max(ANSWER_BYTES), ..own };
    let hash = content_hash(wasm);
    let limits = &limits;
    let candidate = Candidate { kind, bytes: wasm, hash: &hash, settings, limits, may_look_up: true };
    loader.load(&candidate, &|| false)
}

fn examine(sheet: &mut Sheet, wasm: &[u8], settings: &Settings, loaded: &Arc<Loaded>, loader: &Loader) {
    lifecycle::check(sheet, wasm, settings, loaded, loader);
    match loaded.kind {
        PolicyKind::Auth => auth::check(sheet, loaded),
        PolicyKind::Vardiff => vardiff::check(sheet, loaded),
        PolicyKind::Payout => payout::check(sheet, loaded),
    }
}

/// An answer, or the policy's word that this is beyond it.
fn fair<T>(answer: Result<T, PolicyFailure>) -> Result<Option<T>, String> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(PolicyFailure::BadInput(_)) => Ok(None),
        Err(failure) => Err(failure.to_string()),
    }
}

/// `error` with what it came of.
fn about(what: &impl std::fmt::Debug, error: impl std::fmt::Display) -> String {
    let what = format!("{what:?}");
    let shown = bounded(&what, SHOWN);
    let more = if what.chars().count() > SHOWN { "..." } else { "" };
    format!("{shown}{more}: {error}")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, first: &T, second: &T) -> Result<(), String> {
    if first == second {
        return Ok(());
    }
    let short = |value: &T| bounded(&format!("{value:?}"), 300);
    Err(format!("{what}: first {}, then {}", short(first), short(second)))
}

/// Texts of every length and alphabet that the contract lets through: no control characters, at most [`TEXT`] bytes.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "a",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        ".worker",
        "account.",
        "  padded.rig  ",
        "A",
        "0",
        "-1",
        "null",
        "true",
        "undefined",
        "constructor",
        "__proto__.rig",
        "toString",
        "..%2f..%2f",
        "%s%n%x",
        "{}",
        "[]",
        "\"",
        "'; DROP TABLE shares; --",
        "<script>alert(1)</script>",
        "\\u0000",
        "&amp;",
        "a,b=c;d=e",
        "x\u{a0}y",
        "\u{202e}gir",
        "e\u{301}",
        "\u{feff}bom",
        "\u{200b}",
        "\u{10ffff}",
        "日本語.リグ",
        "🦀.🦀",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig",
        "NaN",
        "1e400",
        "d=1e400",
        "d=-5,diff=nan",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend(["a", ".", " ", "é", "€", "🦀", "\"", "\\"].map(|piece| piece.repeat(TEXT / piece.len())));
    for length in [127, 128, 129, 255, 256] {
        texts.push("n".repeat(length));
        texts.push(format!("account.{}", "w".repeat(length)));
        texts.push(format!("{}.worker", "a".repeat(length)));
    }
    texts
}
