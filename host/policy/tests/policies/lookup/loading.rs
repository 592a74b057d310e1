//! Who may look things up, and what is said without a service.

use sluice_core::policy::PolicyKind;
use sluice_core::policy::auth::Refusal;
use sluice_policy::{LoadError, Policies, SlotConfig, inspect};

use super::{USERS, account, asks, granting};
use crate::guest::Guest;
use crate::house::{House, loader, login, rejected, status};

#[tokio::test]
async fn without_a_grant_it_does_not_load_and_says_which_is_missing() {
    let house = House::new();
    house.put(PolicyKind::Auth, &asks("directory", &[USERS]).build());
    let why = Policies::start(house.config.clone()).await.err().expect("it does not start").to_string();
    for says in ["sluice:policy/lookup@0.1.1", "[[policy.auth.lookup]]", "url = \"https://...\""] {
        assert!(why.contains(says), "{why}");
    }
    // A file that comes later is refused in the same words, and what serves goes on.
    let house = House::new();
    let policies = house.start().await;
    let mut events = policies.events();
    house.put(PolicyKind::Auth, &asks("directory", &[USERS]).build());
    assert!(rejected(&mut events).await.contains("[[policy.auth.lookup]]"));
    assert_eq!(account(policies.authorize(login("alice")).await), "first");
    assert_eq!(status(&policies, PolicyKind::Auth).lookup, None);
}

#[test]
fn only_auth_policies_look_things_up() {
    let root = tempfile::tempdir().unwrap();
    let loader = loader(root.path());
    for kind in [PolicyKind::Vardiff, PolicyKind::Payout] {
        let mut config = SlotConfig::new(kind, "");
        config.lookup = granting();
        let bytes = Guest::new(kind, "curious").looks_up().build();
        let why = match kind {
            PolicyKind::Vardiff => loader.vardiff(&bytes, &config).err(),
            _ => loader.payout(&bytes, &config).err(),
        };
        let Some(LoadError::Import { name, advice }) = why else { panic!("{kind}: {why:?}") };
        assert_eq!(name, "sluice:policy/lookup@0.1.1");
        assert!(advice.contains("only an auth policy"), "{advice}");
    }
}

#[test]
fn an_inspection_names_the_grant_that_is_needed() {
    let root = tempfile::tempdir().unwrap();
    let found = inspect(&asks("directory", &[USERS]).build(), &loader(root.path()));
    assert_eq!(found.problems, Vec::<String>::new());
    let import = found.imports.iter().find(|import| import.name.contains("lookup")).unwrap();
    assert!(import.granted && import.advice.is_some_and(|advice| advice.contains("[[policy.auth.lookup]]")));
    let log = found.imports.iter().find(|import| import.name.contains("log@")).unwrap();
    assert!(log.granted && log.advice.is_none());
}

/// Asked directly, without a pool: whatever it looks up is unavailable.
#[test]
fn without_a_pool_there_is_no_service() {
    let root = tempfile::tempdir().unwrap();
    let mut config = SlotConfig::new(PolicyKind::Auth, "");
    config.lookup = granting();
    let mut policy = loader(root.path()).auth(&asks("directory", &[USERS]).build(), &config).unwrap();
    assert!(matches!(policy.authorize(&login("alice")).unwrap(), Err(Refusal::TryLater(_))));
}

/// Anywhere but in a login there is nothing to look up.
#[test]
fn setting_up_looks_nothing_up() {
    let root = tempfile::tempdir().unwrap();
    let mut config = SlotConfig::new(PolicyKind::Auth, "");
    config.lookup = granting();
    let mut guest = asks("early", &[USERS]);
    let url = guest.put(USERS.as_bytes());
    // Traps unless it is denied.
    let ask = format!(
        "(call $ask (i32.const {url}) (i32.const {}) (i32.const 0) (i32.const 0))
         (if (i32.or (i32.eqz (i32.load8_u (i32.const 1024))) (i32.load8_u (i32.const 1028))) (then unreachable))
         (i32.const 16)",
        USERS.len()
    );
    let guest = guest.body("self-test", &ask).body("configure", &ask);
    assert!(loader(root.path()).auth(&guest.build(), &config).is_ok());
}
