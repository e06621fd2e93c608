//! How much memory a process will need, told before it takes any: resident memory, of the images, the network's
//! programs, its weights and what is copied of them.

use super::{
    Definition, ExperimentError,
    training::{self, Options},
};
use crate::{
    backend::Workload,
    data::{self, Spec, Subset},
    graph::Builder,
    memory::{self, Available},
    model::{Architecture, ImageSpec},
};

/// What the program itself, its threads and its libraries take. In a build for tests the code that is not optimised is
/// some 13 MiB larger.
pub const OWN_BYTES: u64 = if cfg!(debug_assertions) { 28 << 20 } else { 15 << 20 };

/// Batches that a worker of the loader has in the making or finished.
const BATCHES_PER_WORKER: usize = 1;

/// A prediction may be so much above what a process takes in the end, as a share: only what cannot be is refused.
const TOLERANCE: f64 = 0.05;

/// What a process does with a network.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// What fills a message: "training".
    pub what: &'static str,
    /// Whether it takes training steps.
    pub trains: bool,
    /// Whether it evaluates.
    pub evaluates: bool,
    /// Images at a time, and how many such batches lie in memory.
    pub batch: usize,
    /// Batches that lie in memory at once: those that are made ahead, and the one that is used.
    pub batches: usize,
    /// Copies of all parameters, what the optimizer keeps included.
    pub copies: usize,
    /// Bytes of the images that are kept, and of those that are read before.
    pub images: u64,
    /// Bytes of the images that are read before a part of them is kept.
    pub reading: u64,
}

impl Needs {
    /// Of training on a data set, and testing the best weights.
    ///
    /// # Errors
    /// A split that leaves nothing to train on.
    pub fn training(definition: &Definition, spec: &Spec, options: &Options) -> Result<Self, ExperimentError> {
        let data = &definition.experiment.data;
        let (train, validation) = spec.split(data.train_limit, data.validation_split)?;
        let test = data.test_limit.map_or(spec.test, |limit| limit.min(spec.test));
        let batch = definition.experiment.train.batch_size.min(train);
        Ok(Self {
            what: "training",
            trains: true,
            evaluates: true,
            batch,
            batches: BATCHES_PER_WORKER * options.workers() + 1,
            // Parameters and what the optimizer keeps of them, and a copy of all that while it is saved.
            copies: 2 * definition.experiment.train.rule().kept(),
            images: (train + validation + test) as u64 * image_bytes(spec),
            // The whole set is read before a part of it is kept, and copied on the way.
            reading: spec.place.as_ref().map_or(0, |_| 2 * spec.train as u64 * image_bytes(spec)),
        })
    }

    /// Of evaluating trained weights on one part of a data set.
    fn evaluation(definition: &Definition, spec: &Spec, subset: Subset, options: &Options) -> Self {
        let data = &definition.experiment.data;
        let limit = |limit: Option<usize>, count: usize| limit.map_or(count, |limit| limit.min(count));
        let count = match subset {
            Subset::Test => limit(data.test_limit, spec.test),
            Subset::Train | Subset::Validation => limit(data.train_limit, spec.train),
        };
        let batches = BATCHES_PER_WORKER * options.workers() + 1;
        let batch = definition.experiment.train.batch_size.min(count.max(1));
        Self { batch, batches, images: count as u64 * image_bytes(spec), ..Self::prediction(definition) }
    }

    /// Of classifying one picture at a time.
    fn prediction(definition: &Definition) -> Self {
        Self {
            what: "this",
            trains: false,
            evaluates: true,
            batch: 1,
            batches: 1,
            // Parameters and room for what the optimizer keeps; a checkpoint's bytes, and its tensors.
            copies: definition.experiment.train.rule().kept() + 2,
            images: 0,
            reading: 0,
        }
    }

    /// In bytes.
    ///
    /// # Errors
    /// A network that cannot be compiled.
    pub fn bytes(&self, definition: &Definition, image: &ImageSpec, options: &Options) -> Result<u64, ExperimentError> {
        let architecture = definition.architecture(image)?;
        let pixels = architecture.image_shape().iter().product::<usize>() as u64;
        let parameters = architecture.summary().parameters;
        let workload = Workload { trains: self.trains, evaluates: self.evaluates, batch: self.batch };
        let engine = training::engine_options(definition, options);
        let lowering = move |builder: &mut Builder, batch| architecture.lower(builder, batch);
        let programs = options.backend.program_floats(&lowering, &engine, workload)?;
        let batches = (self.batches * self.batch) as u64 * pixels;
        let floats = programs as u64 + self.copies as u64 * parameters + batches;
        Ok(OWN_BYTES + (self.images + floats * size_of::<f32>() as u64).max(self.reading))
    }

    /// In bytes, roughly and above: as if of each layer several tensors of its largest one's size were kept.
    fn at_most(&self, architecture: &Architecture) -> u64 {
        const TENSORS: u64 = 8;
        let pixels = architecture.image_shape().iter().product::<usize>() as u64;
        let largest = architecture.layers().iter().map(|node| node.layer.largest() as u64);
        let of_layers = largest.fold(pixels, u64::saturating_add).saturating_mul(TENSORS);
        let of_images = of_layers.saturating_mul((self.batches * self.batch) as u64);
        let of_weights = architecture.summary().parameters.saturating_mul(self.copies as u64);
        let floats = of_images.saturating_add(of_weights);
        floats.saturating_mul(size_of::<f32>() as u64).saturating_add(self.images).saturating_add(self.reading)
    }

    /// Refuses what cannot be had.
    fn check(&self, definition: &Definition, image: &ImageSpec, options: &Options) -> Result<(), ExperimentError> {
        if !options.backend.computes_on_host() {
            return Ok(());
        }
        let Some(available) = memory::available() else { return Ok(()) };
        // The exact number costs a compilation, which is done only where it may matter.
        let architecture = definition.architecture(image)?;
        if self.at_most(&architecture) <= available.bytes / 2 {
            return Ok(());
        }
        // What the program itself takes, it has by now.
        let needed = self.bytes(definition, image, options)? - OWN_BYTES;
        self.fits(needed, available)
    }

    fn fits(&self, needed: u64, available: Available) -> Result<(), ExperimentError> {
        if needed as f64 * (1.0 - TOLERANCE) <= available.bytes as f64 {
            return Ok(());
        }
        let Available { bytes, limit } = available;
        Err(ExperimentError::Memory { what: self.what, needed: amount(needed), available: amount(bytes), limit })
    }
}

/// Refuses a training that cannot have as much memory as it will need.
///
/// # Errors
/// [`ExperimentError::Memory`], and whatever is wrong with the data or the model.
pub fn check_training(definition: &Definition, options: &Options) -> Result<(), ExperimentError> {
    let data = &definition.experiment.data;
    let spec = data::describe(&data.name, &definition.data_options(options.data_dir.clone()))?;
    Needs::training(definition, &spec, options)?.check(definition, &spec.image(), options)
}

/// As [`check_training`], for an evaluation of a run's weights on images as `image` says.
///
/// # Errors
/// As [`check_training`]. What is wrong with the data is for others to say.
pub fn check_evaluation(
    definition: &Definition,
    image: &ImageSpec,
    subset: Subset,
    options: &Options,
) -> Result<(), ExperimentError> {
    let data = &definition.experiment.data;
    match data::describe(&data.name, &definition.data_options(options.data_dir.clone())) {
        Ok(spec) => Needs::evaluation(definition, &spec, subset, options).check(definition, image, options),
        Err(_) => Ok(()),
    }
}

/// As [`check_training`], for so many pictures at a time.
///
/// # Errors
/// As [`check_training`].
pub fn check_prediction(
    definition: &Definition,
    image: &ImageSpec,
    batch: usize,
    options: &Options,
) -> Result<(), ExperimentError> {
    Needs { batch, ..Needs::prediction(definition) }.check(definition, image, options)
}

/// As [`check_training`], for steps, or evaluations, of one batch.
///
/// # Errors
/// As [`check_training`].
pub fn check_steps(
    definition: &Definition,
    image: &ImageSpec,
    (batch, trains): (usize, bool),
    options: &Options,
) -> Result<(), ExperimentError> {
    let copies = definition.experiment.train.rule().kept();
    let needs = Needs { trains, evaluates: !trains, batch, copies, ..Needs::prediction(definition) };
    needs.check(definition, image, options)
}

/// Of a data set, with its label; a path instead of pixels where these are decoded when they are needed.
fn image_bytes(spec: &Spec) -> u64 {
    const PATH: usize = 128;
    let image = if spec.streams { PATH } else { spec.height * spec.width * spec.channels };
    (image + size_of::<u32>()) as u64
}

/// "1.4 GB", "310 MB".
pub(super) fn amount(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        megabytes if megabytes < 999.5 => format!("{megabytes:.0} MB"),
        megabytes => format!("{:.1} GB", megabytes / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_is_refused() {
        let needs = Needs {
            what: "training",
            trains: true,
            evaluates: true,
            batch: 1,
            batches: 1,
            copies: 5,
            images: 0,
            reading: 0,
        };
        let available = |bytes| Available { bytes, limit: "the address space is limited (ulimit -v)" };
        needs.fits(1_400_000_000, available(1_400_000_000)).unwrap();
        needs.fits(1_400_000_000, available(1_340_000_000)).unwrap();
        let error = needs.fits(1_400_000_000, available(900_000_000)).unwrap_err().to_string();
        let expected =
            "training needs 1.4 GB of memory, and 900 MB can be had: the address space is limited (ulimit -v)";
        assert_eq!(error, expected);
    }
}
