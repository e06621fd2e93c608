use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    Prediction, Variant,
    calibration::{self, Timing},
};
use crate::{
    backend::{Backend, BackendError, cpu},
    data::{self, Spec, split},
    experiment::{Definition, ExperimentError, trial::Options},
    graph::Builder,
    memory,
    model::Architecture,
    passes::{Lowering, Purpose},
    train::{
        kept::{self, Kept},
        replace,
    },
};

/// File in a trial's directory with what the sweep changed.
const VARIANT: &str = "variant.json";

impl Kept for Variant {
    fn fault(&self) -> Option<String> {
        None
    }
}

/// A variant that passed all checks.
#[derive(Debug, Clone)]
pub struct Planned {
    pub variant: Variant,
    pub definition: Definition,
    pub prediction: Prediction,
    /// The trial's directory.
    pub folder: PathBuf,
    /// Whether it has its result already.
    pub finished: bool,
}

/// All variants of a sweep, checked before the first step.
#[derive(Debug, Default)]
pub struct Plan {
    pub trials: Vec<Planned>,
    /// Variants that cannot be, with the reason.
    pub invalid: Vec<(Variant, ExperimentError)>,
}

/// A variant that can be trained.
struct Checked {
    definition: Definition,
    spec: Spec,
    architecture: Architecture,
    /// Images.
    training: usize,
    validation: usize,
}

/// Checks and costs variants; what was timed once is not timed again.
pub struct Planner<'a> {
    base: &'a Definition,
    /// Of the sweep.
    folder: &'a Path,
    /// Of one trial: its share of the threads.
    options: Options,
    described: HashMap<String, Spec>,
    /// Time and memory by all that they depend on.
    costed: HashMap<String, (Option<Timing>, u64)>,
}

impl<'a> Planner<'a> {
    /// `options` are those of one trial.
    pub fn new(base: &'a Definition, folder: &'a Path, options: Options) -> Self {
        Self { base, folder, options, described: HashMap::new(), costed: HashMap::new() }
    }

    /// Checks every variant, and then times a few steps of those that were not timed before. Where
    /// some cannot be, and are not to be skipped, nothing is timed, and the plan has no trials; nor has
    /// it when it is interrupted.
    ///
    /// # Errors
    /// When the data set of all of them cannot be described.
    pub fn plan(&mut self, variants: Vec<Variant>, skip_invalid: bool) -> Result<Plan, ExperimentError> {
        let mut plan = Plan::default();
        let mut fine = Vec::new();
        for variant in variants {
            match self.check(&variant) {
                Ok(checked) => fine.push((variant, checked)),
                Err(error) => plan.invalid.push((variant, error)),
            }
        }
        if let (true, Some((_, ExperimentError::Data(_)))) = (fine.is_empty(), plan.invalid.last()) {
            // Where no data is, it is not for the variants to be fine.
            return plan.invalid.pop().map_or(Ok(plan), |(_, error)| Err(error));
        }
        if plan.invalid.is_empty() || skip_invalid {
            for (variant, checked) in fine {
                // What was planned so far is nothing yet.
                if self.options.interrupt.requested() {
                    return Ok(Plan::default());
                }
                plan.trials.push(self.predict(variant, checked)?);
            }
        }
        Ok(plan)
    }

    fn check(&mut self, variant: &Variant) -> Result<Checked, ExperimentError> {
        let definition = self.base.with(variant)?;
        let spec = self.describe(&definition)?;
        let data = &definition.experiment.data;
        let images = data.train_limit.map_or(spec.train, |limit| limit.min(spec.train));
        let training = split::training(images, data.validation_split)?;
        let architecture = definition.architecture(&spec.image())?;
        Ok(Checked { definition, spec, architecture, training, validation: images - training })
    }

    fn predict(&mut self, variant: Variant, checked: Checked) -> Result<Planned, ExperimentError> {
        let summary = checked.architecture.summary();
        let folder = self.folder.join("trials").join(checked.definition.identity());
        let finished = folder.join("result.json").exists();
        let threads = self.options.threads();
        let known = Prediction::read(&folder)?.filter(|known| finished || known.threads == threads);
        let definition = checked.definition.clone();
        let prediction = match known {
            Some(known) => known,
            None => {
                let (timing, memory_bytes) = self.cost(checked)?;
                let first_seconds = timing.map_or(0.0, |timing| timing.first_seconds);
                let epoch_seconds = timing.map(|timing| timing.epoch_seconds);
                let (parameters, flops) = (summary.parameters, summary.flops);
                Prediction { parameters, flops, epoch_seconds, first_seconds, memory_bytes, threads }
            }
        };
        Ok(Planned { variant, definition, prediction, folder, finished })
    }

    fn describe(&mut self, definition: &Definition) -> Result<Spec, ExperimentError> {
        let data = &definition.experiment.data;
        let key = format!("{} {:?} {:?}", data.name, data.path, data.image_size);
        if let Some(known) = self.described.get(&key) {
            return Ok(known.clone());
        }
        let spec = data::describe(&data.name, &data.options(self.options.data_dir.clone()))?;
        self.described.insert(key, spec.clone());
        Ok(spec)
    }

    /// Time and memory of a variant. Seeds and rates cost nothing.
    fn cost(&mut self, checked: Checked) -> Result<(Option<Timing>, u64), ExperimentError> {
        let Checked { definition, spec, architecture, training, validation } = checked;
        let data = &definition.experiment.data;
        let test = data.test_limit.map_or(spec.test, |limit| limit.min(spec.test));
        let batch = definition.experiment.train.batch_size;
        let key = format!(
            "{batch} {training} {validation} {test} {} {:?}\n{}",
            spec.name,
            definition.experiment.augmentation,
            architecture.text()
        );
        if let Some(known) = self.costed.get(&key) {
            return Ok(*known);
        }
        let memory_bytes = self.memory(&definition, &spec, batch.min(training), training + validation + test)?;
        // What does not fit could not be timed either.
        let timing = match memory::available_bytes().is_none_or(|available| memory_bytes <= available) {
            true => Some(calibration::time(&definition, architecture, &spec, (training, validation), &self.options)?),
            false => None,
        };
        self.costed.insert(key, (timing, memory_bytes));
        Ok((timing, memory_bytes))
    }

    /// Of the process that trains: what its programs and their weights need, the images, and the
    /// batches that are made ahead of the step.
    fn memory(
        &self,
        definition: &Definition,
        spec: &Spec,
        batch: usize,
        images: usize,
    ) -> Result<u64, ExperimentError> {
        let architecture = definition.architecture(&spec.image())?;
        let pixels = architecture.image_shape().iter().product::<usize>();
        let batches = (BATCHES_PER_WORKER * self.options.workers() + 1) * batch * pixels;
        let rule = definition.experiment.train.optimizer.adamw().rule();
        // Parameters and both moments, and a copy of them while they are saved.
        let state = 2 * 3 * architecture.summary().parameters as usize;
        let lowering: Box<Lowering> = Box::new(move |builder: &mut Builder, batch| architecture.lower(builder, batch));
        let program = |purpose| -> Result<(usize, usize), BackendError> {
            let program = cpu::compile(&lowering, batch, purpose)?;
            Ok((program.arena_len, program.worker_len()))
        };
        // Training and evaluation take turns in the same memory.
        let (train, evaluate) = (program(Purpose::Train(rule))?, program(Purpose::Evaluate)?);
        let programs = train.0.max(evaluate.0) + self.options.threads() * train.1.max(evaluate.1);
        let programs = match self.options.backend {
            // The reference keeps every tensor of the graph: an estimate from below.
            Backend::Reference => 2 * programs,
            _ => programs,
        };
        let image = (spec.height * spec.width * spec.channels + size_of::<u32>()) as u64;
        let training = images as u64 * image + ((programs + state + batches) * size_of::<f32>()) as u64;
        // The whole set is read before a part of it is kept, and copied on the way.
        let reading = match spec.place {
            Some(_) => 2 * spec.train as u64 * image,
            None => 0,
        };
        Ok(OWN_BYTES + training.max(reading))
    }
}

/// What the program itself, its threads and its libraries take.
const OWN_BYTES: u64 = 13 << 20;

/// Batches that a worker of the loader has in the making or finished.
const BATCHES_PER_WORKER: usize = 1;

impl Planned {
    /// Makes the trial's directory, or finds it as it was left.
    ///
    /// # Errors
    /// As [`Definition::write`].
    pub fn write(&self) -> Result<(), ExperimentError> {
        self.definition.write(&self.folder)?;
        let path = self.folder.join(VARIANT);
        if Self::variant_of(&self.folder)? != self.variant || !path.exists() {
            let json = serde_json::to_string(&self.variant)
                .map_err(|error| ExperimentError::io("write", &path)(error.into()))?;
            replace(&path, json.as_bytes())?;
        }
        if Prediction::read(&self.folder)? != Some(self.prediction) {
            self.prediction.write(&self.folder)?;
        }
        Ok(())
    }

    /// What the sweep changed in a trial's directory; nothing in one that no sweep made.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn variant_of(folder: &Path) -> Result<Variant, ExperimentError> {
        Ok(kept::read(&folder.join(VARIANT))?.unwrap_or_default())
    }
}
