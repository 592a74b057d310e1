//! Shipped policy `auth-directory`. The decisions are in [`policy`]; this file only exports them.

pub mod policy;

sluice_plugin::export_auth_lookup!(crate::policy::DirectoryAuth, "../../wit");
