//! Losses and their options.

use super::{lowered, options, sines, small};
use crate::{
    backend::{
        Backend, Batch, Engine, EngineOptions, Step,
        cuda::{CudaEngine, device::Device, launch::Precision},
    },
    data::Mixed,
    graph::losses::{LOSSES, Loss},
};

/// Training minimises the loss with its options; evaluation has the plain one.
pub(super) fn losses_with_options_train_as_the_cpu_backend_does<D: Device>(device: impl Fn() -> D) {
    let lowering = || lowered(small());
    let images = sines(5 * 108);
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let others = [(3, 0.25), (4, 0.5), (0, 0.0), (1, 1.0), (2, 0.8)];
    let others = others.map(|(label, weight)| Mixed { label, weight });
    let cases = [(0.3, false, false), (0.0, true, false), (0.3, true, false), (0.0, false, true), (0.3, true, true)];
    let kinds = LOSSES.iter().flat_map(|kind| cases.map(|case| (kind, case)));
    for (kind, (smoothing, mixed, weighted)) in kinds {
        let weights = || weighted.then(|| [0.5, 2.0, 0.0, 1.0, 3.0].into());
        let loss = Loss::of(kind).with("label_smoothing", smoothing).of_mixed(mixed).of_classes(weights());
        let options = || EngineOptions { loss: loss.clone(), ..options(Precision::F32) };
        let mut cpu = Backend::Cpu.engine(lowering(), options()).unwrap();
        let mut cuda = CudaEngine::new(lowering(), options(), device()).unwrap();
        let trained = Batch { mixed: mixed.then_some(&others[..]), ..batch };
        for iteration in 0..3 {
            let step = Step { epoch: 0, step: iteration as u32, iteration, learning_rate: 1e-3 };
            let (ours, theirs) = (cuda.train_step(&trained, &step).unwrap(), cpu.train_step(&trained, &step).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
            let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
        }
    }
}
