//! Whether so many trials have room on a device.

use std::sync::Arc;

use super::made::{Made, black};
use crate::{
    backend::{Batch, Part, SharedDevice, Step, memory_beside},
    experiment::{Definition, ExperimentError, needs::amount, training::Options},
};

/// What trials of one shape take of a device's memory, and what there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of one trial, with its images.
    pub one: u64,
    /// What they can have.
    pub free: u64,
}

impl Room {
    /// Of a trial on a device that `shares` packs share: what is free, but no more than this one's part of all.
    ///
    /// # Errors
    /// A device that does not work, or a trial that cannot be. Nothing where the device does not say what is free.
    pub fn of(
        definition: &Definition,
        options: &Options,
        shared: &dyn SharedDevice,
        shares: usize,
    ) -> Result<Option<Self>, ExperimentError> {
        let Some([free, all]) = shared.memory()? else { return Ok(None) };
        let one = memory_of_one(definition, options, shared)?;
        Ok(Some(Self { one, free: free.min(all / shares.max(1) as u64) }))
    }

    fn needed(self, trials: usize) -> u64 {
        self.one.saturating_mul(trials as u64).saturating_add(memory_beside(trials))
    }

    /// In words, that so many do not fit; nothing where they do.
    pub fn lacks(self, trials: usize) -> Option<String> {
        let needed = self.needed(trials);
        (needed > self.free).then(|| format!("{trials} would need {} of {}", amount(needed), amount(self.free)))
    }

    /// The most that fit, of so many; one is always tried.
    pub fn most(self, of: usize) -> usize {
        (1..=of).rev().find(|&trials| self.lacks(trials).is_none()).unwrap_or(1)
    }
}

/// What the engine of a trial will take of a device while it trains on all its images and evaluates, in bytes.
///
/// # Errors
/// As the engine's.
fn memory_of_one(
    definition: &Definition,
    options: &Options,
    shared: &dyn SharedDevice,
) -> Result<u64, ExperimentError> {
    let forecast = Arc::new(shared.forecast());
    let options = &Options { shared: Some(forecast.clone()), ..options.clone() };
    let mut made = Made::new(definition, options)?;
    let ([training, validation], batch_size) = (made.counts, made.batch_size);
    let steps = training.div_ceil(batch_size);
    let first = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 0.0 };
    if made.spec.streams {
        // Batches come from the host.
        let (images, labels) = (vec![0.0; batch_size * made.pixels()], vec![0; batch_size]);
        let batch = Batch { images: &images, labels: &labels, mixed: None };
        for iteration in 0..definition.experiment.train.gradient_accumulation_steps.min(2) {
            made.engine.train_step(&batch, &Step { iteration: u64::from(iteration), ..first })?;
        }
        made.engine.evaluate(&batch)?;
        return Ok(forecast.most_bytes());
    }
    let rates = vec![0.0; definition.experiment.train.steps(training) as usize];
    if validation > 0 {
        made.keep(Part::Validation, &black(&made.spec, validation), &[])?;
    }
    made.keep(Part::Training, &black(&made.spec, training), &rates)?;
    if let Some(resident) = made.engine.resident() {
        resident.ready_for(&first, steps as u32)?;
        resident.keep_weights()?;
        if validation > 0 {
            resident.evaluate_kept(Part::Validation)?;
        }
    }
    Ok(forecast.most_bytes())
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::atomic::Ordering, time::Duration};

    use super::*;
    use crate::{
        backend::{
            Backend,
            cuda::{
                Pack,
                emulated::{Bytes, Emulated},
            },
        },
        experiment::Overrides,
        metrics::Means,
        train::Observer,
        trial::{Epoch, Lock},
    };

    struct Silent;

    impl Observer for Silent {
        fn start(&mut self, _: &str) {}
        fn step(&mut self, _: usize, _: usize, _: &Means) {}
        fn epoch(&mut self, _: &Epoch, _: u32) {}
    }

    /// What is forecast is what a trial takes, to the byte.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn a_trial_takes_what_was_forecast() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
        let common = [
            "params.projection_dim=8",
            "params.depth=1",
            "params.num_heads=1",
            "train.epochs=2",
            "train.batch_size=8",
            "data.train_limit=22",
            "data.test_limit=8",
        ];
        for more in [
            &["data.validation_split=0.3"][..],
            &["train.gradient_accumulation_steps=2", "augmentation=[{mixup: 0.2}]"],
        ] {
            let set = common.iter().chain(more).map(|set| (*set).to_owned()).collect();
            let definition = Definition::read(&file, &Overrides { set, ..Overrides::default() }).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let definition = definition.settled().unwrap();
            definition.write(folder.path()).unwrap();
            let bytes = Bytes::of(1 << 40);
            let device = Emulated { bytes: Some(bytes), ..Emulated::default() };
            let pack = Arc::new(Pack::start(move || Ok(device), Duration::from_secs(60)).unwrap());
            let options = Options { backend: Backend::Cuda, threads: Some(1), ..Options::default() };
            let room = Room::of(&definition, &options, &*pack, 4).unwrap().unwrap();
            assert_eq!((room.free, bytes.most.load(Ordering::Relaxed)), (1 << 38, 0));
            let options = Options { shared: Some(pack), ..options };
            let lock = Lock::take(folder.path()).unwrap();
            crate::experiment::training::run(&lock, &options, &mut Silent).unwrap();
            assert_eq!(room.one, bytes.most.load(Ordering::Relaxed), "{more:?}");
        }
    }
}
