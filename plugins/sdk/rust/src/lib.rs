//! What a Sluice policy in Rust starts from.
//!
//! A plugin implements [`Policy`] and the trait of its kind ([`auth::AuthPolicy`], [`vardiff::VardiffPolicy`],
//! [`payout::PayoutPolicy`]) on a plain Rust type, tests it natively, and ends its `lib.rs` with one line:
//!
//! ```text
//! sluice_plugin::export_auth!(policy::AddressAuth, "../../wit");
//! ```
//!
//! An auth policy that asks a service implements [`auth::AuthLookupPolicy`] and is exported with `export_auth_lookup!`.
//!
//! The macro generates the bindings from the WIT files and is empty for any target but wasm32. The types here are the
//! records of `wit/policy.wit`, whose comments hold the bounds and the rules.

mod export;
mod json;
pub mod settings;

pub mod auth;
pub mod lookup;
pub mod payout;
pub mod vardiff;

use settings::Settings;

/// What a policy says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub name: &'static str,
    pub version: &'static str,
    pub summary: &'static str,
    /// JSON Schema of the settings, or empty.
    pub settings_schema: &'static str,
    /// Format of what `memo` holds; 0 where there are none.
    pub memo_format: u32,
}

/// Every policy.
pub trait Policy: Sized {
    const DESCRIPTOR: Descriptor;

    /// Takes what it knows out of `settings`. Problems noted there, and settings nobody took, keep the policy out, so
    /// the value returned beside a problem is never used.
    fn configure(settings: &mut Settings) -> Self;

    /// Known answers, with these settings in force.
    ///
    /// # Errors
    /// What differed.
    fn self_test(&self) -> Result<(), String>;
}

/// A policy from its settings as JSON text.
///
/// # Errors
/// Every problem of the settings, in one text.
pub fn configure<P: Policy>(text: &str) -> Result<P, String> {
    let mut settings = Settings::parse(text)?;
    let policy = P::configure(&mut settings);
    settings.finish()?;
    Ok(policy)
}

/// An answer that is none. See `policy-error` in the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    BadInput(String),
    Internal(String),
}

/// What a miner speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    StratumV1,
    StratumV2,
}

/// What is known of the machine at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub protocol: Protocol,
    pub listener: String,
    pub address: String,
    pub agent: String,
    pub hardware: String,
}

/// `want == got`, or a line that shows both. For self-tests.
///
/// # Errors
/// The two differ.
pub fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, want: &T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: {got:?} instead of {want:?}")) }
}
