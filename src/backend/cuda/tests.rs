//! Whole programs on the emulated device: the very kernels and the very plan, against Keras' fixtures and the CPU
//! backend.

mod best_weights;
mod convolutions;
mod early;
mod fit;
mod heads;
mod kept_images;
mod lines;
mod losses;
mod memory;
mod networks;
mod on_a_device;
mod on_the_host;
mod operators;
mod optimizers;
mod packed;
mod pictures;
pub mod reference_model;
#[cfg(target_os = "linux")]
mod simulated;
mod sizes;
mod steps;

use std::collections::BTreeMap;

use super::{CudaEngine, device::Device, emulated::Emulated, launch::Precision};
use crate::{
    backend::{Backend, Engine, EngineOptions, Regions},
    data::Augmentation,
    dsl::Source,
    graph::{losses::Loss, optimizers::Optimizer},
    model::{Architecture, ImageSpec, elaborate},
    passes::Lowering,
};

const MODEL: &str = include_str!("../../../tests/support/small.vitx");

/// Of an engine that trains with an augmentation.
fn options_with(precision: Precision, augmentation: &Augmentation) -> EngineOptions {
    let loss = Loss::default().of_mixed(augmentation.mixing().is_some());
    EngineOptions { loss, ..options(precision) }
}

fn options(precision: Precision) -> EngineOptions {
    EngineOptions {
        optimizer: Optimizer::default(),
        loss: Loss::default(),
        seed: 3,
        threads: 2,
        precision,
        regions: Regions::Off,
    }
}

fn engine<D: Device>(architecture: Architecture, precision: Precision, device: D) -> CudaEngine<D> {
    CudaEngine::new(lowered(architecture), options(precision), device).unwrap()
}

fn small() -> Architecture {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    elaborate(&Source::new("small", MODEL), &BTreeMap::new(), &spec).unwrap()
}

fn on_cpu(architecture: Architecture) -> Box<dyn Engine> {
    Backend::Cpu.engine(lowered(architecture), options(Precision::F32)).unwrap()
}

fn lowered(architecture: Architecture) -> Box<Lowering> {
    Box::new(move |builder, batch| architecture.lower(builder, batch))
}

/// So many values that stand for pixels.
fn sines(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index as f32 * 0.37).sin()).collect()
}

/// Distance of two tensors relative to the second's norm.
fn distance(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let difference: f32 = actual.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
    let norm: f32 = expected.iter().map(|value| value * value).sum();
    (difference.sqrt() - 1e-6).max(0.0) / norm.sqrt().max(1e-6)
}
