//! The best weights, which wait on the device where there is room.

use super::{
    Emulated, engine,
    fit::{AUGMENTATION, fit, fit_in},
    sines, small,
};
use crate::{
    backend::{
        Batch, Engine, OPTIMIZER, Step,
        cuda::{device::Device, emulated::READ, launch::Precision},
    },
    train::Monitor,
    trial::{Directory, checkpoint},
};

/// A device that has no room for them.
pub(super) fn full() -> Emulated {
    Emulated { no_room_for: Some("the best weights"), ..Emulated::default() }
}

/// The best weights wait on the device: what is written is the same as where there is no room for them, after an
/// interruption as well, and is read back once.
pub(super) fn best_weights_stay_on_the_device<D: Device>(device: impl Fn() -> D, without_room: impl Fn() -> D) {
    let train = |device: &dyn Fn() -> D, pauses: &[u32]| {
        let folder = tempfile::tempdir().unwrap();
        for until in pauses.iter().map(|pause| Some(*pause)).chain([None]) {
            fit_in(folder.path(), until, &mut engine(small(), Precision::Bf16, device()), &AUGMENTATION);
        }
        let directory = Directory::new(folder.path());
        [directory.best(), directory.last()].map(|path| {
            let (progress, tensors) = checkpoint::load(&path).unwrap();
            (progress.epoch, progress.best, tensors)
        })
    };
    let expected = train(&without_room, &[]);
    assert!(expected[0].2.iter().all(|tensor| !tensor.name.starts_with(OPTIMIZER)) && expected[1].0 == 3);
    for pauses in [&[][..], &[1], &[2], &[1, 2]] {
        assert_eq!(train(&device, pauses), expected, "{pauses:?}");
    }
    let mut engine = engine(small(), Precision::Bf16, device());
    let begin = engine.weights().unwrap();
    let resident = engine.resident().unwrap();
    assert_eq!(resident.kept_weights().unwrap_err().to_string(), "no weights are kept");
    assert!(resident.keep_weights().unwrap());
    let images = sines(3 * 108);
    let step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 };
    engine.train_step(&Batch { images: &images, labels: &[0, 4, 2], mixed: None }, &step).unwrap();
    assert_eq!(engine.resident().unwrap().kept_weights().unwrap(), begin);
    assert_ne!(engine.weights().unwrap(), begin);
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn best_weights_are_read_when_they_are_saved() {
    let read = |device: Emulated| {
        let mut engine = engine(small(), Precision::F32, device);
        let before = READ.get();
        let (epochs, _) = fit(&mut engine, &AUGMENTATION, 1);
        (READ.get() - before, size_of::<f32>() * engine.layout.len(), epochs)
    };
    let ((few, group, epochs), (many, ..)) = (read(Emulated::default()), read(full()));
    let mut best = &epochs[0];
    let mut improvements = 1;
    for epoch in &epochs[1..] {
        if Monitor::default().better(epoch, best) {
            (best, improvements) = (epoch, improvements + 1);
        }
    }
    assert!(improvements > 1, "{epochs:?}");
    // Where they cannot stay there, each is read; otherwise only the last of them.
    assert_eq!(many - few, (improvements - 1) * group);
}
