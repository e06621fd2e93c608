//! What tests of a backend against Keras' fixtures share: `*.safetensors` in `tests/fixtures/parity/` and in the
//! folder that `VITX_PARITY_DIR` names.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use vitx::{
    backend::{Batch, Engine, StateTensor, Step},
    dsl::Source,
    model::{Architecture, ImageSpec, elaborate},
};

/// The reference model with the configuration of a fixture, dropout off.
pub fn architecture(metadata: &HashMap<String, String>) -> Architecture {
    let number = |key: &str| metadata[key].parse::<usize>().unwrap();
    let head = metadata["head"].trim_matches(['[', ']']);
    let head = if head.trim().is_empty() { String::new() } else { format!("head: mlp([{head}])") };
    let text = format!(
        "model vit(patch_size = {}, projection_dim = {}, num_heads = {}, depth = {}) {{
            patches(patch_size)
            patch_encoder(projection_dim)
            repeat transformer_block(
                num_heads,
                key_dim = projection_dim,
                units = [projection_dim * 2, projection_dim],
            ) ×depth
            norm: layer_norm(epsilon = 1e-6)
            flatten
            {head}
            classify: dense(num_classes)
        }}",
        number("patch"),
        number("dim"),
        number("heads"),
        number("depth"),
    );
    let image = number("image");
    let data = ImageSpec { height: image, width: image, channels: 3, num_classes: number("classes") };
    elaborate(&Source::new("parity.vitx", text), &BTreeMap::new(), &data).unwrap()
}

/// What the fixture calls a parameter: `transformer_block0/mlp/dense1/kernel` is `block0/mlp1/kernel`,
/// `head/dense0/bias` is `head0/bias`. A number that is not there is a 0: there is only one.
fn fixture_name(name: &str) -> String {
    let numbered = |part: &str, prefix: &str| {
        let number = part.strip_prefix(prefix)?;
        Some(if number.is_empty() { "0".to_owned() } else { number.to_owned() })
    };
    let parts: Vec<&str> = name.split('/').collect();
    let mut out: Vec<String> = Vec::new();
    for part in parts {
        match (out.last().map(String::as_str), numbered(part, "transformer_block"), numbered(part, "dense")) {
            (_, Some(number), _) => out.push(format!("block{number}")),
            (Some("mlp" | "head"), _, Some(number)) => {
                let last = out.pop().unwrap();
                out.push(format!("{last}{number}"));
            }
            _ => out.push(part.to_owned()),
        }
    }
    out.join("/")
}

pub fn fixtures() -> Vec<PathBuf> {
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity");
    let folders = std::iter::once(shipped).chain(std::env::var_os("VITX_PARITY_DIR").map(PathBuf::from));
    folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect()
}

pub fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

pub fn labels(file: &SafeTensors) -> Vec<u32> {
    let bytes = file.tensor("labels").unwrap().data();
    bytes.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32).collect()
}

/// Distance of two tensors relative to the expected one's norm.
fn distance(actual: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(a, e)| f64::from(a - e)));
    (difference, norm(&mut expected.iter().map(|e| f64::from(*e))))
}

pub fn assert_near(what: &str, actual: &[f32], expected: &[f32], relative: f64, floor: f64) {
    let (difference, norm) = distance(actual, expected);
    assert!(difference <= relative * norm + floor, "{what}: off by {difference:e} of {norm:e}");
}

/// Gives an engine a fixture's weights.
pub fn load_weights(engine: &mut dyn Engine, file: &SafeTensors) {
    let weights: Vec<StateTensor> = engine
        .state()
        .unwrap()
        .into_iter()
        .filter(|tensor| !tensor.name.starts_with("optimizer/"))
        .map(|tensor| StateTensor { data: floats(file, &format!("weight/{}", fixture_name(&tensor.name))), ..tensor })
        .collect();
    let given = file.names().into_iter().filter(|name| name.starts_with("weight/")).count();
    assert_eq!(weights.len(), given, "the model has other parameters than the fixture");
    engine.load_state(&weights).unwrap();
}

/// Logits, loss, gradients, and three AdamW steps against a fixture, by an engine that `make` makes of its model.
pub fn check(path: &Path, make: impl FnOnce(Architecture) -> Box<dyn Engine>) {
    let bytes = std::fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let architecture = architecture(metadata.metadata().as_ref().unwrap());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (images, labels) = (floats(&file, "images"), labels(&file));
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    let mut engine = make(architecture);
    load_weights(engine.as_mut(), &file);
    let at = |what: &str| format!("{}: {what}", path.display());

    let loss = engine.evaluate(&batch).unwrap();
    assert_near(&at("loss"), &[loss], &floats(&file, "loss"), 1e-5, 0.0);
    assert_near(&at("logits"), engine.logits(), &floats(&file, "logits"), 1e-5, 0.0);
    for gradient in engine.inspect().gradients(&batch).unwrap() {
        let expected = floats(&file, &format!("grad/{}", fixture_name(&gradient.name)));
        assert_near(&at(&gradient.name), &gradient.data, &expected, 1e-4, 1e-6);
    }
    let mut last = 0.0;
    for step in 0..3 {
        let step = Step { epoch: 0, step, iteration: u64::from(step), learning_rate: 1e-3 };
        last = engine.train_step(&batch, &step).unwrap();
    }
    assert_near(&at("step3/loss"), &[last], &floats(&file, "step3/loss"), 1e-4, 0.0);
    for tensor in engine.state().unwrap() {
        // A key bias has a gradient of exactly zero in theory: Adam turns rounding into steps.
        if tensor.name.starts_with("optimizer/") || tensor.name.ends_with("key/bias") {
            continue;
        }
        let expected = floats(&file, &format!("step3/{}", fixture_name(&tensor.name)));
        assert_near(&at(&tensor.name), &tensor.data, &expected, 1e-4, 1e-6);
    }
}
