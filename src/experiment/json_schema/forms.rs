//! Values that have several forms.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::{named, of, words};
use crate::{
    dsl::Value,
    experiment::{
        OneOrMany, Values,
        class_weights::ClassWeights,
        init::{Freeze, FreezeKeys, Names, WORDS},
        stop::Time,
        sweep::executors::{EXECUTORS, ExecutorConfig, ExecutorName, Memory, NameOrKeys, PackSize, TimeLimit},
    },
};

/// Gives a type its schema.
macro_rules! schemas {
    ($($type:ty, $name:literal, |$generator:ident| $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                of($schema)
            }
        }
    )*};
}
pub(super) use schemas;

schemas! {
    Value, "Value", |generator| {
        let value = generator.subschema_for::<Value>();
        json!({
            "description": "A number, `true` or `false`, a text, or a list of these",
            "anyOf": [{ "type": ["number", "boolean", "string"] }, { "type": "array", "items": value }],
        })
    };
    Values, "Values", |generator| {
        let value = generator.subschema_for::<Value>();
        json!({
            "description": "A list of values, or a text as `4..=8:2`, `log(1e-4, 1e-2, 5)`, `uniform(0, 0.5)`, `loguniform(1e-4, 1e-2)`, \
                            `int(2, 12)`",
            "anyOf": [{ "type": ["number", "boolean", "string"] }, { "type": "array", "items": value }],
        })
    };
    OneOrMany, "Conditions", |_generator| json!({
        "description": "A condition as `train.schedule.kind=cosine`, or a list of such texts",
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
    });
    ClassWeights, "ClassWeights", |_generator| json!({
        "description": "`balanced`, a list of numbers, or a number by the name of each class",
        "anyOf": [
            { "const": "balanced" },
            { "type": "array", "items": { "type": "number", "minimum": 0 } },
            { "type": "object", "additionalProperties": { "type": "number", "minimum": 0 } },
        ],
    });
    Names, "Names", |_generator| json!({
        "description": "Whose names the file's tensors have: a word, or paths of layers with their names in the file",
        "anyOf": [words(WORDS.iter().copied()), { "type": "object", "additionalProperties": { "type": "string" } }],
    });
    Freeze, "Freeze", |generator| {
        let keys = generator.subschema_for::<FreezeKeys>();
        json!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, keys] })
    };
    Time, "Time", |_generator| json!({
        "description": "A time as `90s`, `30m` or `2h`; a number is of seconds",
        "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*[smh]$" }],
    });
    NameOrKeys, "Executor", |generator| {
        let (name, keys) = (generator.subschema_for::<ExecutorName>(), generator.subschema_for::<ExecutorConfig>());
        json!({ "anyOf": [name, keys] })
    };
    ExecutorName, "ExecutorName", |_generator| named(EXECUTORS.iter().map(|entry| (entry.name, entry.help)));
    Memory, "Memory", |_generator| json!({
        "description": "An amount of memory as `500M`, `8G`",
        "type": "string",
        "pattern": "^[0-9]+ *[MGT](i?B)?$",
    });
    PackSize, "PackSize", |_generator| json!({
        "description": "`auto`, or a number",
        "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 256 }],
    });
    TimeLimit, "TimeLimit", |_generator| json!({
        "description": "A time as `90m`, `2h`, `1d`, `2:30:00`, `1-12:00:00`",
        "type": "string",
        "pattern": "^([0-9]+[smhd]|([0-9]+-)?[0-9]+:[0-9]+:[0-9]+)$",
    });
}
