use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{super::trial, Variant};
use crate::{
    backend::{Batch, Step},
    data,
    experiment::{Definition, ExperimentError, trial::Options},
    model::Architecture,
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
    /// Predicted seconds of one epoch, validation included; 0 when it was not timed.
    pub epoch_seconds: f64,
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
    /// Checks every variant; with `calibrate`, times a few steps of each on this machine.
    ///
    /// # Errors
    /// When the data set itself cannot be described.
    pub fn new(
        base: &Definition,
        variants: Vec<Variant>,
        folder: &Path,
        options: &Options,
        calibrate: bool,
    ) -> Result<Self, ExperimentError> {
        let mut plan = Self::default();
        for variant in variants {
            match Self::check(base, &variant, folder, options, calibrate) {
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
        calibrate: bool,
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
        let epoch_seconds = if calibrate && !finished {
            let image = seconds_per_image(&definition, architecture, options)?;
            // A forward pass is about a third of a step.
            image * (images - validation + validation / 3.0)
        } else {
            0.0
        };
        let cost = Cost { parameters: summary.parameters, flops: summary.flops, epoch_seconds };
        Ok(Planned { variant: variant.clone(), definition, cost, folder })
    }
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
        Ok(replace(&path, json.as_bytes())?)
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
