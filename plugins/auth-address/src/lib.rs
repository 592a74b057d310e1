//! Shipped policy `auth-address`. The decisions are in [`policy`] and [`address`]; this file only exports them.

pub mod address;
pub mod policy;

sluice_plugin::export_auth!(crate::policy::AddressAuth, "../../wit");
