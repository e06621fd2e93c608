use std::{fs, path::Path};

use jsonschema::Validator;

use super::*;
use crate::choice::Choice;
use crate::experiment::{begin::Template, builtin};

fn validator() -> Validator {
    jsonschema::draft7::new(&schema()).unwrap()
}

/// A YAML text as an editor takes it.
fn json_of(text: &str) -> Value {
    serde_json::to_value(serde_yaml::from_str::<serde_yaml::Value>(text).unwrap()).unwrap()
}

#[test]
fn editors_get_what_the_binary_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("editors/experiment.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("VITX_UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "editors/experiment.schema.json is not what `vitx schema` prints: VITX_UPDATE=1 writes it anew"
    );
}

#[test]
fn experiments_that_are_shipped_are_right() {
    let validator = validator();
    let built_in = builtin::all().map(|built_in| (built_in.name.to_owned(), built_in.text));
    let templates = Template::CHOICES.iter().map(|(template, word, _)| ((*word).to_owned(), template.texts().0));
    for (name, text) in built_in.chain(templates) {
        let errors: Vec<String> = validator.iter_errors(&json_of(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {}", errors.join("\n"));
        // As a trial keeps it, with all that it leaves to defaults.
        let experiment = Experiment::parse(&name, text).unwrap();
        let whole = serde_json::to_value(&experiment).unwrap();
        let errors: Vec<String> = validator.iter_errors(&whole).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}, whole: {}", errors.join("\n"));
    }
}

const HEAD: &str = "model: m.vitx\ndata: { name: digits }\n";

/// What the reader takes, in the forms that few experiments have.
#[test]
fn what_the_reader_takes_is_right() {
    let validator = validator();
    let right = [
        "augmentation: [random_flip: vertical, random_rotation: [-0.1, 0.2], random_zoom: { height_factor: 0.2 }]",
        "augmentation: [rand_augment: { magnitude: 5, from_epoch: { 5: { magnitude: 9 }, 7: false } }, random_crop: , cutout: 4]",
        "augmentation: [mixup: { until: null }, random_flip: false]",
        "train: { optimizer: { name: muon, others: { name: sgd, momentum: 0.9, parameters: ['a/*'] } } }",
        "train: { optimizer: { name: sgd, momentum: 0.9, nesterov: true, rates: { 'head/*': 10 }, clip_norm: 1, decay: plain } }",
        "train: { schedule: { kind: multi_step, milestones: [5, 8], gamma: 0.2, per: epoch } }",
        "train: { schedule: { kind: cosine, warmup_epochs: 1.5, warmup_from: 0.1, restarts: [4] } }",
        "train: { loss: cross_entropy, stop: { max_time: 2h, patience: 3, monitor: val_loss }, ema: { decay: 0.99, warmup: true } }",
        "train: { loss: { class_weights: { 0: 2.5 } }, stop: { max_time: 90 }, image_size: [[0, 4], [2, 8]] }",
        "params: { width: 3, norm: layer_norm, units: [4, [5]], on: true }",
        "init: { weights: hf://timm/a, names: { a: b }, head: reset, freeze: { until: b }, position: resize }",
        "init: { weights: a.safetensors, names: timm, freeze: ['a*'] }",
        "sweep: { params: { depth: [1, 2], width: 4..=8, train.epochs: 3 }, zip: [[a, b]], when: { a: b=1, c: [d=1] }, strategy: tpe }",
        "sweep: { stop: { rule: asha, factor: 2 }, trials: 20, seeds: 3, round: 8, enqueue: [{ depth: 2 }], strategy: tpe }",
        "sweep: { executor: slurm }",
        "sweep: { executor: { name: slurm, cpus: 4, memory: 8G, time: 2:30:00, args: ['--qos=low'] } }",
    ];
    for text in right.map(|rest| format!("{HEAD}{rest}\n")) {
        Experiment::parse("a.yaml", &text).unwrap_or_else(|error| panic!("{text}: {:?}", miette::Report::new(error)));
        let errors: Vec<String> = validator.iter_errors(&json_of(&text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {}", errors.join("\n"));
    }
    for name in ["CIFAR100", "Fashion-MNIST", "image-folder"] {
        let text = format!("model: m.vitx\ndata: {{ name: {name} }}\n");
        assert!(Experiment::parse("a.yaml", &text).is_ok() && validator.is_valid(&json_of(&text)), "{name}");
    }
}

#[test]
fn mistakes_are_found_by_the_schema_too() {
    let validator = validator();
    let wrong = [
        "trian: {}",
        "params: [3]",
        "params: { width: { min: 3 } }",
        "augmentation: random_flip",
        "augmentation: [random_flp]",
        "augmentation: { flip: 3 }",
        "augmentation: { flips: true }",
        "augmentation: [random_rotation: { angle: 0.1 }]",
        "augmentation: [random_rotation: 1.5]",
        "augmentation: [random_flip: { mode: horizontl }]",
        "augmentation: [rand_augment: { layers: 0 }]",
        "augmentation: [rand_augment: { layers: 1.5 }]",
        "augmentation: [rand_augment: { from_epoch: { 0: 3 } }]",
        "augmentation: [rand_augment: { from_epoch: { 5: { strength: 3 } } }]",
        "augmentation: [{ random_flip: vertical, random_zoom: 0.2 }]",
        "train: { epochs: 0 }",
        "train: { epoch: 3 }",
        "train: { batch_size: -1 }",
        "train: { monitor: accuracy }",
        "train: { optimizer: adamw }",
        "train: { optimizer: { name: adam } }",
        "train: { optimizer: { name: sgd, beta_1: 0.9 } }",
        "train: { optimizer: { momentum: 0.9 } }",
        "train: { optimizer: { learning_rate: 0 } }",
        "train: { optimizer: { name: muon, others: { name: muon } } }",
        "train: { optimizer: { others: { name: sgd } } }",
        "train: { optimizer: { no_decay: bias } }",
        "train: { schedule: cosine }",
        "train: { schedule: { kind: cosin } }",
        "train: { schedule: { kind: cosine, gamma: 0.1 } }",
        "train: { schedule: { warmup_epochs: -1 } }",
        "train: { loss: mse }",
        "train: { loss: { label_smoothing: 1 } }",
        "train: { loss: { class_weights: [-1] } }",
        "train: { ema: 0.99 }",
        "train: { ema: { decy: 0.9 } }",
        "train: { stop: { max_time: soon } }",
        "train: { stop: { patience: 1.5 } }",
        "init: {}",
        "init: { weights: a, names: keras }",
        "init: { weights: a, freeze: { patterns: 3 } }",
        "sweep: { strategy: bayes }",
        "sweep: { stop: { rule: halving, factor: 1 } }",
        "sweep: { seeds: 0 }",
        "sweep: { executor: slrum }",
        "sweep: { executor: { name: slurm, cpu: 4 } }",
        "sweep: { executor: { name: slurm, memory: 8X } }",
        "sweep: { executor: { name: slurm, time: soon } }",
        "sweep: { executor: { cpus: 4 } }",
        "sweep: { zip: width }",
    ];
    for text in wrong.map(|rest| format!("{HEAD}{rest}\n")) {
        assert!(Experiment::parse("a.yaml", &text).is_err(), "the reader takes it: {text}");
        assert!(!validator.is_valid(&json_of(&text)), "the schema takes it: {text}");
    }
    for text in ["model: m.vitx\n", "model: m.vitx\ndata: { name: cifar11 }\n", "data: { name: digits }\n", "[]\n"] {
        assert!(Experiment::parse("a.yaml", text).is_err() && !validator.is_valid(&json_of(text)), "{text}");
    }
}

/// What the reader names where it is given a key that it does not know, all of it is what the schema has; at each mapping.
#[test]
fn every_key_that_is_read_is_in_the_schema() {
    let schema = schema();
    // A mapping with the unknown key, and where its schema is.
    let places = [
        ("KEY: 1", vec![]),
        ("data: { name: digits, KEY: 1 }", vec!["data"]),
        ("data: { name: digits, normalization: { KEY: 1 } }", vec!["data", "normalization"]),
        ("train: { KEY: 1 }", vec!["train"]),
        ("train: { optimizer: { KEY: 1 } }", vec!["train", "optimizer"]),
        ("train: { optimizer: { name: muon, others: { KEY: 1 } } }", vec!["train", "optimizer", "others"]),
        ("train: { schedule: { KEY: 1 } }", vec!["train", "schedule"]),
        ("train: { loss: { KEY: 1 } }", vec!["train", "loss"]),
        ("train: { ema: { KEY: 1 } }", vec!["train", "ema"]),
        ("train: { stop: { KEY: 1 } }", vec!["train", "stop"]),
        ("init: { KEY: 1 }", vec!["init"]),
        ("init: { weights: a, freeze: { KEY: 1 } }", vec!["init", "freeze"]),
        ("sweep: { KEY: 1 }", vec!["sweep"]),
        ("sweep: { stop: { KEY: 1 } }", vec!["sweep", "stop"]),
        ("sweep: { executor: { KEY: 1 } }", vec!["sweep", "executor"]),
        ("augmentation: { KEY: 1 }", vec!["augmentation"]),
    ];
    for (text, path) in places {
        let head = if path.first() == Some(&"data") { "model: m.vitx\n" } else { HEAD };
        let error =
            Experiment::parse("a.yaml", &format!("{head}{}\n", text.replace("KEY", "zzz"))).unwrap_err().to_string();
        assert!(error.contains("unknown field `zzz`"), "{text}: {error}");
        let mut known: Vec<String> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
        let mut keys = properties(&schema, &path);
        known.sort();
        known.dedup();
        keys.sort();
        keys.dedup();
        assert_eq!(keys, known, "{path:?}: left in the schema, right in the reader");
    }
}

/// The keys of the mapping at a path, in all forms that it has.
fn properties(root: &Value, path: &[&str]) -> Vec<String> {
    fn forms<'a>(root: &'a Value, schema: &'a Value, found: &mut Vec<&'a Value>) {
        if let Some(target) = schema["$ref"].as_str() {
            forms(root, root.pointer(target.trim_start_matches('#')).unwrap(), found);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            schema[key].as_array().into_iter().flatten().for_each(|inner| forms(root, inner, found));
        }
        if schema["additionalProperties"] == Value::Bool(false) {
            found.push(schema);
        }
    }
    let mut at = vec![root];
    for key in path {
        let mut found = Vec::new();
        at.iter().for_each(|schema| forms(root, schema, &mut found));
        at = found.iter().map(|schema| &schema["properties"][*key]).filter(|inner| !inner.is_null()).collect();
    }
    let mut found = Vec::new();
    at.iter().for_each(|schema| forms(root, schema, &mut found));
    found.iter().flat_map(|schema| schema["properties"].as_object().unwrap().keys().cloned()).collect()
}
