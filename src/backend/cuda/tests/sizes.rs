//! Images of several sizes.

use std::collections::BTreeMap;

use super::{distance, fit::fit_sizes, lowered, options, options_with, sines};
use crate::{
    backend::{
        Backend, Batch, Engine, EngineOptions, Step,
        cuda::{CudaEngine, device::Device, launch::Precision},
    },
    data::Augmentation,
    dsl::Source,
    graph::optimizers::Optimizer,
    model::{ImageSpec, elaborate},
    trial::history,
};

/// Images of two sizes train one set of parameters, as on the CPU.
pub(super) fn sizes_share_parameters<D: Device>(device: impl Fn() -> D) {
    let network = |[height, width]: [usize; 2]| {
        let text = "model m { conv2d(6, 3, padding = 1) batch_norm(momentum = 0.75) relu global_average_pool \
                    dense(num_classes) }";
        let spec = ImageSpec { height, width, channels: 2, num_classes: 5 };
        lowered(elaborate(&Source::new("m", text), &BTreeMap::new(), &spec).unwrap())
    };
    let optimizer = Optimizer { gradient_accumulation_steps: 2, ..Optimizer::default() };
    let options = EngineOptions { optimizer, ..options(Precision::F32) };
    let mut cpu = Backend::Cpu.engine(network([7, 6]), options.clone()).unwrap();
    let mut cuda = CudaEngine::new(network([7, 6]), options, device()).unwrap();
    cpu.add_size(network([5, 4])).unwrap();
    cuda.add_size(network([5, 4])).unwrap();
    for iteration in 0..4_u32 {
        let pixels = 2 * [7 * 6, 5 * 4][iteration as usize / 2 % 2];
        let images = sines(3 * pixels);
        let batch = Batch { images: &images, labels: &[0, 4, 2], mixed: None };
        let step = Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-2 };
        cuda.load_state(&cpu.state().unwrap()).unwrap();
        let (ours, theirs) = (cuda.train_step(&batch, &step).unwrap(), cpu.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
        for (ours, theirs) in cuda.state().unwrap().iter().zip(cpu.state().unwrap()) {
            assert!(ours.name.contains("bias") || distance(&ours.data, &theirs.data) < 1e-3, "{}", ours.name);
        }
        let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "evaluation {iteration}: {ours} {theirs}");
    }
}

/// Images that the device keeps are made as small there as the loader makes them; after an interruption as well.
pub(super) fn kept_images_are_made_smaller<D: Device>(device: impl Fn() -> D) {
    let network = |[height, width]: [usize; 2]| {
        let text = "model m { conv2d(6, 3, padding = 1) relu global_average_pool dense(num_classes) }";
        let spec = ImageSpec { height, width, channels: 2, num_classes: 5 };
        lowered(elaborate(&Source::new("m", text), &BTreeMap::new(), &spec).unwrap())
    };
    let augmentation: Augmentation = serde_yaml::from_str("[random_crop: 1, mixup: { until: 2 }]").unwrap();
    let sizes = [(0, (5, 4)), (1, (9, 6)), (2, (7, 3))];
    let optimizer = Optimizer { gradient_accumulation_steps: 2, ..Optimizer::default() };
    let options = || EngineOptions { optimizer: optimizer.clone(), ..options_with(Precision::F32, &augmentation) };
    let train = |engine: &mut dyn Engine, until: &[Option<u32>]| {
        engine.add_size(network([5, 4])).unwrap();
        engine.add_size(network([7, 3])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        until.iter().for_each(|until| fit_sizes(folder.path(), *until, engine, (&augmentation, 1), &sizes));
        (history::read(folder.path()).unwrap(), engine.state().unwrap())
    };
    let mut cpu = Backend::Cpu.engine(network([9, 6]), options()).unwrap();
    let (expected, expected_state) = train(cpu.as_mut(), &[None]);
    let new = || CudaEngine::new(network([9, 6]), options(), device()).unwrap();
    let (actual, state) = train(&mut new(), &[None]);
    let (_, interrupted) = train(&mut new(), &[Some(1), Some(2), None]);
    assert!(state == interrupted && actual.len() == 3);
    for (actual, expected) in actual.iter().zip(&expected) {
        assert!((actual.loss - expected.loss).abs() < 1e-4 * expected.loss, "{actual:?} {expected:?}");
        assert_eq!((actual.accuracy, actual.val_accuracy), (expected.accuracy, expected.val_accuracy));
    }
    for (ours, theirs) in state.iter().zip(&expected_state) {
        assert!(distance(&ours.data, &theirs.data) < 2e-3, "{}: {}", ours.name, distance(&ours.data, &theirs.data));
    }
}
