//! Who a login is: accounts, addresses and passwords from the settings.
//!
//! The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer.

use std::collections::BTreeMap;

use sluice_plugin::auth::{AuthPolicy, Grant, Login, Refusal, is_account_name, split_username};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Client, Descriptor, Policy, Protocol, expect};

/// The accounts by name.
#[derive(Debug, PartialEq)]
pub struct AddressBook {
    accounts: BTreeMap<String, Account>,
    /// Let in who is not in the book, without an address.
    open: bool,
}

#[derive(Debug, PartialEq)]
struct Account {
    /// The host checks it against the pool's network.
    address: String,
    /// Any password will do where there is none.
    password: Option<String>,
    minimum_difficulty: Option<f64>,
}

impl Policy for AddressBook {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "address-book",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Logins from an address book: ACCOUNT[.WORKER], an address and perhaps a password for each.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    // Every setting is taken by name; one that nobody takes is refused for us.
    fn configure(settings: &mut Settings) -> Self {
        let accounts = settings.tables("accounts", |name, table| {
            if !is_name(name) {
                table.note("an account's name is 1 to 128 printable characters without . \" ' \\ < > &");
            }
            Account::take(table)
        });
        Self { accounts: accounts.into_iter().collect(), open: settings.flag("open") }
    }

    /// Known answers, asked for before the plugin is let in: for known settings, because the operator's may be anything.
    fn self_test(&self) -> Result<(), String> {
        let book: Self = sluice_plugin::configure(r#"{"accounts":{"a":{"address":"x","password":"p"}}}"#)?;
        let worker = |answer: Result<Grant, Refusal>| answer.map(|grant| grant.worker);
        expect("the right password", &worker(book.authorize(&login("a.rig", "p"))), &Ok("rig".to_owned()))?;
        expect("a wrong password", &book.authorize(&login("a.rig", "q")), &Err(wrong_password()))?;
        expect("a stranger", &book.authorize(&login("b.rig", "p")), &Err(unknown_user()))
    }
}

impl Account {
    fn take(table: &mut Settings) -> Self {
        const ADDRESS: &str = "a Bitcoin address";
        let address = table.text("address", ADDRESS, |text| {
            let plausible = (1..=90).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
            plausible.then(|| text.to_owned())
        });
        Self {
            address: table.required("address", ADDRESS, address).unwrap_or_default(),
            // `secret`: what is wrong with it is never shown.
            password: table.secret("password", "a text", |text| Some(text.to_owned())),
            minimum_difficulty: table.number("minimum-difficulty", 0.001..=1e18),
        }
    }
}

impl AuthPolicy for AddressBook {
    fn authorize(&self, login: &Login) -> Result<Grant, Refusal> {
        let (name, worker) = split_username(&login.username);
        let Some(account) = self.accounts.get(name) else {
            let welcome = self.open && is_name(name);
            let stranger = Grant { account: name.to_owned(), worker, ..Grant::default() };
            return if welcome { Ok(stranger) } else { Err(unknown_user()) };
        };
        if account.password.is_some() && account.password != login.password {
            return Err(wrong_password());
        }
        Ok(Grant {
            account: name.to_owned(),
            worker,
            payout_address: Some(account.address.clone()),
            minimum_difficulty: account.minimum_difficulty,
            ..Grant::default()
        })
    }
}

/// The worker begins at the first dot.
fn is_name(name: &str) -> bool {
    is_account_name(name) && !name.contains('.') && name.trim() == name
}

fn unknown_user() -> Refusal {
    Refusal::UnknownUser("no such account here".to_owned())
}

fn wrong_password() -> Refusal {
    Refusal::WrongPassword("wrong password".to_owned())
}

fn login(username: &str, password: &str) -> Login {
    let client = Client {
        protocol: Protocol::StratumV1,
        listener: String::new(),
        address: String::new(),
        agent: String::new(),
        hardware: String::new(),
    };
    Login { username: username.to_owned(), password: Some(password.to_owned()), client }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_its_own_test() {
        let book: AddressBook = sluice_plugin::configure("{}").unwrap();
        assert_eq!(book.self_test(), Ok(()));
    }

    #[test]
    fn an_account_needs_an_address() {
        let refused = sluice_plugin::configure::<AddressBook>(r#"{"accounts":{"a":{}}}"#).unwrap_err();
        assert!(refused.contains("accounts.a.address"), "{refused}");
    }
}
