//! JSON as strictly as a server should read it: no key twice, no deep nesting, no other encoding than UTF-8 (V1-4).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The most keys an object may have. Bounds the search for doubles.
const KEYS_LIMIT: usize = 32;

/// What was sent is no request: not JSON, not an object, a key twice, nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// The outside of a message (V1-5, V1-6).
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    /// The id exactly as it was sent: a number, a string or `null`. `None`: there is none, or it is something else.
    pub(crate) id: Option<&'a str>,
    /// `None`: no method, so it answers something; `Null` or another kind where it is no text.
    pub(crate) method: Option<Json<'a>>,
    /// `Null` if absent.
    pub(crate) params: Json<'a>,
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, NotJson> {
        let text = std::str::from_utf8(line).map_err(|_| NotJson)?;
        serde_json::from_str(text).map_err(|_| NotJson)
    }
}

/// Keeps the raw token of an id that can be echoed.
fn echoable(raw: &RawValue) -> Option<&str> {
    let text = raw.get();
    (!text.starts_with(['{', '[', 't', 'f'])).then_some(text)
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope { id: None, method: None, params: Json::Null };
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "id" => envelope.id = echoable(map.next_value::<&'de RawValue>()?),
                "method" => envelope.method = Some(map.next_value()?),
                "params" => envelope.params = map.next_value()?,
                _ => drop(map.next_value::<Json<'_>>()?),
            }
            remember(&mut keys, key)?;
        }
        Ok(envelope)
    }
}

fn remember<'de, E: Error>(keys: &mut Vec<Cow<'de, str>>, key: Cow<'de, str>) -> Result<(), E> {
    if keys.contains(&key) || keys.len() >= KEYS_LIMIT {
        return Err(E::custom("a key comes twice, or there are too many"));
    }
    keys.push(key);
    Ok(())
}

/// A key, borrowed where it can be.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(JsonVisitor)? {
            Json::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a key is text")),
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Number(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            if members.iter().any(|(known, _)| *known == key) || members.len() >= KEYS_LIMIT {
                return Err(A::Error::custom("a key comes twice, or there are too many"));
            }
            members.push((key, value));
        }
        Ok(Json::Object(members))
    }
}
