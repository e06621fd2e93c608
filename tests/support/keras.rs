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

/// The network of a fixture: that whose text it has, or the reference model with its configuration, dropout off.
pub fn architecture(metadata: &HashMap<String, String>, file: &SafeTensors) -> Architecture {
    if let Some(text) = metadata.get("model") {
        let (images, logits) = (file.tensor("images").unwrap(), file.tensor("logits").unwrap());
        let &[_, height, width, channels] = images.shape() else { panic!("images {:?}", images.shape()) };
        let data = ImageSpec { height, width, channels, num_classes: logits.shape()[1] };
        return elaborate(&Source::new("parity.vitx", text.as_str()), &BTreeMap::new(), &data).unwrap();
    }
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

/// What a fixture of the reference model calls a parameter: `transformer_block0/mlp/dense1/kernel` is `block0/mlp1/kernel`,
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

/// What a fixture calls a parameter: one that has the text of its network, by the same name.
fn name_in(file: &SafeTensors, name: &str) -> String {
    let own = file.names().into_iter().any(|known| known.strip_prefix("weight/") == Some(name));
    if own { name.to_owned() } else { fixture_name(name) }
}

/// Gives an engine a fixture's weights.
pub fn load_weights(engine: &mut dyn Engine, file: &SafeTensors) {
    let weights: Vec<StateTensor> = engine
        .state()
        .unwrap()
        .into_iter()
        .filter(|tensor| !tensor.name.starts_with("optimizer/"))
        .map(|tensor| StateTensor { data: floats(file, &format!("weight/{}", name_in(file, &tensor.name))), ..tensor })
        .collect();
    let given = file.names().into_iter().filter(|name| name.starts_with("weight/")).count();
    assert_eq!(weights.len(), given, "the model has other parameters than the fixture");
    engine.load_state(&weights).unwrap();
}

/// Logits, loss, gradients, moving averages, and three AdamW steps against a fixture, by an engine that `make` makes of
/// its model.
pub fn check(path: &Path, make: impl FnOnce(Architecture) -> Box<dyn Engine>) {
    let bytes = std::fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let architecture = architecture(metadata.metadata().as_ref().unwrap(), &file);
    let (images, labels) = (floats(&file, "images"), labels(&file));
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    let mut engine = make(architecture);
    load_weights(engine.as_mut(), &file);
    let at = |what: &str| format!("{}: {what}", path.display());

    // Of a network without batch normalization, evaluation is what training is.
    let has = |name: &str| file.tensor(name).is_ok();
    let evaluated = if has("eval/logits") { "eval/logits" } else { "logits" };
    engine.evaluate(&batch).unwrap();
    assert_near(&at(evaluated), engine.logits(), &floats(&file, evaluated), 1e-5, 0.0);
    // Whose gradient is zero in theory, as that of a bias before a normalization: Adam turns rounding into steps.
    let mut without_gradient = Vec::new();
    for gradient in engine.inspect().gradients(&batch).unwrap() {
        let expected = format!("grad/{}", name_in(&file, &gradient.name));
        // Moving averages have none.
        if has(&expected) || !has(&format!("moved/{}", gradient.name)) {
            let expected = floats(&file, &expected);
            assert_near(&at(&gradient.name), &gradient.data, &expected, 1e-4, 3e-6);
            if distance(&expected, &vec![0.0; expected.len()]).0 < 1e-5 {
                without_gradient.push(gradient.name);
            }
        }
    }
    assert_near(&at("logits"), engine.logits(), &floats(&file, "logits"), 1e-5, 0.0);
    let mut last = 0.0;
    for step in 0..3 {
        last = engine
            .train_step(&batch, &Step { epoch: 0, step, iteration: u64::from(step), learning_rate: 1e-3 })
            .unwrap();
        if step == 0 {
            assert_near(&at("loss"), &[last], &floats(&file, "loss"), 1e-5, 0.0);
            for tensor in engine.weights().unwrap() {
                let expected = format!("moved/{}", tensor.name);
                if has(&expected) {
                    assert_near(&at(&expected), &tensor.data, &floats(&file, &expected), 1e-5, 1e-6);
                }
            }
        }
    }
    assert_near(&at("step3/loss"), &[last], &floats(&file, "step3/loss"), 1e-4, 0.0);
    for tensor in engine.state().unwrap() {
        let zero = tensor.name.ends_with("key/bias") || without_gradient.contains(&tensor.name);
        if tensor.name.starts_with("optimizer/") || zero {
            continue;
        }
        let expected = floats(&file, &format!("step3/{}", name_in(&file, &tensor.name)));
        assert_near(&at(&tensor.name), &tensor.data, &expected, 1e-4, 1e-6);
    }
}
