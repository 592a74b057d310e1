//! What a miner can ask: one variant per meaning, one place that knows the names (V1-7).

use std::borrow::Cow;

use bitcoin::Target;
use sluice_core::extranonce::ResumeToken;
use sluice_core::units::Difficulty;

use crate::configure::{self, Extension};
use crate::hex;
use crate::json::{Envelope, Json};

/// The longest user agent and hardware name that is kept, in bytes.
const AGENT_LIMIT: usize = 256;
/// The longest username and password, in bytes (V1-17).
const LOGIN_LIMIT: usize = 255;

/// The texts of a `mining.submit`, not decoded (V1-67).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    pub worker: &'a [u8],
    pub job: &'a [u8],
    pub extranonce2: &'a [u8],
    pub ntime: &'a [u8],
    pub nonce: &'a [u8],
    /// The sixth parameter (V1-34).
    pub version: Option<&'a [u8]>,
}

/// The same with escapes resolved, as the JSON parser hands them out.
#[derive(Debug, PartialEq)]
pub(crate) struct Texts<'a> {
    required: [Cow<'a, str>; 5],
    version: Option<Cow<'a, str>>,
}

impl Texts<'_> {
    pub(crate) fn fields(&self) -> Fields<'_> {
        let [worker, job, extranonce2, ntime, nonce] = self.required.each_ref().map(|text| text.as_bytes());
        let version = self.version.as_deref().map(str::as_bytes);
        Fields { worker, job, extranonce2, ntime, nonce, version }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum Request<'a> {
    Configure(Vec<Extension<'a>>),
    Subscribe {
        agent: String,
        session: Option<ResumeToken>,
    },
    Authorize {
        username: String,
        password: Option<String>,
    },
    Submit(Texts<'a>),
    /// `None`: no preference.
    Suggest(Option<Difficulty>),
    ExtranonceSubscribe,
    Ping,
    GetVersion,
    /// Something that asks for a nod only.
    Acknowledge,
    /// Known, and not offered (V1-59).
    NotSupported,
    /// An answer to something; nobody waits for it (V1-60).
    Ignore,
    Unknown,
}

/// Parameters that do not fit the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    Submit,
    Other,
}

impl<'a> Request<'a> {
    /// What a line asks for. `None`: nothing, or nothing that can be read.
    pub(crate) fn of_line(line: &'a [u8]) -> Option<Self> {
        let envelope = Envelope::parse(line).ok()?;
        Self::parse(&envelope.method?.text()?, envelope.params).ok()
    }

    /// The only place where a method's name and the order of its parameters mean anything.
    pub(crate) fn parse(method: &str, params: Json<'a>) -> Result<Self, Malformed> {
        Ok(match method {
            "mining.submit" => Self::Submit(submit(params).ok_or(Malformed::Submit)?),
            "mining.subscribe" => subscribe(params)?,
            "mining.authorize" | "mining.auth" | "mining.authorise" => authorize(params)?,
            "mining.configure" => Self::Configure(configure::parse(list(params)?).ok_or(Malformed::Other)?),
            "mining.extranonce.subscribe" => Self::ExtranonceSubscribe,
            "mining.suggest_difficulty" | "mining.set_difficulty" => {
                Self::Suggest(difficulty(list(params)?.first()))
            }
            "mining.suggest_target" | "mining.set_target" => Self::Suggest(target(list(params)?.first())?),
            "mining.ping" | "client.ping" => Self::Ping,
            "client.get_version" => Self::GetVersion,
            "client.show_message" | "mining.multi_version" | "mining.capabilities" | "mining.hashrate" => {
                Self::Acknowledge
            }
            "mining.get_transactions" | "mining.get_txnhashes" => Self::NotSupported,
            "pong" | "mining.pong" => Self::Ignore,
            other => suggestion_in_name(other).map_or(Self::Unknown, |value| Self::Suggest(Some(value))),
        })
    }
}

/// Absent and `null` are an empty list (V1-6).
fn list(params: Json<'_>) -> Result<Vec<Json<'_>>, Malformed> {
    match params {
        Json::Null => Ok(Vec::new()),
        Json::List(list) => Ok(list),
        _ => Err(Malformed::Other),
    }
}

fn submit(params: Json<'_>) -> Option<Texts<'_>> {
    let mut params = list(params).ok()?.into_iter();
    let mut text = || params.next()?.text();
    Some(Texts {
        required: [text()?, text()?, text()?, text()?, text()?],
        version: match params.next() {
            None | Some(Json::Null) => None,
            Some(bits) => Some(bits.text()?),
        },
    })
}

/// Any number of elements, `null` anywhere (V1-12).
fn subscribe(params: Json<'_>) -> Result<Request<'_>, Malformed> {
    let mut params = list(params)?.into_iter().map(|param| param.text().unwrap_or_default());
    let agent = printable(&params.next().unwrap_or_default());
    let session = params.next().and_then(|text| ResumeToken::parse(&text));
    Ok(Request::Subscribe { agent, session })
}

fn authorize(params: Json<'_>) -> Result<Request<'_>, Malformed> {
    let mut params = list(params)?.into_iter();
    let username = params.next().and_then(Json::text).ok_or(Malformed::Other)?;
    let password = params.next().and_then(Json::text);
    let fits = |text: &str| text.len() <= LOGIN_LIMIT;
    if !fits(&username) || !password.as_deref().is_none_or(fits) {
        return Err(Malformed::Other);
    }
    Ok(Request::Authorize { username: username.into_owned(), password: password.map(Cow::into_owned) })
}

/// A positive number, as number or text. Anything else is no preference (V1-42).
pub(crate) fn difficulty(value: Option<&Json<'_>>) -> Option<Difficulty> {
    let number = match value? {
        Json::Number(number) => *number,
        Json::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (number > 0.0).then(|| Difficulty::saturating(number))
}

/// 64 hex digits (V1-43).
fn target(value: Option<&Json<'_>>) -> Result<Option<Difficulty>, Malformed> {
    let Some(Json::Text(text)) = value else { return Ok(None) };
    let mut bytes = [0; 32];
    let target = hex::read_bytes(text.as_bytes(), &mut bytes).then(|| Target::from_be_bytes(bytes));
    target.map(|target| Some(Difficulty::from_target(target))).ok_or(Malformed::Other)
}

/// `mining.suggest_difficulty(42)`, the historical form.
fn suggestion_in_name(method: &str) -> Option<Difficulty> {
    let number: f64 = method.strip_prefix("mining.suggest_difficulty(")?.strip_suffix(')')?.parse().ok()?;
    (number > 0.0).then(|| Difficulty::saturating(number))
}

/// Without control characters, cut to [`AGENT_LIMIT`] bytes.
pub(crate) fn printable(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > AGENT_LIMIT {
            break;
        }
        kept.push(c);
    }
    kept
}
