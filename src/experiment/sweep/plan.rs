use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{super::trial, Prediction, Variant};
use crate::{
    backend::{BackendError, Batch, Step, cpu},
    data,
    experiment::{Definition, ExperimentError, trial::Options},
    graph::Builder,
    model::{Architecture, ImageSpec},
    passes::{Lowering, Purpose, StepGraph},
    train::replace,
};

/// Most images of the steps that calibrate the prediction.
const CALIBRATION_BATCH: usize = 64;

/// Timed steps: at least one, and more while they are short.
const CALIBRATION_STEPS: u32 = 6;
const CALIBRATION_TIME: Duration = Duration::from_millis(300);

/// File in a trial's directory with what the sweep changed.
const VARIANT: &str = "variant.json";

/// What a variant will cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    pub parameters: u64,
    /// Of a forward pass over one image.
    pub flops: u64,
    /// `None` for a trial that is finished.
    pub prediction: Option<Prediction>,
}

/// A variant that passed all checks.
#[derive(Debug, Clone)]
pub struct Planned {
    pub variant: Variant,
    pub definition: Definition,
    pub cost: Cost,
    /// The trial's directory.
    pub folder: PathBuf,
}

/// All variants of a sweep, checked before the first step.
#[derive(Debug, Default)]
pub struct Plan {
    pub trials: Vec<Planned>,
    /// Variants that cannot be, with the reason.
    pub invalid: Vec<(Variant, ExperimentError)>,
}

impl Plan {
    /// Checks every variant, and times a few steps of those that are not finished on this machine.
    ///
    /// # Errors
    /// When the data set itself cannot be described.
    pub fn new(
        base: &Definition,
        variants: Vec<Variant>,
        folder: &Path,
        options: &Options,
    ) -> Result<Self, ExperimentError> {
        let mut plan = Self::default();
        for variant in variants {
            match Self::check(base, &variant, folder, options) {
                Ok(planned) => plan.trials.push(planned),
                Err(error @ ExperimentError::Data(_)) => return Err(error),
                Err(error) => plan.invalid.push((variant, error)),
            }
        }
        Ok(plan)
    }

    fn check(
        base: &Definition,
        variant: &Variant,
        folder: &Path,
        options: &Options,
    ) -> Result<Planned, ExperimentError> {
        let definition = base.with(variant)?;
        let data = &definition.experiment.data;
        let described = data::describe(&data.name, &data.options(options.data_dir.clone()))?;
        let architecture = definition.architecture(&described.image())?;
        let summary = architecture.summary();
        let images = data.train_limit.map_or(described.train, |limit| limit.min(described.train)) as f64;
        let validation = images * data.validation_split;
        let folder = folder.join("trials").join(definition.identity());
        let finished = folder.join("result.json").exists();
        let prediction = match finished {
            true => None,
            false => {
                let image = &described.image();
                let pixels = (image.height * image.width * image.channels) as u64;
                let test = data.test_limit.map_or(described.test, |limit| limit.min(described.test));
                let data_bytes = (images as u64 + test as u64) * (pixels + 4);
                let memory_bytes = data_bytes + memory(&definition, image, options)? + OWN_BYTES;
                // A forward pass is about a third of a step.
                let epoch_seconds =
                    seconds_per_image(&definition, architecture, options)? * (images - validation + validation / 3.0);
                Some(Prediction { epoch_seconds, memory_bytes })
            }
        };
        let cost = Cost { parameters: summary.parameters, flops: summary.flops, prediction };
        Ok(Planned { variant: variant.clone(), definition, cost, folder })
    }
}

/// What the program itself, its threads and its libraries take.
const OWN_BYTES: u64 = 11 << 20;

/// Parameters, moments, activations and gradients of a training step, and the batches that are
/// made ahead of it.
fn memory(definition: &Definition, image: &ImageSpec, options: &Options) -> Result<u64, ExperimentError> {
    let architecture = definition.architecture(image)?;
    let batch = definition.experiment.train.batch_size;
    let images = (options.workers() + 2) * batch * architecture.image_shape().iter().product::<usize>();
    let rule = definition.experiment.train.optimizer.adamw().rule();
    // Parameters and both moments, and a copy of them while they are saved.
    let state = 2 * 3 * architecture.summary().parameters as usize;
    let lowering: Box<Lowering> = Box::new(move |builder: &mut Builder, batch| architecture.lower(builder, batch));
    let graph = StepGraph::build(&lowering, batch, Purpose::Train(rule))
        .map_err(|name| BackendError::Other(format!("the loss does not depend on `{name}`")))?;
    let program = cpu::compile(&graph, batch)
        .map_err(|name| BackendError::Other(format!("the cpu backend has no kernel for `{name}`")))?;
    let floats = program.arena_len + options.threads() * program.worker_len() + state + images;
    Ok((floats * size_of::<f32>()) as u64)
}

/// The fastest of a few steps after the first one, which compiles.
fn seconds_per_image(
    definition: &Definition,
    architecture: Architecture,
    options: &Options,
) -> Result<f64, ExperimentError> {
    let size = CALIBRATION_BATCH.min(definition.experiment.train.batch_size);
    let images = vec![0.5; size * architecture.image_shape().iter().product::<usize>()];
    let labels = vec![0; size];
    let mut engine = trial::engine(definition, architecture, options)?;
    let (mut fastest, begin) = (f64::INFINITY, Instant::now());
    for iteration in 0..=CALIBRATION_STEPS {
        let start = Instant::now();
        let step = Step { epoch: 0, step: iteration, iteration: u64::from(iteration), learning_rate: 0.0 };
        engine.train_step(&Batch { images: &images, labels: &labels }, &step)?;
        if iteration > 0 {
            fastest = fastest.min(start.elapsed().as_secs_f64());
            if begin.elapsed() > CALIBRATION_TIME {
                break;
            }
        }
    }
    Ok(fastest / size as f64)
}

impl Planned {
    /// Makes the trial's directory, or finds it as it was left.
    ///
    /// # Errors
    /// As [`Definition::write`].
    pub fn write(&self) -> Result<(), ExperimentError> {
        self.definition.write(&self.folder)?;
        let path = self.folder.join(VARIANT);
        let json =
            serde_json::to_string(&self.variant).map_err(|error| ExperimentError::io("write", &path)(error.into()))?;
        replace(&path, json.as_bytes())?;
        match self.cost.prediction {
            Some(prediction) => prediction.write(&self.folder),
            None => Ok(()),
        }
    }

    /// What the sweep changed in a trial's directory; nothing in one that no sweep made.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn variant_of(folder: &Path) -> Result<Variant, ExperimentError> {
        let path = folder.join(VARIANT);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| ExperimentError::io("read", path)(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Variant::new()),
            Err(error) => Err(ExperimentError::io("read", path)(error)),
        }
    }
}
