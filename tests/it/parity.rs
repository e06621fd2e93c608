//! The seed model, and any network whose text a fixture has, against Keras: logits, loss, gradients, and three AdamW steps, for every
//! `*.safetensors` in `tests/fixtures/parity/` and in the folder that `VITX_PARITY_DIR` names.

use safetensors::SafeTensors;
use vitx::{
    backend::{Batch, Engine, EngineOptions, Precision, Regions, Step, cpu::CpuEngine},
    data::resize::resize,
    graph::{losses::Loss, optimizers::Optimizer},
    model::Architecture,
};

use crate::keras::{self, architecture, fixtures, floats, labels, load_weights};

fn engine(architecture: Architecture, threads: usize) -> CpuEngine {
    let options = EngineOptions {
        optimizer: Optimizer::default(),
        loss: Loss::default(),
        seed: 1,
        threads,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    CpuEngine::new(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
}

#[test]
fn keras_fixtures() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty());
    for path in fixtures {
        keras::check(&path, |architecture| Box::new(engine(architecture, 2)));
    }
}

#[test]
fn resizing() {
    for path in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let Ok(picture) = file.tensor("resize/in") else { continue };
        let expected = file.tensor("resize/out").unwrap();
        let size = |shape: &[usize]| (shape[1], shape[2]);
        let (from, to, channels) = (size(picture.shape()), size(expected.shape()), picture.shape()[3]);
        let actual = resize(&floats(&file, "resize/in"), from, channels, to);
        for (index, (actual, expected)) in actual.iter().zip(floats(&file, "resize/out")).enumerate() {
            assert!(
                (actual - expected).abs() <= 0.255,
                "{}: element {index}: {actual}, not {expected}",
                path.display()
            );
        }
    }
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    for path in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = metadata.metadata().as_ref().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let images: Vec<f32> = floats(&file, "images").repeat(20);
        let labels = labels(&file).repeat(20);
        let run = |threads| {
            let mut engine = engine(architecture(metadata, &file), threads);
            load_weights(&mut engine, &file);
            for (step, count) in [40, 37, 1].into_iter().enumerate() {
                let pixels = images.len() / labels.len();
                let batch = Batch { images: &images[..count * pixels], labels: &labels[..count], mixed: None };
                let step = Step { epoch: 0, step: step as u32, iteration: step as u64, learning_rate: 1e-3 };
                engine.train_step(&batch, &step).unwrap();
            }
            engine.state().unwrap()
        };
        assert_eq!(run(1), run(2), "{}", path.display());
    }
}
