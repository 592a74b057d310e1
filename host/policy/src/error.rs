//! Why a file is no policy, and why the policies did not start.

use std::path::PathBuf;

use sluice_core::policy::{PolicyFailure, PolicyKind};

/// Why a component was refused. The text names what is wrong and what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("it cannot be read: {0}")]
    Read(String),
    #[error("the file has {size} bytes, at most {limit} are allowed")]
    TooLarge { size: u64, limit: u64 },
    #[error("this is precompiled code, not a component; hand in the .wasm it was made from")]
    Precompiled,
    #[error("this is a core WebAssembly module, not a component; wrap it with `wasm-tools component new`")]
    CoreModule,
    #[error("not a WebAssembly component: {0} (the file may be cut short)")]
    Malformed(String),
    #[error("it imports {name:?}, which no policy is granted; {advice}")]
    Import { name: String, advice: &'static str },
    #[error(
        "it imports {name:?}, and the configuration grants it no URL to ask; an entry [[policy.auth.lookup]] with \
         url = \"https://...\" grants one"
    )]
    Lookup { name: String },
    #[error("it is no {kind} policy: {why}")]
    World { kind: PolicyKind, why: String },
    #[error("compiling failed: {0}")]
    Compile(String),
    #[error("the compiler failed ({status}): {said}")]
    Compiler { status: String, said: String },
    #[error("compiling took longer than {seconds} s and was stopped")]
    CompileTimeout { seconds: u64 },
    #[error("a newer version of the file arrived")]
    Superseded,
    #[error("the cache at {path} cannot be used: {why}", path = path.display())]
    Cache { path: PathBuf, why: String },
    #[error("it cannot be instantiated: {0}")]
    Instantiate(String),
    #[error("`describe` failed: {0}")]
    Describe(PolicyFailure),
    #[error("it refuses its settings: {0}")]
    Settings(String),
    #[error("`configure` failed: {0}")]
    Configure(PolicyFailure),
    #[error("its self-test failed: {0}")]
    SelfTest(PolicyFailure),
    #[error("its plan was refused: {0}")]
    Plan(PolicyFailure),
    #[error("tried on a recent input, {0}")]
    Trial(String),
    #[error("this version was rolled back after it kept failing: {0}")]
    RolledBack(String),
    #[error("the {0} policy is pinned; `sluice policy unpin {0}` lets changes in")]
    Pinned(PolicyKind),
    #[error("it was chosen to serve, and is gone: {0}; removing its entry from {path} lets the file serve", path = .1.display())]
    Chosen(String, PathBuf),
    #[error("the slot is shut down")]
    ShutDown,
    #[error("the {0} policy is native: it has no settings to reload")]
    Native(PolicyKind),
}

/// One reason why the policies did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} policy {path}: {why}", path = path.display())]
pub struct Problem {
    pub kind: PolicyKind,
    pub path: PathBuf,
    pub why: LoadError,
}

/// Why the policies did not start: every problem at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("{}", lines(.0))]
    Policies(Vec<Problem>),
    #[error("the WebAssembly engine did not start: {0}")]
    Engine(String),
    #[error("the policy cache {path} cannot be used: {why}", path = path.display())]
    Cache { path: PathBuf, why: String },
    #[error("a policy thread did not start: {0}")]
    Thread(String),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
