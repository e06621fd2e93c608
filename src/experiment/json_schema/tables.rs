//! Keys that come of tables: optimizers, schedules, losses.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{about, forms::schemas, named, object, of, words};
use crate::{
    experiment::{
        class_weights::ClassWeights,
        loss::{CLASS_WEIGHTS, LossConfig},
        optimizer::{self, Optimizer},
        schedule::{self, ScheduleConfig},
    },
    graph::{
        losses::LOSSES,
        optimizers::{OPTIMIZERS, Range, Rule, Setting},
    },
    train::schedules::{self, KINDS},
};

schemas! {
    Optimizer, "Optimizer", |_generator| optimizer_schema();
    ScheduleConfig, "Schedule", |_generator| schedule_schema();
    LossConfig, "Loss", |generator| {
        let weights = generator.subschema_for::<ClassWeights>();
        loss_schema(weights)
    };
}

/// What a number may be.
fn number(range: Range) -> Value {
    match range {
        Range::Positive => json!({ "type": "number", "exclusiveMinimum": 0 }),
        Range::NotNegative => json!({ "type": "number", "minimum": 0 }),
        Range::BelowOne => json!({ "type": "number", "minimum": 0, "exclusiveMaximum": 1 }),
        Range::Flag => json!({ "type": "boolean" }),
        Range::Steps => json!({ "type": "number", "minimum": 1, "maximum": 20, "multipleOf": 1 }),
    }
}

/// A number, with what it is and whose.
fn setting(setting: &Setting) -> Value {
    let owners: Vec<&str> = OPTIMIZERS
        .iter()
        .filter(|rule| rule.options.iter().any(|option| option.name == setting.name))
        .map(|rule| rule.name)
        .collect();
    let of = if owners.is_empty() { String::new() } else { format!(" (of {})", owners.join(", ")) };
    about(number(setting.range), &format!("{}{of}", setting.about))
}

/// That with some name, of the key `key`, no other keys are there than these; the first is meant where none is named.
fn only<'a>(key: &str, of: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> Value {
    let conditions = of.enumerate().map(|(at, (name, keys))| {
        let mut condition = json!({ "properties": { key: { "const": name } } });
        if at > 0 {
            condition["required"] = json!([key]);
        }
        json!({ "if": condition, "then": { "propertyNames": { "enum": keys } } })
    });
    conditions.collect()
}

/// Those of `all` that every rule has, and those of this one.
fn keys_of(all: &[&'static str], rule: &Rule) -> Vec<&'static str> {
    let is_own = |key: &&str| rule.options.iter().any(|option| option.name == *key);
    let is_any = |key: &&str| OPTIMIZERS.iter().any(|rule| rule.options.iter().any(|option| option.name == *key));
    all.iter()
        .copied()
        .filter(|key| is_own(key) || !is_any(key))
        .filter(|key| *key != "others" || rule.direction.is_some())
        .collect()
}

fn optimizer_schema() -> Value {
    let patterns = json!({ "type": "array", "items": { "type": "string" } });
    let names = |matrices: bool| {
        named(
            OPTIMIZERS
                .iter()
                .filter(move |rule| matrices || rule.direction.is_none())
                .map(|rule| (rule.name, rule.about)),
        )
    };
    let property = |key: &str, matrices: bool| match key {
        "name" => names(matrices),
        "parameters" => about(patterns.clone(), "matrices that these take as well"),
        "decay" => about(words(["scaled", "plain"]), "whether weight decay is times the learning rate"),
        "no_decay" => {
            about(patterns.clone(), "parameters without weight decay: `bias`, `norm`, `1d`, or patterns of names")
        }
        "rates" => json!({
            "description": "multipliers of the learning rate by patterns of names",
            "type": "object",
            "additionalProperties": { "type": "number", "minimum": 0 },
        }),
        "layer_decay" => json!({
            "description": "by how much a layer's rate is that of the one behind it",
            "type": "number", "exclusiveMinimum": 0, "maximum": 1,
        }),
        "clip_norm" => {
            json!({ "description": "the largest norm of all gradients", "type": "number", "exclusiveMinimum": 0 })
        }
        key => match optimizer::setting(key).or_else(|| optimizer::option(key)) {
            Some(found) => setting(found),
            None => json!({}),
        },
    };
    let properties = |keys: &[&'static str], matrices: bool| -> Map<String, Value> {
        keys.iter().map(|key| ((*key).to_owned(), property(key, matrices))).collect()
    };
    let mut others = object(properties(&optimizer::OTHER_KEYS, false));
    let elementwise = OPTIMIZERS.iter().filter(|rule| rule.direction.is_none());
    others.insert(
        "allOf".into(),
        only("name", elementwise.map(|rule| (rule.name, keys_of(&optimizer::OTHER_KEYS, rule)))),
    );
    others.insert("description".into(), "What updates the parameters that a rule for matrices leaves".into());
    let mut properties = properties(&optimizer::KEYS, true);
    properties.insert("others".into(), others.into());
    let mut whole = object(properties);
    whole.insert(
        "allOf".into(),
        only("name", OPTIMIZERS.iter().map(|rule| (rule.name, keys_of(&optimizer::KEYS, rule)))),
    );
    whole.into()
}

fn schedule_schema() -> Value {
    let share = |text: &str| json!({ "description": text, "type": "number", "minimum": 0, "maximum": 1 });
    let epochs = |text: &str| json!({ "description": text, "type": "number", "minimum": 0 });
    let property = |key: &str| match key {
        "kind" => named(KINDS.iter().map(|kind| (kind.name, kind.about))),
        "warmup_epochs" => epochs("so many epochs, or parts of them, the rate rises linearly"),
        "cooldown_epochs" => epochs("so many epochs at the end the rate stays where it has come to"),
        "final_fraction" => share("the share of the learning rate at the end"),
        "warmup_from" => share("the share of the learning rate that the warm-up begins with"),
        "per" => about(words(["step", "epoch"]), "when the rate changes"),
        "restarts" => json!({
            "description": "epochs after which the schedule begins again",
            "type": "array", "items": { "type": "integer", "minimum": 1 },
        }),
        key => {
            let owners: Vec<&schedules::Kind> =
                KINDS.iter().copied().filter(|kind| kind.options.iter().any(|option| option.name == key)).collect();
            let ranges = owners
                .iter()
                .flat_map(|kind| kind.options)
                .filter(|option| option.name == key)
                .map(|option| option_schema(&option.range));
            let mut ranges: Vec<Value> = ranges.collect();
            ranges.dedup();
            let names: Vec<&str> = owners.iter().map(|kind| kind.name).collect();
            let text = format!("of {}", names.join(", "));
            match ranges.as_slice() {
                [one] => about(one.clone(), &text),
                several => about(json!({ "anyOf": several }), &text),
            }
        }
    };
    let keys = &*schedule::KEYS;
    let own = |kind: &schedules::Kind| {
        schedule::OWN.into_iter().chain(kind.options.iter().map(|option| option.name)).collect::<Vec<_>>()
    };
    let mut whole = object(keys.iter().map(|key| ((*key).to_owned(), property(key))).collect());
    whole.insert("allOf".into(), only("kind", KINDS.iter().map(|kind| (kind.name, own(kind)))));
    whole.into()
}

fn option_schema(range: &schedules::Range) -> Value {
    match range {
        schedules::Range::Number(low, high) => {
            let mut number = json!({ "type": "number" });
            // JSON has no infinity.
            for (key, end) in [("minimum", low), ("maximum", high)] {
                if end.is_finite() {
                    number[key] = json!(end);
                }
            }
            number
        }
        schedules::Range::Milestones => {
            json!({ "type": "array", "items": { "type": "number", "exclusiveMinimum": 0 }, "minItems": 1 })
        }
        schedules::Range::Word(list) => words(list.iter().copied()),
    }
}

fn loss_schema(class_weights: Schema) -> Value {
    let names = named(LOSSES.iter().map(|kind| (kind.name, kind.about)));
    let mut properties = Map::new();
    properties.insert("name".into(), names.clone());
    properties.insert(CLASS_WEIGHTS.into(), json!({ "anyOf": [class_weights, { "type": "null" }] }));
    for option in LOSSES.iter().flat_map(|kind| kind.options) {
        properties.insert(option.name.into(), about(number(option.range), option.about));
    }
    let mut whole = object(properties);
    let own = |kind: &crate::graph::losses::LossKind| {
        ["name", CLASS_WEIGHTS].into_iter().chain(kind.options.iter().map(|option| option.name)).collect()
    };
    whole.insert("allOf".into(), only("name", LOSSES.iter().map(|kind| (kind.name, own(kind)))));
    json!({ "anyOf": [names, whole] })
}
