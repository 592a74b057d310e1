//! A pool's whole life, at random: shares, blocks, accruals, payouts, other policies, a cut log, a clock that steps, and
//! ends at any moment. What must hold of the books holds all the way, and the same history gives the same rows.

mod books;
mod killed;
mod life;
mod model;
mod policies;
mod random;
mod step;
#[allow(dead_code, reason = "shared with the other tests, which use all of it")]
#[path = "../ledger/support.rs"]
mod support;
mod tables;
mod work;
