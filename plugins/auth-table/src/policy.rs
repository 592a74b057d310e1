//! Logins from a table of accounts in the settings: `ACCOUNT[.WORKER]` with the account's password, if it has one.

use std::collections::BTreeMap;

use sluice_plugin::auth::{AuthPolicy, Grant, Limits, Login, Refusal, is_account_name, split_username};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, expect};

use crate::password::PasswordHash;

/// The policy: its accounts by name.
#[derive(Clone, Debug, PartialEq)]
pub struct TableAuth {
    accounts: BTreeMap<String, Account>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Account {
    /// Checked by the host, which knows the network.
    payout_address: Option<String>,
    /// Any password will do where there is none.
    password: Option<PasswordHash>,
    disabled: bool,
    limits: Limits,
}

/// The most accounts in a table. A longer list wants a policy that does not live in the configuration.
const ACCOUNT_COUNT: usize = 100_000;
/// The longest address, in bytes.
const ADDRESS_LIMIT: usize = 90;

impl Policy for TableAuth {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "auth-table",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Logins from a table of accounts: ACCOUNT[.WORKER], passwords as salted hashes.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        let accounts = settings.tables("accounts", |name, table| {
            if !is_account_name(name) || name.contains('.') || name.trim() != name {
                table.note("an account's name is 1 to 128 printable characters without . \" ' \\ < > &");
            }
            Account::take(table)
        });
        let count = accounts.len();
        let given = (count > 0).then_some(());
        settings.required("accounts", "a table for each account", given);
        if count > ACCOUNT_COUNT {
            settings.problem("accounts", &format!("{count} accounts; at most {ACCOUNT_COUNT} are allowed"));
        }
        Self { accounts: accounts.into_iter().collect() }
    }

    fn self_test(&self) -> Result<(), String> {
        let hash = PasswordHash::parse(KNOWN_HASH).ok_or("the known hash is not read")?;
        expect("the right password", &hash.accepts("correct horse"), &true)?;
        expect("a wrong password", &hash.accepts("correct horsf"), &false)
    }
}

/// Of "correct horse", made with Python's hashlib.
const KNOWN_HASH: &str = "pbkdf2-sha256$3$000102030405060708090a0b0c0d0e0f\
                          $a788b6bff5da2b8d9a4a5f41df62a5cc17d939de95f5e7a677d654c0edbeac73";

impl Account {
    fn take(table: &mut Settings) -> Self {
        Self {
            payout_address: table.text("payout-address", "a Bitcoin address", address),
            password: table.secret("password", PasswordHash::FORMAT, PasswordHash::parse),
            disabled: table.flag("disabled"),
            limits: Limits::take(table),
        }
    }
}

fn address(text: &str) -> Option<String> {
    let plausible =
        (1..=ADDRESS_LIMIT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    plausible.then(|| text.to_owned())
}

impl AuthPolicy for TableAuth {
    fn authorize(&self, login: &Login) -> Result<Grant, Refusal> {
        let (name, worker) = split_username(&login.username);
        let account =
            self.accounts.get(name).ok_or_else(|| Refusal::UnknownUser("no such account here".to_owned()))?;
        // The password first: only who knows it learns that the account is disabled.
        if let Some(hash) = &account.password
            && !hash.accepts(login.password.as_deref().unwrap_or_default())
        {
            return Err(Refusal::WrongPassword("wrong password".to_owned()));
        }
        if account.disabled {
            return Err(Refusal::Forbidden("this account is disabled".to_owned()));
        }
        let payout_address = account.payout_address.clone();
        Ok(account.limits.on(Grant { account: name.to_owned(), worker, payout_address, ..Grant::default() }))
    }
}

#[cfg(test)]
mod tests;
