//! Shipped policy `auth-table`. The decisions are in [`policy`] and [`password`]; this file only exports them.

pub mod password;
pub mod policy;

sluice_plugin::export_auth!(crate::policy::TableAuth, "../../wit");
