//! What the host hands in: where the policies are, their settings and their limits.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use sluice_core::policy::PolicyKind;

use crate::lookup::{LookupConfig, Outside};

/// Settings of a policy: the operator's table as a JSON object.
pub type Settings = Map<String, Value>;

/// Everything the policy host needs.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    /// Where the operator puts `.wasm` files; watched.
    pub dir: PathBuf,
    /// Private to the pool (mode 0700): compiled code, and every component ever loaded, by content hash.
    pub cache_dir: PathBuf,
    pub network: bitcoin::Network,
    pub compiler: Compiler,
    pub auth: SlotConfig,
    pub vardiff: SlotConfig,
    pub payout: SlotConfig,
    /// How often the directory is looked at where it sends no events (network file systems).
    pub poll_interval: Duration,
    /// How long a file must lie still before it is read.
    pub debounce: Duration,
    /// How the requests of an auth policy leave the host.
    pub outside: Outside,
}

impl PolicyConfig {
    pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
    pub const DEBOUNCE: Duration = Duration::from_millis(300);

    pub(crate) fn slot(&self, kind: PolicyKind) -> &SlotConfig {
        match kind {
            PolicyKind::Auth => &self.auth,
            PolicyKind::Vardiff => &self.vardiff,
            PolicyKind::Payout => &self.payout,
        }
    }
}

/// One kind's policy.
#[derive(Clone, Debug)]
pub struct SlotConfig {
    /// File name within the directory.
    pub file: String,
    pub settings: Settings,
    pub limits: Limits,
    /// What is compared with it on real traffic, within the same limits.
    pub shadow: Option<ShadowConfig>,
    /// What it may look up; its shadow too. Auth policies only.
    pub lookup: LookupConfig,
}

/// A policy that is asked beside the one that serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowConfig {
    /// File name within the directory.
    pub file: String,
    pub settings: Settings,
}

impl SlotConfig {
    /// `file` without settings, with the limits of its kind.
    pub fn new(kind: PolicyKind, file: &str) -> Self {
        Self {
            file: file.to_owned(),
            settings: Settings::new(),
            limits: Limits::of(kind),
            shadow: None,
            lookup: LookupConfig::default(),
        }
    }

    /// Whether a policy that imports `lookup` may serve.
    pub(crate) fn may_look_up(&self) -> bool {
        !self.lookup.grants.is_empty()
    }
}

/// Who turns components into machine code.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// `program args... IN.wasm OUT` which calls [`crate::compile_child_main`] with the last two: compiling a Python or
    /// JavaScript component leaves 350 MB in the process that did it, and may crash it.
    Child { program: PathBuf, args: Vec<OsString> },
    /// This process: tests, benches and short-lived commands.
    InProcess,
}

/// What a guest may use. Beyond a limit the call is stopped and counts as a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions a call may take, as wasmtime counts fuel; about 2 to 6 million a millisecond.
    pub fuel: u64,
    /// As many more for each item of a batch: a review, a contribution.
    pub fuel_per_item: u64,
    /// Wall-clock net beneath the fuel. Also for each of describe, configure and self-test.
    pub deadline: Duration,
    /// Bytes of all linear memories of an instance together.
    pub memory: usize,
    /// Elements of all tables of an instance together.
    pub table_elements: usize,
    /// Bytes that a call may hand to the host.
    pub answer_bytes: usize,
    /// Log lines a call may write; the rest is dropped and counted.
    pub log_lines: u32,
    /// Log lines that all instances of a generation may write in a second; the rest is dropped and counted.
    pub log_lines_per_second: u32,
    /// Calls that may wait. One more gets the kind's default.
    pub queue: usize,
}

impl Limits {
    /// The limits of a kind: enough for CPython and StarlingMonkey, and for a salted password hash at a login.
    pub fn of(kind: PolicyKind) -> Self {
        let common = Self::default();
        match kind {
            // One login at a time.
            PolicyKind::Auth => Self { fuel_per_item: 0, queue: 16_384, ..common },
            PolicyKind::Vardiff => Self { queue: 16_384, ..common },
            PolicyKind::Payout => Self {
                fuel: 4_000_000_000,
                deadline: Duration::from_secs(30),
                answer_bytes: 256 << 20,
                queue: 256,
                ..common
            },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 2_000_000_000,
            fuel_per_item: 2_000_000,
            deadline: Duration::from_secs(2),
            memory: 256 << 20,
            table_elements: 200_000,
            answer_bytes: 1 << 20,
            log_lines: 32,
            log_lines_per_second: 50,
            queue: 1024,
        }
    }
}
