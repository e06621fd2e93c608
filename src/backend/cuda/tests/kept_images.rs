//! Images that the device keeps.

use super::{
    distance,
    fit::{AUGMENTATION, fit},
    lowered, options_with, small,
};
use crate::{
    backend::{
        Backend, EngineOptions,
        cuda::{CudaEngine, device::Device, launch::Precision},
    },
    data::Augmentation,
    graph::optimizers::Optimizer,
};

/// Epochs on images that the device keeps: the order, the augmentation and the masks are those of the CPU backend,
/// whose loop makes the batches.
pub(super) fn trains_on_kept_images<D: Device>(device: impl Fn() -> D) {
    let list = "[random_crop: { padding: 1, from_epoch: { 1: 2, 2: false } }, mixup, cutmix: { until: 2 }]";
    // Eight steps in three epochs: sums go on from epoch to epoch.
    let listed = || serde_yaml::from_str(list).unwrap();
    for (augmentation, repeats, gradient_accumulation_steps) in
        [(AUGMENTATION, 1, 1), (listed(), 1, 1), (AUGMENTATION, 1, 2), (AUGMENTATION, 2, 1), (listed(), 3, 1)]
    {
        trains_on_kept_images_with(&device, &augmentation, repeats, gradient_accumulation_steps);
    }
}

fn trains_on_kept_images_with<D: Device>(
    device: impl Fn() -> D,
    augmentation: &Augmentation,
    repeats: u32,
    gradient_accumulation_steps: u32,
) {
    let optimizer = Optimizer { gradient_accumulation_steps, ..Optimizer::default() };
    let options = || EngineOptions { optimizer: optimizer.clone(), ..options_with(Precision::F32, augmentation) };
    let lowering = || lowered(small());
    let mut cpu = Backend::Cpu.engine(lowering(), options()).unwrap();
    let (expected, expected_state) = fit(cpu.as_mut(), augmentation, repeats);
    let mut cuda = CudaEngine::new(lowering(), options(), device()).unwrap();
    let (actual, actual_state) = fit(&mut cuda, augmentation, repeats);
    assert_eq!(actual.len(), 3);
    for (actual, expected) in actual.iter().zip(&expected) {
        assert!((actual.loss - expected.loss).abs() < 1e-4 * expected.loss, "{actual:?} {expected:?}");
        let (ours, theirs) = (actual.val_loss.unwrap(), expected.val_loss.unwrap());
        assert!((ours - theirs).abs() < 1e-4 * theirs, "{actual:?} {expected:?}");
        assert_eq!((actual.accuracy, actual.val_accuracy), (expected.accuracy, expected.val_accuracy));
        assert_eq!((actual.top_5_accuracy, actual.learning_rate), (expected.top_5_accuracy, expected.learning_rate));
    }
    for (ours, theirs) in actual_state.iter().zip(&expected_state) {
        if !ours.name.ends_with("key/bias") {
            assert!(distance(&ours.data, &theirs.data) < 2e-3, "{}: {}", ours.name, distance(&ours.data, &theirs.data));
        }
    }
}
