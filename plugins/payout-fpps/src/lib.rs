//! Shipped policy `payout-fpps`. The decisions are in [`policy`]; this file only exports them.

pub mod policy;
mod worth;

sluice_plugin::export_payout!(crate::policy::Fpps, "../../wit");
