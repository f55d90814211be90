//! From a type's JSON Schema to a structural schema, as an API server takes it: no references, no unions of types, no
//! `additionalProperties: false` (it prunes unknown fields itself), formats that it knows.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The structural schema of a type.
pub(super) fn structural<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    rewrite(&mut schema);
    schema
}

/// The structural schema of a type that the operator writes: what it doesn't say has no default.
pub(super) fn written<T: JsonSchema>() -> Value {
    let mut schema = structural::<T>();
    without_defaults(&mut schema);
    schema
}

fn without_defaults(schema: &mut Value) {
    if let Value::Object(schema) = schema {
        schema.remove("default");
        schema.values_mut().for_each(without_defaults);
    }
}

fn rewrite(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Object(schema) => {
            schema.retain(|key, value| match key.as_str() {
                "$schema" | "title" => value.is_object(),
                "additionalProperties" => *value != Value::Bool(false),
                "default" => !value.is_null(),
                _ => true,
            });
            unnull(schema);
            enumerate(schema);
            reformat(schema);
            describe(schema);
            schema.values_mut().for_each(rewrite);
        }
        _ => {}
    }
}

/// An optional field is one that may be absent, not one that may be null.
fn unnull(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|t| t != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(branches)) = schema.get_mut("anyOf") {
        branches.retain(|branch| branch["type"] != "null");
        if let [Value::Object(one)] = branches.as_slice() {
            let one = one.clone();
            schema.remove("anyOf");
            for (key, value) in one {
                schema.entry(key).or_insert(value);
            }
        }
    }
}

/// schemars writes an enum whose values are described as `oneOf` constants. The values' descriptions go into the enum's.
fn enumerate(schema: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = schema.get("oneOf") else { return };
    let constant = |branch: &Value| branch.get("const").and_then(Value::as_str).map(String::from);
    let Some(values) = branches.iter().map(constant).collect::<Option<Vec<_>>>() else { return };
    let describe = |(branch, value): (&Value, &String)| {
        let text = branch.get("description").and_then(Value::as_str).unwrap_or_default();
        format!("\n`{value}`: {text}")
    };
    let described: String = branches.iter().zip(&values).map(describe).collect();
    let title = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    schema.remove("oneOf");
    schema.insert("type".into(), "string".into());
    schema.insert("enum".into(), values.into());
    schema.insert("description".into(), (title + &described).into());
}

/// API servers know int32 and int64 only, and warn about others.
fn reformat(schema: &mut Map<String, Value>) {
    let known = match schema.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "int8" | "int16") => "int32",
        Some("uint32" | "uint64") => "int64",
        _ => return,
    };
    schema.insert("format".into(), known.into());
}

/// `kubectl explain` shows descriptions only, so bounds and defaults are said there, too.
fn describe(schema: &mut Map<String, Value>) {
    let Some(text) = schema.get("description").and_then(Value::as_str) else { return };
    let mut text = text.to_owned();
    if let (Some(min), Some(max)) = (schema.get("minimum"), schema.get("maximum")) {
        text.push_str(&format!(" From {min} to {max}."));
    }
    match schema.get("default") {
        None | Some(Value::Object(_)) => {}
        Some(Value::Array(items)) if items.is_empty() => {}
        Some(Value::String(default)) => text.push_str(&said(&text, default)),
        Some(default) => text.push_str(&said(&text, &sorted(default.clone()).to_string())),
    }
    schema.insert("description".into(), text.into());
}

fn said(text: &str, default: &str) -> String {
    let gap = if text.contains('\n') { '\n' } else { ' ' };
    format!("{gap}Default: {default}")
}

/// Another crate of the workspace may make serde_json keep insertion order; the YAML must not depend on that.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
