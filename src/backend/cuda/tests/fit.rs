//! Trainings of the small network from images to a folder.

use std::path::Path;

use crate::{
    backend::{Engine, StateTensor},
    data::{Augmentation, Keys, Pipeline, Split, Statistics},
    metrics::Means,
    train::{Fit, Interrupt, Observer, Schedule, schedules},
    trial::history,
};

pub(super) const AUGMENTATION: Augmentation = Augmentation::Keys(Keys { flip: true, rotation: 0.05, zoom: 0.2 });

pub(super) fn split(count: usize, seed: u32) -> Split {
    let pixels = (0..count * 6 * 4 * 2).map(|index| ((index as u32 * 37 + seed * 11) % 251) as u8).collect();
    Split::new(pixels, (0..count as u32).map(|index| (index + seed) % 5).collect())
}

/// Trains the small network for three epochs: the record of the epochs, and the state at the end.
pub(super) fn fit(
    engine: &mut dyn Engine,
    augmentation: &Augmentation,
    repeats: u32,
) -> (Vec<history::Epoch>, Vec<StateTensor>) {
    let folder = tempfile::tempdir().unwrap();
    fit_sizes(folder.path(), None, engine, (augmentation, repeats), &[]);
    (history::read(folder.path()).unwrap(), engine.state().unwrap())
}

/// Trains the small network in a folder, for three epochs in all, or until so many are done.
pub(super) fn fit_in(folder: &Path, until: Option<u32>, engine: &mut dyn Engine, augmentation: &Augmentation) {
    fit_sizes(folder, until, engine, (augmentation, 1), &[]);
}

/// The same on images of other sizes in some epochs.
pub(super) fn fit_sizes(
    folder: &Path,
    until: Option<u32>,
    engine: &mut dyn Engine,
    (augmentation, repeats): (&Augmentation, u32),
    sizes: &[(u32, (usize, usize))],
) {
    let (train, validation) = (split(11, 1), split(5, 2));
    let statistics = Statistics::of(&train, 2).unwrap();
    let fit = Fit {
        train: &train,
        validation: &validation,
        test: &validation,
        pipeline: &Pipeline::new(&statistics, (6, 4), 2, (9, 6)),
        augmentation,
        workers: 1,
        epochs: 3,
        until,
        linger: std::time::Duration::ZERO,
        batch_size: 4,
        repeats,
        seed: 9,
        learning_rate: 2e-3,
        schedule: Schedule {
            warmup_epochs: 0.5,
            final_fraction: 0.1,
            ..Schedule::of(schedules::find("cosine").unwrap())
        },
        monitor: crate::train::Monitor::default(),
        sizes,
        evaluates_average: false,
        stop: None,
        folder,
        interrupt: &Interrupt::default(),
    };
    fit.run(engine, &mut Silent).unwrap();
}

/// Watches nothing.
pub(super) struct Silent;

impl Observer for Silent {
    fn start(&mut self, _: &str) {}
    fn step(&mut self, _: usize, _: usize, _: &Means) {}
    fn epoch(&mut self, _: &history::Epoch, _: u32) {}
}
