//! The seed model against Keras: logits, loss, gradients, and three AdamW steps, for every
//! `*.safetensors` in `tests/fixtures/parity/` and in the folder that `VITX_PARITY_DIR` names.

#[path = "common/seed.rs"]
mod seed;

use std::{collections::HashMap, path::PathBuf};

use safetensors::SafeTensors;
use seed::Config;
use vitx::backend::{AdamW, Batch, Engine, EngineOptions, StateTensor, Step, cpu::CpuEngine};

fn config(metadata: &HashMap<String, String>) -> Config {
    let number = |key: &str| metadata[key].parse().unwrap();
    let head = metadata["head"].trim_matches(['[', ']']).split(',').filter(|text| !text.trim().is_empty());
    Config {
        image: number("image"),
        patch: number("patch"),
        dim: number("dim"),
        heads: number("heads"),
        depth: number("depth"),
        classes: number("classes"),
        dropout: 0.0,
        head: head.map(|text| text.trim().parse().unwrap()).collect(),
    }
}

fn fixtures() -> Vec<PathBuf> {
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity");
    let folders = std::iter::once(shipped).chain(std::env::var_os("VITX_PARITY_DIR").map(PathBuf::from));
    folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect()
}

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn labels(file: &SafeTensors) -> Vec<u32> {
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

fn assert_near(what: &str, actual: &[f32], expected: &[f32], relative: f64, floor: f64) {
    let (difference, norm) = distance(actual, expected);
    assert!(difference <= relative * norm + floor, "{what}: off by {difference:e} of {norm:e}");
}

fn engine(config: &Config, file: &SafeTensors, threads: usize) -> CpuEngine {
    let lowered = config.clone();
    let options = EngineOptions { optimizer: AdamW::default(), seed: 1, threads };
    let mut engine = CpuEngine::new(Box::new(move |b, batch| lowered.lower(b, batch)), options).unwrap();
    let weights: Vec<StateTensor> = engine
        .state()
        .into_iter()
        .filter(|tensor| !tensor.name.starts_with("adamw/"))
        .map(|tensor| StateTensor { data: floats(file, &format!("weight/{}", tensor.name)), ..tensor })
        .collect();
    engine.load_state(&weights).unwrap();
    engine
}

#[test]
fn keras() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty());
    for path in fixtures {
        let bytes = std::fs::read(&path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = config(metadata.metadata().as_ref().unwrap());
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (images, labels) = (floats(&file, "images"), labels(&file));
        let batch = Batch { images: &images, labels: &labels };
        let mut engine = engine(&config, &file, 2);
        let at = |what: &str| format!("{}: {what}", path.display());

        let loss = engine.evaluate(&batch).unwrap();
        assert_near(&at("loss"), &[loss], &floats(&file, "loss"), 1e-5, 0.0);
        assert_near(&at("logits"), engine.logits(), &floats(&file, "logits"), 1e-5, 0.0);
        for gradient in engine.gradients(&batch).unwrap() {
            let expected = floats(&file, &format!("grad/{}", gradient.name));
            assert_near(&at(&gradient.name), &gradient.data, &expected, 1e-4, 1e-6);
        }
        let mut last = 0.0;
        for step in 0..3 {
            let step = Step { epoch: 0, step, iteration: u64::from(step), learning_rate: 1e-3 };
            last = engine.train_step(&batch, &step).unwrap();
        }
        assert_near(&at("step3/loss"), &[last], &floats(&file, "step3/loss"), 1e-4, 0.0);
        for tensor in engine.state() {
            // A key bias has a gradient of exactly zero in theory: Adam turns rounding into steps.
            if tensor.name.starts_with("adamw/") || tensor.name.ends_with("key/bias") {
                continue;
            }
            let expected = floats(&file, &format!("step3/{}", tensor.name));
            assert_near(&at(&tensor.name), &tensor.data, &expected, 1e-4, 1e-6);
        }
    }
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let path = &fixtures()[0];
    let bytes = std::fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let config = config(metadata.metadata().as_ref().unwrap());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let images: Vec<f32> = floats(&file, "images").repeat(10);
    let labels = labels(&file).repeat(10);
    let run = |threads| {
        let mut engine = engine(&config, &file, threads);
        for (step, count) in [40, 37, 1].into_iter().enumerate() {
            let pixels = images.len() / labels.len();
            let batch = Batch { images: &images[..count * pixels], labels: &labels[..count] };
            let step = Step { epoch: 0, step: step as u32, iteration: step as u64, learning_rate: 1e-3 };
            engine.train_step(&batch, &step).unwrap();
        }
        engine.state()
    };
    assert_eq!(run(1), run(2));
}
