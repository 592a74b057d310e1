//! The commands that need no pool of their own.

pub mod audit;
pub mod backtest;
pub mod check;
pub mod keygen;
pub mod ledger;
pub mod ledger_check;
pub mod payouts;
pub mod plugin;
pub mod policy;
pub mod status;

mod ticker;

pub(crate) use ticker::grouped;

/// `text` fit for a terminal: control characters and what is not printable escaped.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
