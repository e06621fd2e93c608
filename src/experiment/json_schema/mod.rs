//! The JSON schema of experiment files, by which editors complete and check them.
//!
//! What serde derives, schemars derives from the same structs. What the reader takes from a table, the files below take from
//! the same table. The schema says less than the reader knows: what depends on data, models and other keys is left to it.

mod forms;
mod lists;
mod tables;

use schemars::{
    Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Map, Value, json};

use super::Experiment;

/// The schema of an experiment file: JSON Schema, draft 7, which editors know.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = false);
    let mut schema = settings.into_generator().into_root_schema_for::<Experiment>();
    Plain.transform(&mut schema);
    schema.insert("title".into(), "An experiment of vitx".into());
    let mut schema = schema.to_value();
    shorten(&mut schema);
    schema
}

/// Numbers of single precision as they are written: 0.1, not the nearest to it as a number of double precision.
fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let single = number.as_f64().filter(|_| number.is_f64()).map(|number| number as f32);
            let exact = single.filter(|single| Some(f64::from(*single)) == number.as_f64());
            if let Some(short) = exact.and_then(|single| single.to_string().parse::<f64>().ok()) {
                *value = json!(short);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(map) => map.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Descriptions without the links and line breaks of Rust's documentation, defaults of single values alone: those of a mapping
/// stand with its keys.
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = plain(&text.replace("\n\n", "\r").replace('\n', " ").replace('\r', "\n\n"));
        }
        if schema.get("default").is_some_and(|default| default.is_object() || default.is_array()) {
            schema.remove("default");
        }
        transform_subschemas(self, schema);
    }
}

/// `` "see [`Stop`](train::Stop)" `` as `` "see `Stop`" ``.
fn plain(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, inner)) = rest.split_once("[`") {
        let Some((word, after)) = inner.split_once("`]") else { break };
        plain += &format!("{before}`{word}`");
        rest = after;
        if let Some((_, after)) = after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            rest = after;
        }
    }
    plain + rest
}

/// A schema of JSON that is an object.
fn of(value: Value) -> Schema {
    match value {
        Value::Object(map) => map.into(),
        _ => Schema::default(),
    }
}

/// One of some words.
fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "type": "string", "enum": words.into_iter().collect::<Vec<_>>() })
}

/// The name of one of several, each with what it is.
fn named<'a>(of: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    json!({ "oneOf": of.map(|(name, text)| about(json!({ "const": name }), text)).collect::<Vec<_>>() })
}

/// A mapping with these keys alone.
fn object(properties: Map<String, Value>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("type".into(), "object".into());
    map.insert("properties".into(), properties.into());
    map.insert("additionalProperties".into(), false.into());
    map
}

/// With a line about it.
fn about(schema: Value, text: &str) -> Value {
    let mut schema = schema;
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".into(), text.into());
    }
    schema
}

/// For the name of a data set.
pub(super) fn data_name(generator: &mut SchemaGenerator) -> Schema {
    let _ = generator;
    let sets: Vec<Value> =
        crate::data::sources::all().map(|source| about(json!({ "const": source.name() }), source.about())).collect();
    // Capital letters and `-` for `_` are read, too.
    let mut any = sets;
    any.push(json!({ "type": "string", "pattern": spelt() }));
    of(json!({ "anyOf": any }))
}

/// A pattern for the names of data sets, however they are spelt.
fn spelt() -> String {
    let of_letter = |letter: char| match letter {
        '_' => "[-_]".to_owned(),
        letter if letter.is_alphabetic() => format!("[{letter}{}]", letter.to_uppercase()),
        letter => letter.to_string(),
    };
    let names = crate::data::sources::all().map(|source| source.name().chars().map(of_letter).collect::<String>());
    format!("^({})$", names.collect::<Vec<_>>().join("|"))
}

/// For the values of swept keys, in the order of the file.
pub(super) fn swept(generator: &mut SchemaGenerator) -> Schema {
    let values = generator.subschema_for::<super::Values>();
    of(json!({ "type": "object", "additionalProperties": values }))
}

#[cfg(test)]
mod tests;
