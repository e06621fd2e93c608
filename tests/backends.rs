//! The backends agree: the same seed gives the same initial weights, the same dropout masks, and,
//! up to rounding, the same training.

use std::collections::BTreeMap;

use vitx::{
    backend::{AdamW, Backend, Batch, Engine, EngineOptions, Step},
    dsl::Source,
    model::{ImageSpec, elaborate},
};

const MODEL: &str = "model small(dim = 12) {
    patches(3)
    patch_encoder(dim)
    repeat transformer_block(2, key_dim = 5, units = [dim * 2, dim], dropout = 0.1) ×2
    layer_norm
    flatten
    dropout(0.3)
    mlp([17], dropout = 0.2)
    dense(num_classes)
}";

fn engine(backend: Backend) -> Box<dyn Engine> {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    let architecture = elaborate(&Source::new("small", MODEL), &BTreeMap::new(), &spec).unwrap();
    let options = EngineOptions { optimizer: AdamW::default(), seed: 3, threads: 2 };
    backend.engine(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
}

#[test]
fn the_cpu_backend_trains_as_the_reference_does() {
    let (mut cpu, mut reference) = (engine(Backend::Cpu), engine(Backend::Reference));
    assert_eq!(cpu.state(), reference.state());
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * 108).map(|index| (index as f32 * 0.37).sin()).collect();
    for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 108], labels: &labels[..count] };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        let (ours, theirs) = (cpu.train_step(&batch, &step).unwrap(), reference.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
    }
    let batch = Batch { images: &images, labels: &labels };
    for (ours, theirs) in cpu.gradients(&batch).unwrap().iter().zip(reference.gradients(&batch).unwrap()) {
        assert_eq!(ours.name, theirs.name);
        let norm = theirs.data.iter().map(|value| value * value).sum::<f32>().sqrt();
        let distance = ours.data.iter().zip(&theirs.data).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        assert!(distance <= 2e-3 * norm + 1e-5, "{}: {distance} of {norm}", ours.name);
    }
}
