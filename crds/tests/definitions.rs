//! The definitions that the chart installs are what the types say, and nothing in them is unbounded.

use evenkeel_crds::kube::definitions;
use serde_json::Value;
use std::path::Path;

#[test]
fn the_charts_definitions_are_what_the_types_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/evenkeel/crds");
    for definition in definitions() {
        let path = directory.join(&definition.file);
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == definition.yaml(), "{} isn't what crds/src says; run `make crds` and commit the result", path.display());
        let read: Value = serde_saphyr::from_str(&found).expect("YAML");
        assert_eq!(read, definition.value, "the YAML reads back as another value");
    }
}

#[test]
fn everything_that_a_user_writes_is_bounded() {
    let pool = &definitions()[0].value;
    let spec = pool.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").expect("a spec");
    assert_bounded("spec", spec);
}

fn assert_bounded(path: &str, schema: &Value) {
    let has = |key: &str| schema.get(key).is_some();
    match schema["type"].as_str() {
        Some("array") => {
            assert!(has("maxItems"), "{path} has no maxItems");
            assert_bounded(&format!("{path}[]"), &schema["items"]);
        }
        Some("string") => assert!(has("maxLength") || has("enum"), "{path} has no maxLength"),
        Some("integer") => assert!(has("minimum") && has("maximum"), "{path} has no minimum or maximum"),
        Some("object") if has("additionalProperties") => {
            assert!(has("maxProperties"), "{path} has no maxProperties");
            assert_bounded(&format!("{path}{{}}"), &schema["additionalProperties"]);
        }
        Some("object") => {
            // A switch like `zoneAware: {}` has none.
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                assert!(field["description"].is_string(), "{path}.{name} has no description");
                assert_bounded(&format!("{path}.{name}"), field);
            }
        }
        None => assert!(has("maxLength") && has("maximum"), "{path} is unbounded"),
        Some(other) => panic!("{path} is of type {other}"),
    }
}

#[test]
fn nothing_in_the_schema_is_what_an_api_server_refuses_or_warns_about() {
    for definition in definitions() {
        visit(&definition.value, &mut |key, value| {
            assert!(!matches!(key, "$ref" | "$schema" | "definitions" | "const" | "nullable"), "{key}");
            assert!(key != "additionalProperties" || *value != Value::Bool(false));
            assert!(
                key != "format" || ["int32", "int64", "ipv4", "ipv6", "date-time"].contains(&value.as_str().expect("a format"))
            );
        });
    }
}

fn visit(value: &Value, check: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            check(key, value);
            visit(value, check);
        }),
        Value::Array(items) => items.iter().for_each(|item| visit(item, check)),
        _ => {}
    }
}
