//! `augmentation`: transforms in a list, or the keys of the first version.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{about, forms::schemas, object, of, words};
use crate::data::{
    Augmentation, Keys,
    transforms::{self, FROM_EPOCH, Range, TRANSFORMS, TransformKind, TransformOption},
};

schemas! {
    Augmentation, "Augmentation", |generator| {
        let keys = generator.subschema_for::<Keys>();
        let mut items: Vec<Value> =
            TRANSFORMS.iter().map(|kind| about(json!({ "const": kind.name }), kind.meaning)).collect();
        items.extend(TRANSFORMS.iter().map(|kind| with_options(kind)));
        json!({
            "description": "What is done to training images, in this order, drawn anew for each image of each epoch",
            "anyOf": [{ "type": "array", "items": { "anyOf": items } }, keys],
        })
    };
}

/// What an option may be.
fn value(option: &TransformOption) -> Value {
    let interval = |low: f32, high: f32| {
        json!({
            "type": "array", "items": { "type": "number", "minimum": low, "maximum": high }, "minItems": 2, "maxItems": 2,
        })
    };
    let schema = match option.range {
        Range::Number(low, high) => json!({ "type": "number", "minimum": low, "maximum": high }),
        Range::Whole(low, high) => json!({ "type": "number", "multipleOf": 1, "minimum": low, "maximum": high }),
        Range::Factor { low, high, .. } => {
            json!({ "anyOf": [{ "type": "number", "minimum": 0, "maximum": high.min(-low) }, interval(low, high)] })
        }
        Range::Interval(low, high) => interval(low, high),
        Range::Word(list) => words(list.iter().copied()),
    };
    let schema = match option.default {
        transforms::Value::None => json!({ "anyOf": [schema, { "type": "null" }] }),
        _ => schema,
    };
    about(schema, &format!("{}; {}, by default {}", option.meaning, option.range, option.default))
}

/// A transform with what stands behind its name: options, the first one's value, or whether it is used.
fn with_options(kind: &TransformKind) -> Value {
    let options = || -> Map<String, Value> {
        kind.options.iter().map(|option| (option.name.to_owned(), value(option))).collect()
    };
    let first = || kind.options.first().map(value);
    let mut all = options();
    let changed: Vec<Value> =
        first().into_iter().chain([json!({ "type": "boolean" }), object(options()).into()]).collect();
    all.insert(
        FROM_EPOCH.into(),
        json!({
            "description": "options that are others from an epoch on, by epochs from 1; `false` leaves it out from then on",
            "type": "object",
            "patternProperties": { "^[1-9][0-9]*$": { "anyOf": changed } },
            "additionalProperties": false,
        }),
    );
    let forms: Vec<Value> =
        first().into_iter().chain([json!({ "type": ["boolean", "null"] }), object(all).into()]).collect();
    let mut item = object(Map::from_iter([(kind.name.to_owned(), json!({ "anyOf": forms }))]));
    item.insert("required".into(), json!([kind.name]));
    item.insert("description".into(), kind.meaning.into());
    item.into()
}
