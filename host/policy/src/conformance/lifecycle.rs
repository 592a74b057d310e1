//! What every policy is asked: who it is, and what it makes of settings.

use serde_json::{Map, Value};

use super::{Sheet, same};
use crate::compile::content_hash;
use crate::config::{Limits, Settings};
use crate::error::LoadError;
use crate::load::{Candidate, Loaded, Loader};

/// A key that no policy has.
const UNKNOWN: &str = "no-such-setting-anywhere";
/// How many settings are tried with a value of another type.
const TRIED: usize = 32;

pub(super) fn check(sheet: &mut Sheet, wasm: &[u8], settings: &Settings, loaded: &Loaded, loader: &Loader) {
    sheet.note("describes itself the same way every time", described(wasm, loaded, loader));
    let again = loader.reconfigured(loaded, settings).map(|_| ()).map_err(|why| why.to_string());
    sheet.note("takes its settings and passes its self-test in every instance", again);
    let properties = properties(&loaded.descriptor.settings_schema);
    let empty = Map::new();
    let known = properties.as_ref().unwrap_or(&empty);
    let wrong: Vec<(&String, Value)> =
        known.iter().filter_map(|(key, schema)| Some((key, of_another_type(schema)?))).take(TRIED).collect();
    sheet.note("its settings schema is a JSON Schema of an object, or empty", properties.clone().map(|_| ()));
    let unknown = refused(settings, UNKNOWN, Value::from(1), loaded, loader);
    sheet.note("refuses a setting that it does not know, by name", unknown);
    for (key, value) in wrong {
        let name = format!("refuses {key} = {value}, which is of another type, by name");
        sheet.note(name, refused(settings, key, value, loaded, loader));
    }
}

fn described(wasm: &[u8], loaded: &Loaded, loader: &Loader) -> Result<(), String> {
    let (hash, limits, settings) = (&content_hash(wasm), &Limits::of(loaded.kind), &Settings::new());
    let candidate = Candidate { kind: loaded.kind, bytes: wasm, hash, settings, limits, may_look_up: true };
    let again = loader.describe(&candidate).map_err(|why| why.to_string())?;
    same("`describe` in two instances", &loaded.descriptor, &again)
}

/// The settings that a schema knows.
fn properties(schema: &str) -> Result<Map<String, Value>, String> {
    if schema.is_empty() {
        return Ok(Map::new());
    }
    let schema: Value = serde_json::from_str(schema).map_err(|error| format!("it is not JSON: {error}"))?;
    let Value::Object(schema) = schema else {
        return Err("it is not a JSON object".to_owned());
    };
    match schema.get("properties") {
        None => Ok(Map::new()),
        Some(Value::Object(properties)) => Ok(properties.clone()),
        Some(_) => Err("`properties` is not a JSON object".to_owned()),
    }
}

/// A value that a schema of one type does not take.
fn of_another_type(schema: &Value) -> Option<Value> {
    match schema.get("type")?.as_str()? {
        "number" | "integer" => Some(Value::from("x")),
        "string" | "boolean" | "array" | "object" => Some(Value::from(1.5)),
        _ => None,
    }
}

fn refused(
    settings: &Settings,
    key: &str,
    value: Value,
    loaded: &Loaded,
    loader: &Loader,
) -> Result<(), String> {
    let mut settings = settings.clone();
    settings.insert(key.to_owned(), value);
    match loader.reconfigured(loaded, &settings) {
        Err(LoadError::Settings(why)) if why.contains(key) => Ok(()),
        Err(LoadError::Settings(why)) => {
            Err(format!("it refuses {key:?} without naming it ({why}): an operator could not mend it"))
        }
        Err(other) => Err(format!("`configure` must answer bad-settings; {other}")),
        Ok(_) => Err(format!("it takes {key:?}: a misspelt setting would be a default in disguise")),
    }
}
