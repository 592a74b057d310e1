//! What every auth policy is asked.

use std::sync::Arc;

use sluice_core::ids::Protocol;
use sluice_core::policy::Client;
use sluice_core::policy::auth::{AuthPolicy, Grant, Login, Refusal};

use super::lookups::Says;
use super::{Sheet, about, same, texts};
use crate::auth::WasmAuth;
use crate::load::Loaded;

/// Logins in a row to one instance.
const LOGINS: usize = 2000;

type Answer = Result<Grant, Refusal>;

pub(super) fn check(sheet: &mut Sheet, loaded: &Arc<Loaded>) {
    let batteries = [
        ("answers plain logins, over SV1 and SV2", vec![login("alice.rig-1"), sv2("alice.rig-1")]),
        ("answers usernames of every length and alphabet", names()),
        ("answers passwords of every length and alphabet", passwords()),
        ("answers machines that say anything of themselves", machines()),
    ];
    for (name, logins) in batteries {
        sheet.note(name, each(loaded, &logins).map(|_| ()));
    }
    sheet.note(
        "answers the same login the same way: again, after others, in a fresh instance",
        repeats(loaded),
    );
    sheet.note("answers two thousand logins in one instance", many(loaded));
    if loaded.looks_up {
        sheet.note("answers whatever is said to what it looks up", whatever_is_said(loaded));
        sheet.note("looks up the same for the same login, in the same order", looks_up_the_same(loaded));
    }
}

/// A service may break, and answer anything.
fn whatever_is_said(loaded: &Arc<Loaded>) -> Result<(), String> {
    for said in Says::anything() {
        let name = said.to_string();
        let asked = fresh(loaded)?.ask_scripted(&login("alice.rig-1"), Arc::new(said));
        let _answer = asked.map_err(|failure| about(&name, failure))?;
    }
    Ok(())
}

/// The host begins a call anew with each answer: it has to come to the same place.
fn looks_up_the_same(loaded: &Arc<Loaded>) -> Result<(), String> {
    for said in Says::anything() {
        let name = said.to_string();
        let said = Arc::new(said);
        let requests = || {
            let asked = fresh(loaded)?.ask_scripted(&login("alice.rig-1"), said.clone());
            let _answer = asked.map_err(|failure| about(&name, failure))?;
            Ok::<_, String>(said.take_requests())
        };
        let (first, again) = (requests()?, requests()?);
        same(&about(&name, "looked up"), &first, &again)?;
    }
    Ok(())
}

fn ask(policy: &mut WasmAuth, login: &Login) -> Result<Answer, String> {
    policy.authorize(login).map_err(|failure| about(&login.username, failure))
}

fn fresh(loaded: &Arc<Loaded>) -> Result<WasmAuth, String> {
    WasmAuth::new(loaded).map_err(|failure| failure.to_string())
}

fn each(loaded: &Arc<Loaded>, logins: &[Login]) -> Result<Vec<Answer>, String> {
    let mut policy = fresh(loaded)?;
    logins.iter().map(|login| ask(&mut policy, login)).collect()
}

fn repeats(loaded: &Arc<Loaded>) -> Result<(), String> {
    let logins = names();
    let mut policy = fresh(loaded)?;
    let mut first = Vec::with_capacity(logins.len());
    for login in &logins {
        let answer = ask(&mut policy, login)?;
        same(&about(&login.username, "asked twice"), &answer, &ask(&mut policy, login)?)?;
        first.push(answer);
    }
    let mut other = fresh(loaded)?;
    for (login, answer) in logins.iter().zip(&first).rev() {
        same(&about(&login.username, "asked later"), answer, &ask(&mut policy, login)?)?;
        same(&about(&login.username, "asked of another instance"), answer, &ask(&mut other, login)?)?;
    }
    Ok(())
}

fn many(loaded: &Arc<Loaded>) -> Result<(), String> {
    let mut policy = fresh(loaded)?;
    for index in 0..LOGINS {
        let _answer = ask(&mut policy, &login(&format!("account{index}.rig")))
            .map_err(|why| format!("at login {}: {why}", index + 1))?;
    }
    Ok(())
}

fn client(text: &str, protocol: Protocol) -> Client {
    Client {
        protocol,
        listener: Arc::from("main"),
        address: Arc::from("203.0.113.7"),
        agent: Arc::from(text),
        hardware: Arc::from(text),
    }
}

fn login(username: &str) -> Login {
    let client = client("cgminer/4.12", Protocol::StratumV1);
    Login { username: username.to_owned(), password: Some("x".to_owned()), client }
}

fn sv2(username: &str) -> Login {
    let client = client("", Protocol::StratumV2);
    Login { username: username.to_owned(), password: None, client }
}

fn names() -> Vec<Login> {
    texts().iter().flat_map(|text| [login(text), sv2(text)]).collect()
}

fn passwords() -> Vec<Login> {
    let with = |password: Option<String>| Login { password, ..login("alice.rig-1") };
    std::iter::once(None).chain(texts().into_iter().map(Some)).map(with).collect()
}

fn machines() -> Vec<Login> {
    let with = |text: &String| Login { client: client(text, Protocol::StratumV1), ..login("alice.rig-1") };
    texts().iter().map(with).collect()
}
