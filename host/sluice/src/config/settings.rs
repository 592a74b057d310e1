//! A plugin's settings: the operator's TOML table as the JSON object that `configure` gets.

use serde_json::{Number, Value};
use toml::de::{DeTable, DeValue};

use super::problem::quoted;
use super::reader::number;

/// A JSON object with sorted keys.
pub type Map = serde_json::Map<String, Value>;

/// Keys sorted at every level, so that equal settings are equal bytes. Dates become texts.
pub(super) fn to_json(table: &DeTable<'_>) -> Result<Map, String> {
    let mut entries: Vec<(&str, &DeValue<'_>)> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref())).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries.into_iter().map(|(key, value)| Ok((key.to_owned(), value_to_json(key, value)?))).collect()
}

fn value_to_json(key: &str, value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Table(table) => Value::Object(to_json(table)?),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| value_to_json(key, item.get_ref()));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        DeValue::Integer(integer) => {
            let value = i64::from_str_radix(integer.as_str(), integer.radix());
            Value::Number(value.map_err(|_| format!("{} holds a number beyond 64 bits", quoted(key)))?.into())
        }
        DeValue::Float(_) => Number::from_f64(number(value)?)
            .map(Value::Number)
            .ok_or_else(|| format!("{} holds a number that is not finite", quoted(key)))?,
    })
}
