//! The decisions are in [`policy`]; this file only exports them.

pub mod policy;

sluice_plugin::export_payout!(crate::policy::Proportional, "wit");
