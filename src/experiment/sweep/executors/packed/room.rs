//! Whether so many trials have room on a device.

use std::sync::Arc;

use super::made::{Made, black};
use crate::{
    backend::{BackendError, Batch, Part, SharedDevice, Step, memory_beside},
    experiment::{Definition, ExperimentError, needs::amount, training::Options},
};

/// What the driver keeps of a device for each process, whatever the process does there: an estimate, in bytes.
const CONTEXT: u64 = 512_000_000;

/// What trials of one shape take of a device's memory, and what there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of one trial, with its images.
    pub one: u64,
    /// What they can have.
    pub free: u64,
}

impl Room {
    /// Of a trial on a device that `shares` packs share: what is free, but no more than this one's part of what there is beside
    /// what each process takes.
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
        let part = match shares as u64 {
            0 | 1 => all,
            shares => all.saturating_sub(shares * CONTEXT) / shares,
        };
        Ok(Some(Self { one, free: free.min(part) }))
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

/// What the engine of a trial will take of a device while it trains on all its images, evaluates and is tested, in bytes.
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
    made.add_sizes()?;
    let ([training, validation, test], batch_size) = (made.counts, made.batch_size);
    let train = &definition.experiment.train;
    let first = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 0.0 };
    if made.spec.streams {
        // Batches come from the host. Gradients are only added up before the last of their steps.
        let last = train.gradient_accumulation_steps.saturating_sub(1);
        for pixels in made.pixels_of_training() {
            for iteration in [0, last] {
                let step = Step { iteration: u64::from(iteration), ..first };
                on_host(training.min(batch_size), pixels, |batch| made.engine.train_step(batch, &step))?;
            }
        }
        on_host(validation.min(batch_size), made.pixels(), |batch| made.engine.evaluate(batch))?;
    } else {
        let rates = vec![0.0; train.steps(training) as usize];
        if validation > 0 {
            made.keep(Part::Validation, &black(&made.spec, validation), &[])?;
        }
        made.keep(Part::Training, &black(&made.spec, training), &rates)?;
        let steps = training.div_ceil(batch_size) as u32;
        if let Some(resident) = made.engine.resident() {
            for epoch in 0..train.epochs {
                let iteration = u64::from(epoch) * u64::from(steps);
                resident.ready_for(&Step { epoch, iteration, ..first }, steps)?;
            }
            resident.keep_weights()?;
            if validation > 0 {
                resident.evaluate_kept(Part::Validation)?;
            }
        }
    }
    // Test images come from the host, whatever is kept.
    on_host(test.min(batch_size), made.pixels(), |batch| made.engine.evaluate(batch))?;
    Ok(forecast.most_bytes())
}

/// Has an engine take a batch of so many images from the host, if that is one.
fn on_host(
    count: usize,
    pixels: usize,
    take: impl FnOnce(&Batch) -> Result<f32, BackendError>,
) -> Result<(), BackendError> {
    if count > 0 {
        let (images, labels) = (vec![0.0; count * pixels], vec![0; count]);
        take(&Batch { images: &images, labels: &labels, mixed: None })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::atomic::Ordering, time::Duration};

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
    fn takes_what_was_forecast(file: &Path, set: &[&str]) {
        let common = ["train.epochs=2", "train.batch_size=8", "data.train_limit=22", "data.test_limit=8"];
        let given = common.iter().chain(set).map(|set| (*set).to_owned()).collect();
        let definition = Definition::read(file, &Overrides { set: given, ..Overrides::default() }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let definition = definition.settled().unwrap();
        definition.write(folder.path()).unwrap();
        let bytes = Bytes::of(1 << 40);
        let device = Emulated { bytes: Some(bytes), ..Emulated::default() };
        let pack = Arc::new(Pack::start(move || Ok(device), Duration::from_secs(60)).unwrap());
        let options = Options { backend: Backend::Cuda, threads: Some(1), ..Options::default() };
        let room = Room::of(&definition, &options, &*pack, 4).unwrap().unwrap();
        assert_eq!((room.free, bytes.most.load(Ordering::Relaxed)), ((1 << 38) - CONTEXT, 0));
        let options = Options { shared: Some(pack), ..options };
        let lock = Lock::take(folder.path()).unwrap();
        crate::experiment::training::run(&lock, &options, &mut Silent).unwrap();
        assert_eq!(room.one, bytes.most.load(Ordering::Relaxed), "{set:?}");
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn a_trial_takes_what_was_forecast() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/digits_vit.yaml");
        let small = ["params.projection_dim=8", "params.depth=1", "params.num_heads=1"];
        for more in [
            &["data.validation_split=0.3"][..],
            &["train.gradient_accumulation_steps=2", "augmentation=[{mixup: 0.2}]"],
            // Two epochs of two steps: only the last of the four makes an update.
            &["train.gradient_accumulation_steps=4", "train.batch_size=16"],
            // Fewer images to train on than a batch has, more to test with.
            &["train.batch_size=40", "data.test_limit=37"],
        ] {
            takes_what_was_forecast(&file, &[&small[..], more].concat());
        }
    }

    /// Also where it begins with smaller images, or ends with them.
    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn a_trial_takes_what_was_forecast_for_images_of_several_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e.yaml");
        fs::write(&file, "model: m.vitx\ndata: { name: digits }\n").unwrap();
        let model = "model m { conv2d(6, 3, strides = 2) relu global_average_pool dense(num_classes) }";
        fs::write(folder.path().join("m.vitx"), model).unwrap();
        for sizes in ["[[0, 4], [1, 8]]", "[[0, 8], [1, 6]]"] {
            takes_what_was_forecast(&file, &[&format!("train.image_size={sizes}")]);
        }
    }
}
