//! Shipped policy `vardiff-steady`. The decisions are in [`policy`]; this file only exports them.

pub mod estimate;
pub mod password;
pub mod policy;

sluice_plugin::export_vardiff!(crate::policy::Steady, "../../wit");
