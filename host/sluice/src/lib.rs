//! The pool as a library: the binary is a thin shell around it, and the tests drive it from outside.
//!
//! Reading order: [`app`] puts the parts together; [`net`] runs connections, [`jobs`] makes work, [`blocks`] takes
//! blocks, [`chainwatch`] follows them in the chain, [`accruals`] credits work as it comes; [`identity`] is what SV2 miners know the pool by; [`http`], [`view`] and [`metrics`] show what happens; [`config`] and [`cli`] are what it is told.

pub mod accruals;
pub mod app;
pub mod backtest;
pub mod blocks;
pub mod chain;
pub mod chainwatch;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod console;
pub mod control;
pub mod demo;
mod figures;
mod files;
pub mod health;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod metrics;
pub mod miner;
pub mod net;
pub mod payouts;
pub mod retention;
pub mod run;
pub mod view;
