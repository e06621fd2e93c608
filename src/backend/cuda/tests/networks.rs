//! Whole networks: as in Keras' fixtures, and as on the CPU backend.

#[path = "../../../../tests/support/keras.rs"]
#[allow(dead_code)]
mod keras;

use std::collections::BTreeMap;

use super::{distance, engine, lowered, on_cpu, options, sines, small};
use crate::{
    backend::{
        Backend, Batch, Engine, EngineOptions, StateTensor, Step,
        cuda::{CudaEngine, device::Device, launch::Precision},
    },
    dsl::{Source, Value},
    graph::optimizers::{self, Ema, Optimizer},
    model::{ImageSpec, elaborate},
};

/// Keras' fixtures.
pub(super) fn keras_fixtures<D: Device + 'static>(device: impl Fn() -> D) {
    for path in keras::fixtures() {
        keras::check(&path, |architecture| Box::new(engine(architecture, Precision::F32, device())));
    }
}

/// Steps with dropout, and gradients, as of the CPU backend.
pub(super) fn trains_as_the_cpu_backend_does<D: Device>(device: impl Fn() -> D) {
    let mut cpu = on_cpu(small());
    let mut cuda = engine(small(), Precision::F32, device());
    assert_eq!(cuda.state().unwrap(), cpu.state().unwrap());
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images = sines(labels.len() * 108);
    for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
        let batch = Batch { images: &images[..count * 108], labels: &labels[..count], mixed: None };
        let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
        let (ours, theirs) = (cuda.train_step(&batch, &step).unwrap(), cpu.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        assert!(distance(cuda.logits(), cpu.logits()) < 1e-4, "logits of step {iteration}");
    }
    for (ours, theirs) in cuda.state().unwrap().iter().zip(cpu.state().unwrap()) {
        assert_eq!(ours.name, theirs.name);
        // A key bias has a gradient of exactly zero in theory: Adam turns rounding into steps.
        if !ours.name.ends_with("key/bias") {
            assert!(distance(&ours.data, &theirs.data) < 1e-3, "{}", ours.name);
        }
    }
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    for (ours, theirs) in cuda.inspect().gradients(&batch).unwrap().iter().zip(cpu.inspect().gradients(&batch).unwrap())
    {
        assert!(distance(&ours.data, &theirs.data) < 2e-3, "gradient of {}", ours.name);
    }
}

/// A network whose batches are normalised, and which evaluates by moving averages.
pub(super) fn convolutions_train_as_on_the_cpu_backend<D: Device>(device: impl Fn() -> D) {
    let spec = ImageSpec { height: 9, width: 9, channels: 2, num_classes: 5 };
    let text = include_str!("../../../../tests/support/convolutional.vitx");
    let network = || elaborate(&Source::new("convolutional", text), &BTreeMap::new(), &spec).unwrap();
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images = sines(labels.len() * 162);
    let muon = Optimizer {
        clip_norm: Some(0.1),
        ema: Some(Ema { decay: 0.5, warmup: false, evaluate: true }),
        ..Optimizer::of(optimizers::find("muon").unwrap())
    };
    for optimizer in [Optimizer::default(), muon] {
        let lowering = || lowered(network());
        let options = || EngineOptions { optimizer: optimizer.clone(), ..options(Precision::F32) };
        let mut cpu = Backend::Cpu.engine(lowering(), options()).unwrap();
        let mut cuda = CudaEngine::new(lowering(), options(), device()).unwrap();
        assert_eq!(cuda.state().unwrap(), cpu.state().unwrap());
        for (iteration, count) in [7, 3, 7].into_iter().enumerate() {
            let batch = Batch { images: &images[..count * 162], labels: &labels[..count], mixed: None };
            let step = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-3 };
            let (ours, theirs) = (cuda.train_step(&batch, &step).unwrap(), cpu.train_step(&batch, &step).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
            let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
        }
        for (ours, theirs) in cuda.state().unwrap().iter().zip(cpu.state().unwrap()) {
            assert_eq!(ours.name, theirs.name);
            // A bias before a normalisation has a gradient of exactly zero in theory: Adam turns rounding into steps.
            if !ours.name.contains("bias") {
                assert!(distance(&ours.data, &theirs.data) < 2e-3, "{} {}", optimizer.rule.name, ours.name);
            }
        }
    }
}

/// A block between convolutions, so short that little rounding to bfloat16 adds up.
const SHORT: &str = "model short(image_size = 8) {
    conv2d(8, 3) -> relu
    residual { conv2d(16, 3) -> batch_norm -> relu -> conv2d(8, 3) -> batch_norm }
    relu
    conv2d(8, 3) -> gelu
    global_average_pool
    dense(num_classes)
}";

/// What is fused around batch norm and convolutions: gradients are the CPU's.
pub(super) fn residual_networks_have_the_gradients_of_the_cpu_backend<D: Device>(device: impl Fn() -> D) {
    let spec = ImageSpec { height: 8, width: 8, channels: 3, num_classes: 5 };
    let resnet = include_str!("../../../../experiments/zoo/resnet_speedrun.vitx");
    let hybrid = include_str!("../../../../experiments/zoo/hybrid.vitx");
    let small_hybrid: &[(&str, i64)] = &[("dim", 16), ("depth", 2), ("num_heads", 2), ("drop", 0)];
    // In bfloat16 the rounding of fourteen batch norms behind one another hides everything.
    let networks = [
        ("short", SHORT, &[][..], [Precision::F32, Precision::Bf16].as_slice()),
        ("resnet_speedrun", resnet, &[("width", 8)], &[Precision::F32]),
        ("hybrid", hybrid, small_hybrid, &[Precision::F32, Precision::Bf16]),
    ];
    let labels = [0, 4, 2, 1, 3, 0];
    let images = sines(labels.len() * 192);
    let batch = Batch { images: &images, labels: &labels, mixed: None };
    for (name, text, parameters, precisions) in networks {
        let parameters = parameters.iter().chain(&[("image_size", 8)]);
        let parameters = parameters.map(|&(name, value)| (name.to_owned(), Value::Int(value))).collect();
        let lowering = || lowered(elaborate(&Source::new(name, text), &parameters, &spec).unwrap());
        let mut cpu = Backend::Cpu.engine(lowering(), options(Precision::F32)).unwrap();
        let expected = cpu.inspect().gradients(&batch).unwrap();
        for &precision in precisions {
            let mut cuda = CudaEngine::new(lowering(), options(precision), device()).unwrap();
            let actual = cuda.inspect().gradients(&batch).unwrap();
            let tolerance = if precision == Precision::F32 { 1e-3 } else { 0.2 };
            // A bias before a normalisation, or of the keys, has a gradient of exactly zero in theory.
            let size = |tensor: &StateTensor| tensor.data.iter().map(|value| value * value).sum::<f32>().sqrt();
            for (actual, expected) in actual.iter().zip(&expected).filter(|(_, expected)| size(expected) > 1e-5) {
                assert_eq!(actual.name, expected.name);
                let distance = distance(&actual.data, &expected.data);
                assert!(distance < tolerance, "{name} {precision:?} {}: {distance}", actual.name);
            }
        }
    }
}
