//! Logins asked of a service of the operator's: `ACCOUNT[.WORKER]`. The service says who that is in JSON.
//!
//! Without `check-password` the account is part of the URL (GET), and any password will do. With it, account, worker and
//! password are the body (POST): a secret is never part of a URL.

use sluice_plugin::auth::{AuthLookupPolicy, Grant, Login, Refusal, is_account_name, split_username};
use sluice_plugin::lookup::{Answer, Failure, Fields, Lookup, Request, segment};
use sluice_plugin::settings::Settings;
use sluice_plugin::{Descriptor, Policy, expect};

/// The policy with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryAuth {
    url: Template,
    check_password: bool,
    members: Members,
}

/// A URL with `{account}` in it, or without.
#[derive(Clone, Debug, PartialEq)]
struct Template(String);

/// What the members of an answer are called.
#[derive(Clone, Debug, PartialEq)]
struct Members {
    account: String,
    address: String,
    start: String,
    minimum: String,
    maximum: String,
}

const PLACE: &str = "{account}";
/// The longest template, in bytes: the host takes URLs of 2048, and an account may be three times as long as it was.
const URL_LIMIT: usize = 1000;
/// The longest name of a member, in bytes.
const MEMBER_LIMIT: usize = 64;
/// The longest address, in bytes.
const ADDRESS_LIMIT: usize = 90;
/// The least and the greatest difficulty of the contract: 2^-32 and 2^128.
const DIFFICULTIES: std::ops::RangeInclusive<f64> = 1.0 / 4_294_967_296.0..=3.402_823_669_209_385e38;

impl Policy for DirectoryAuth {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: "auth-directory",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Logins asked of a service over HTTP: ACCOUNT[.WORKER], with or without the password.",
        settings_schema: include_str!("settings.schema.json"),
        memo_format: 0,
    };

    fn configure(settings: &mut Settings) -> Self {
        let url = settings.text("url", Template::ALLOWED, Template::parse);
        let check_password = settings.flag("check-password");
        if let Some(template) = &url
            && !check_password
            && !template.has_place()
        {
            settings.problem("url", "holds no {account}; without check-password it has to");
        }
        // Any template will do beside the problem that is noted here.
        let url = settings.required("url", Template::ALLOWED, url).unwrap_or(Template(String::new()));
        Self { url, check_password, members: Members::take(settings) }
    }

    fn self_test(&self) -> Result<(), String> {
        let url = Template("https://a.example/{account}".to_owned()).of("a/b");
        expect("an account in a URL", &url.as_deref(), &Some("https://a.example/a%2Fb"))?;
        let url = Template("https://a.example/{account}".to_owned()).of("..");
        expect("an account that leaves the path", &url, &None)
    }
}

impl Template {
    const ALLOWED: &str =
        "an http:// or https:// URL of at most 1000 characters of RFC 3986, with {account} at most once";

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"))?;
        // Not in the host's name: a miner would choose whom to ask.
        let (host, _) = rest.split_once('/')?;
        // What the host takes; the rest it would refuse login by login.
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._~:/?[]@!$&'()*+,;=%".contains(c);
        let plain = text.len() <= URL_LIMIT && text.replace(PLACE, "").chars().all(fits);
        let once = text.matches(PLACE).count() <= 1 && !host.contains(PLACE);
        (plain && once && !host.is_empty()).then(|| Self(text.to_owned()))
    }

    fn has_place(&self) -> bool {
        self.0.contains(PLACE)
    }

    /// `None` where the account cannot be part of a URL.
    fn of(&self, account: &str) -> Option<String> {
        Some(self.0.replace(PLACE, &segment(account)?))
    }
}

impl Members {
    fn take(settings: &mut Settings) -> Self {
        let mut member = |setting, default: &str| {
            let plain = |text: &str| (1..=MEMBER_LIMIT).contains(&text.len()).then(|| text.to_owned());
            settings.text(setting, "a name of 1 to 64 bytes", plain).unwrap_or(default.to_owned())
        };
        Self {
            account: member("account-field", "account"),
            address: member("address-field", "address"),
            start: member("start-field", "start_difficulty"),
            minimum: member("minimum-field", "minimum_difficulty"),
            maximum: member("maximum-field", "maximum_difficulty"),
        }
    }
}

impl AuthLookupPolicy for DirectoryAuth {
    fn authorize(&self, login: &Login, lookup: &dyn Lookup) -> Result<Grant, Refusal> {
        let (account, worker) = split_username(&login.username);
        // No service needs to be asked for what no account can be called.
        let request = is_account_name(account).then(|| self.request(account, &worker, login)).flatten();
        let request = request.ok_or_else(unknown)?;
        let answer = lookup.fetch(&request).map_err(|failure| match failure {
            Failure::Denied(_) => later("the pool is not set up to check this login"),
            Failure::Unavailable(_) => later("the pool cannot check logins just now, try again"),
        })?;
        self.welcome(&answer)?;
        self.grant(&answer, account).map(|grant| Grant { worker, ..grant })
    }
}

impl DirectoryAuth {
    fn request(&self, account: &str, worker: &str, login: &Login) -> Option<Request> {
        let url = self.url.of(account)?;
        if !self.check_password {
            return Some(Request::get(url));
        }
        let password = login.password.as_deref().unwrap_or_default();
        let members = [("account", account), ("worker", worker), ("password", password)];
        Some(Request::post_json(url, &members))
    }

    /// What the status says.
    fn welcome(&self, answer: &Answer) -> Result<(), Refusal> {
        match answer.status {
            200..=299 => Ok(()),
            404 | 410 => Err(unknown()),
            401 if self.check_password => Err(Refusal::WrongPassword("wrong password".to_owned())),
            403 => Err(Refusal::Forbidden("this account is not welcome here".to_owned())),
            // 401 without a password is about the pool's own key; the rest is about the pool's question.
            _ => Err(odd()),
        }
    }

    fn grant(&self, answer: &Answer, asked: &str) -> Result<Grant, Refusal> {
        let fields = answer.fields().map_err(|_| odd())?;
        let members = &self.members;
        let account = text(&fields, &members.account)?.unwrap_or(asked.to_owned());
        let payout_address = text(&fields, &members.address)?;
        let plausible = |address: &String| {
            (1..=ADDRESS_LIMIT).contains(&address.len()) && address.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if !is_account_name(&account) || !payout_address.iter().all(plausible) {
            return Err(odd());
        }
        let grant = Grant {
            account,
            payout_address,
            start_difficulty: difficulty(&fields, &members.start)?,
            minimum_difficulty: difficulty(&fields, &members.minimum)?,
            maximum_difficulty: difficulty(&fields, &members.maximum)?,
            ..Grant::default()
        };
        let crossed = grant.minimum_difficulty.zip(grant.maximum_difficulty).is_some_and(|(a, b)| a > b);
        if crossed { Err(odd()) } else { Ok(grant) }
    }
}

fn text(fields: &Fields, member: &str) -> Result<Option<String>, Refusal> {
    fields.text(member).map(|text| text.map(str::to_owned)).map_err(|_| odd())
}

fn difficulty(fields: &Fields, member: &str) -> Result<Option<f64>, Refusal> {
    let number = fields.number(member).map_err(|_| odd())?;
    if number.is_none_or(|number| DIFFICULTIES.contains(&number)) { Ok(number) } else { Err(odd()) }
}

fn unknown() -> Refusal {
    Refusal::UnknownUser("no such account here".to_owned())
}

fn later(why: &str) -> Refusal {
    Refusal::TryLater(why.to_owned())
}

/// The service is not what the settings say it is.
fn odd() -> Refusal {
    later("the pool does not understand its directory, try again")
}

#[cfg(test)]
mod tests;
