//! Login is a Bitcoin address: `ADDRESS[.WORKER]`. The address is the account and is where it is paid; there is nothing
//! to register and the password is not looked at.

use std::collections::BTreeSet;

use sluice_plugin::auth::{AuthPolicy, Grant, Limits, Login, Refusal, split_username};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, expect};

use crate::address::{AddressError, Network, canonical};

/// The policy with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressAuth {
    network: Network,
    limits: Limits,
    /// Canonical addresses.
    denied: BTreeSet<String>,
}

impl Policy for AddressAuth {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "auth-address",
        version: env!("CARGO_PKG_VERSION"),
        summary: "A login is a Bitcoin address, ADDRESS[.WORKER]; the address is paid.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        let network = settings.text("network", Network::NAMES, Network::parse);
        // Any network will do beside the problem that is noted here.
        let network = settings.required("network", Network::NAMES, network).unwrap_or(Network::Main);
        let allowed = format!("an address of the network {}", network.name());
        let denied = settings.texts("deny", &allowed, |text| canonical(text, network).ok());
        Self { network, limits: Limits::take(settings), denied: denied.into_iter().collect() }
    }

    fn self_test(&self) -> Result<(), String> {
        let main = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
        expect("BIP173 example", &canonical(&main.to_uppercase(), Network::Main), &Ok(main.to_owned()))?;
        let taproot = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0";
        expect("BIP350 example", &canonical(taproot, Network::Main), &Ok(taproot.to_owned()))?;
        let mistyped = main.replace("8f3t4", "8f3t5");
        expect("one letter off", &canonical(&mistyped, Network::Main), &Err(AddressError::Mistyped))?;
        let genesis = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa";
        expect("base58check", &canonical(genesis, Network::Main), &Ok(genesis.to_owned()))?;
        expect("another network", &canonical(main, Network::Regtest), &Err(AddressError::OtherNetwork))
    }
}

impl AuthPolicy for AddressAuth {
    fn authorize(&self, login: &Login) -> Result<Grant, Refusal> {
        let (address, worker) = split_username(&login.username);
        let address = canonical(address, self.network).map_err(|error| self.refusal(error))?;
        if self.denied.contains(&address) {
            return Err(Refusal::Forbidden("this address is not welcome here".to_owned()));
        }
        let payout_address = Some(address.clone());
        Ok(self.limits.on(Grant { account: address, worker, payout_address, ..Grant::default() }))
    }
}

impl AddressAuth {
    fn refusal(&self, error: AddressError) -> Refusal {
        let network = self.network.name();
        Refusal::UnknownUser(match error {
            AddressError::NotAnAddress => "the username must be ADDRESS or ADDRESS.WORKER".to_owned(),
            AddressError::Mistyped => "the address is mistyped: its checksum is wrong".to_owned(),
            AddressError::OtherNetwork => {
                format!("the address is of another network; this pool pays on {network}")
            }
            AddressError::Unsafe => "anyone could spend from this kind of address".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
