//! The decisions are in [`policy`]; this file only exports them.

pub mod policy;

sluice_plugin::export_vardiff!(crate::policy::SimpleVardiff, "wit");
