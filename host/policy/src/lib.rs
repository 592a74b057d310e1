//! The policy host: WebAssembly components loaded, limited, swapped and rolled back.
//!
//! The only crate that names wasmtime. [`Policies`] is what the pool asks; behind it each kind has a slot (a thread with
//! a bounded queue and the generation that serves), a keeper (a thread that proves a candidate before it is swapped in)
//! and, for all kinds, one watcher of the directory. Nothing here knows of a share or a database; the only sockets are
//! those of [`lookup`].
//!
//! Reading order: [`config`], [`policies`], `slot` (how a call runs), `load` (how a file becomes a generation),
//! `reload`, `watch` and [`orders`] (when), [`shadow`] (what is compared with it), [`lookup`] (what an auth policy asks),
//! `compile` (how bytes become code), `limits` and `engine` (what holds a guest in).

pub mod config;
pub mod conformance;
pub mod error;
pub mod history;
pub mod inspect;
pub mod lookup;
pub mod measure;
pub mod orders;
pub mod policies;
pub mod shadow;
pub mod status;

mod auth;
mod bindings;
mod budgets;
mod check;
mod choice;
mod compile;
mod component;
mod counters;
mod engine;
mod foreign;
mod instance;
mod keeper;
mod kept;
mod limits;
mod load;
mod payout;
mod recovery;
mod reload;
mod sheet;
mod slot;
mod vardiff;
mod watch;
mod weight;

pub use budgets::{Budget, Budgets};
pub use compile::compile_child_main;
pub use config::{Compiler, Limits, PolicyConfig, ShadowConfig, SlotConfig};
pub use counters::{Fault, Figures, Latency, SlotFigures, TrapCause, Traps};
pub use error::{LoadError, StartError};
pub use history::{Action, By, Entry};
pub use inspect::{Inspection, inspect};
pub use kept::{KeptError, kept};
pub use load::Loader;
pub use orders::{Command, Done, Order, OrderError};
pub use payout::{AccruedBy, Settled};
pub use policies::Policies;
pub use shadow::{Difference, ShadowState, ShadowStatus};
pub use sheet::{Compared, ENDED_KEPT, Failure, GenerationStatus, Role};
pub use status::{PolicyEvent, PolicyIdentity, PolicyStatus, ReloadOutcome};
