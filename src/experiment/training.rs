//! Training a trial: one definition, in a directory of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Definition, ExperimentError, Setup, accumulation, image_size, needs, unvalidated};
use crate::{
    backend::{Backend, BackendError, Engine, EngineOptions, Placed, Precision, Regions, SharedDevice},
    choice::Choice,
    data::{Split, Subset},
    graph::Builder,
    memory,
    metrics::ClassTally,
    model::Architecture,
    train::{Fit, FitError, Fitted, Interrupt, Observer, restore_weights},
    trial::{
        Directory, Epoch, Failure, FailureKind, Input, Lock, Network, RunResult, TestClasses, Until,
        events::{SessionEnd, end_session},
        history,
    },
};

/// Exit code of `vitx trial` where another process trains the same directory.
pub const BUSY: u8 = 75;

/// Exit code of a trial whose device has failed that it shared with other trials: alone, it may do well.
pub const SHARED: u8 = 76;

/// Exit code of a process that saved and ended because it was asked to, as shells have it for
/// Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// How to run a trial; nothing here changes what comes out, but for rounding.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Searched for data sets before the usual places.
    pub data_dir: Option<PathBuf>,
    /// What computes.
    pub backend: Backend,
    /// Of the `cuda` backend.
    pub precision: Precision,
    /// Of the `cuda` backend.
    pub regions: Regions,
    /// Of the `cuda` backend: its first device by default.
    pub device: Option<Placed>,
    /// The device that it shares with the trials of the same process, if it does.
    pub shared: Option<Arc<dyn SharedDevice>>,
    /// Worker threads; all cores by default.
    pub threads: Option<usize>,
    /// Where the data of `image_folder` lie now, if not where the trial says.
    pub path: Option<PathBuf>,
    /// Asks to stop after the step that runs.
    pub interrupt: Interrupt,
    /// How long a trial that has come as far as its sweep wants it waits to be wanted further.
    pub linger: Duration,
}

impl Options {
    /// Worker threads of the backend.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// What the backend computes in, where that is a choice.
    pub fn precision_name(&self) -> Option<String> {
        (self.backend == Backend::Cuda).then(|| self.precision.word().to_owned())
    }

    /// Threads that make batches: a few, for the step needs far more time than its images.
    pub fn workers(&self) -> usize {
        self.threads().clamp(1, 4)
    }

    /// Threads that make batches of a split: as many as there are, where they decode pictures, too.
    pub fn workers_for(&self, split: &Split) -> usize {
        split.in_memory().map_or(self.threads(), |_| self.workers())
    }
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All epochs are done; the best weights were tested.
    Finished(RunResult),
    /// By a former process.
    FinishedBefore(RunResult),
    /// Asked to stop; the last checkpoint has everything.
    Interrupted,
    /// Trained as far as its sweep wanted for now.
    Paused,
}

/// Trains what the locked directory defines, from its last checkpoint if it has one, and tests the best
/// weights. A trial that has its result is not trained again.
///
/// # Errors
/// Whatever stops it. A reason that training again would meet again is kept in `failure.json`.
pub fn run(lock: &Lock, options: &Options, observer: &mut dyn Observer) -> Result<Outcome, ExperimentError> {
    let folder = lock.folder();
    if let Some(result) = RunResult::read(folder)? {
        return Ok(Outcome::FinishedBefore(result));
    }
    let attempts = Failure::read(folder)?.map_or(0, |failure| failure.attempts);
    Failure::clear(folder)?;
    // The next step ends it: what would be saved then is refused.
    let interrupt = options.interrupt.clone();
    lock.when_lost(move || interrupt.request());
    let outcome = train(folder, options, observer).map_err(|error| match error {
        ExperimentError::Files(error) => ExperimentError::Files(error.of_a_training()),
        error => error,
    });
    // What has happened to a device that others use as well is not kept as a failure of this one.
    if let Some(error) = outcome.as_ref().err().filter(|error| !error.is_of_shared_device()) {
        let kind = match error {
            ExperimentError::NotFinite { .. } => FailureKind::Nan,
            ExperimentError::Backend(BackendError::Memory(_)) | ExperimentError::Memory { .. } => FailureKind::Memory,
            _ => FailureKind::Error,
        };
        // The error itself is what the caller must see, even where the note of it cannot be written.
        let _ = Failure { attempts: attempts + 1, ..Failure::new(kind, error.to_string()) }.write(folder);
        let _ = end_session(folder, SessionEnd::Failed);
    }
    outcome
}

fn train(folder: &Path, options: &Options, observer: &mut dyn Observer) -> Result<Outcome, ExperimentError> {
    let definition = Definition::of_trial_at(folder, options.path.as_deref())?;
    needs::check_training(&definition, options)?;
    // What has begun goes on with the data that it began with, or not at all.
    let begun = match Input::find(folder)?.is_some() || Directory::new(folder).has_begun() {
        true => Some(definition.input(folder)?),
        false => None,
    };
    let begins = begun.is_none();
    let setup = Setup::new(&definition, options.data_dir.clone(), begun.map(|input| (folder, input)), &Subset::ALL)?;
    let train = &definition.experiment.train;
    unvalidated::check(train, setup.validation.len())?;
    accumulation::check(train, setup.training.len())?;
    Directory::new(folder).write_model_text(&setup.architecture.text())?;
    Network::write(folder, &setup.architecture)?;
    if begins {
        setup.input.write(folder)?;
    }

    let summary = setup.architecture.summary();
    let frozen = match summary.frozen {
        0 => String::new(),
        frozen => format!(" ({frozen} of them frozen)"),
    };
    observer.start(&format!(
        "{}: {} parameters{frozen}, {} training, {} validation and {} test images; in {}",
        setup.dataset.name,
        summary.parameters,
        setup.training.len(),
        setup.validation.len(),
        setup.dataset.test.len(),
        folder.display()
    ));
    if summary.frozen > 0 && definition.experiment.init.is_none() {
        observer.start("what is frozen stays as a new network starts: no `init` names weights for it");
    }
    for note in &setup.dataset.notes {
        observer.start(note);
    }
    if let Some(placed) = &options.device {
        observer.start(&format!("on {}", placed.device.described()));
    }
    let (networks, sizes) = (setup.smaller(&definition)?, image_size::of_epochs(&definition));
    let Setup { dataset, training, validation, architecture, pipeline, .. } = setup;
    let updates = train.steps(training.len()) / u64::from(train.gradient_accumulation_steps);
    // What has begun goes on with its own.
    let init = definition.experiment.init.as_ref().filter(|_| !Directory::new(folder).has_begun());
    let weights = init.map(|init| init.find(&architecture)).transpose()?;
    let class_weights = train.loss.class_weights.as_ref();
    let class_weights = class_weights.map(|weights| weights.of(&dataset.class_names, &training.labels)).transpose()?;
    let mut engine = of_training(&definition, architecture, options, updates, class_weights)?;
    if let (Some(init), Some(weights)) = (init, weights) {
        init.load(&weights, engine.as_mut())?.iter().for_each(|line| observer.start(line));
    }
    for network in networks {
        engine.add_size(Box::new(move |builder: &mut Builder, batch| network.lower(builder, batch)))?;
    }
    let fit = Fit {
        train: &training,
        validation: &validation,
        test: &dataset.test,
        pipeline: &pipeline,
        augmentation: &definition.experiment.augmentation,
        workers: options.workers_for(&training),
        epochs: train.epochs,
        until: Until::read(folder)?.map(|until| until.epochs),
        linger: options.linger,
        batch_size: train.batch_size,
        repeats: train.repeated_augmentation,
        seed: train.seed,
        learning_rate: train.optimizer.learning_rate,
        schedule: train.schedule.schedule(),
        monitor: train.monitor,
        sizes: &sizes,
        evaluates_average: train.evaluates_average(),
        stop: train.stop.map(|stop| stop.stop(train.monitor)),
        folder,
        interrupt: &options.interrupt,
    };
    let best = match fit.run(engine.as_mut(), observer)? {
        Fitted::Interrupted => return Ok(Outcome::Interrupted),
        Fitted::Paused => return Ok(Outcome::Paused),
        Fitted::Finished { best } => best,
    };
    let epochs = history::read(folder)?;
    let names = &dataset.class_names;
    let mut tally = ClassTally::new(names.len());
    let test = fit.test(engine.as_mut(), &mut |logits, labels| tally.add(logits, labels))?;
    TestClasses::new(&tally, names).write(folder)?;
    let best_epoch = epochs.iter().find(|epoch| epoch.epoch == best);
    let sum = |of: fn(&Epoch) -> f64| epochs.iter().map(of).sum::<f64>();
    let count = epochs.len().max(1) as f64;
    let result = RunResult {
        test_loss: test.loss,
        test_accuracy: test.accuracy,
        test_top_5_accuracy: test.top_5_accuracy,
        best_epoch: best,
        best_val_loss: best_epoch.and_then(|epoch| epoch.val_loss),
        best_val_accuracy: best_epoch.and_then(|epoch| epoch.val_accuracy),
        best_val_top_5_accuracy: best_epoch.and_then(|epoch| epoch.val_top_5_accuracy),
        epochs: epochs.len() as u32,
        parameters: summary.parameters,
        flops: summary.flops,
        seconds: sum(|epoch| epoch.seconds),
        images_per_second: sum(|epoch| epoch.images_per_second) / count,
        peak_memory_bytes: memory::peak_bytes(),
        device: options.device.as_ref().map(|placed| format!("{} ({})", placed.device.name, placed.device.uuid)),
        ema: train.evaluates_average(),
        stopped: fit.stop.and_then(|stop| stop.reason(&epochs)),
    };
    end_session(folder, SessionEnd::Finished(&result))?;
    result.write(folder)?;
    Ok(Outcome::Finished(result))
}

/// Compiles a definition's network, with its initial weights.
///
/// # Errors
/// When the backend cannot start on this machine.
pub fn engine(
    definition: &Definition,
    architecture: Architecture,
    options: &Options,
) -> Result<Box<dyn Engine>, ExperimentError> {
    of_training(definition, architecture, options, 0, None)
}

/// As [`engine`], for a training of so many updates, with weights of classes.
fn of_training(
    definition: &Definition,
    architecture: Architecture,
    options: &Options,
    updates: u64,
    class_weights: Option<Arc<[f32]>>,
) -> Result<Box<dyn Engine>, ExperimentError> {
    let lowering = Box::new(move |builder: &mut Builder, batch| architecture.lower(builder, batch));
    let mut of_engine = engine_options(definition, options);
    of_engine.optimizer.total_steps = updates;
    of_engine.loss.class_weights = class_weights;
    let device = options.device.as_ref().map_or(0, |placed| placed.device.ordinal);
    Ok(match &options.shared {
        Some(shared) => shared.engine(lowering, of_engine)?,
        None => options.backend.engine_on(lowering, of_engine, device)?,
    })
}

/// What the engine of a definition is made with.
pub(super) fn engine_options(definition: &Definition, options: &Options) -> EngineOptions {
    let train = &definition.experiment.train;
    EngineOptions {
        optimizer: train.rule(),
        loss: train.loss.loss.clone().of_mixed(definition.experiment.augmentation.mixing().is_some()),
        seed: train.seed,
        threads: options.threads(),
        precision: options.precision,
        regions: options.regions,
    }
}

/// [`engine`] with the weights of a checkpoint.
///
/// # Errors
/// A checkpoint that is missing, broken, or of another model.
pub fn trained(
    definition: &Definition,
    architecture: Architecture,
    checkpoint: &Path,
    options: &Options,
) -> Result<Box<dyn Engine>, ExperimentError> {
    let mut engine = engine(definition, architecture, options)?;
    restore_weights(checkpoint, engine.as_mut())?;
    Ok(engine)
}

impl From<FitError> for ExperimentError {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Files(error) => Self::Files(error),
            FitError::Backend(error @ BackendError::NonFinite { .. }) => Self::NotFinite { reason: error.to_string() },
            FitError::Backend(error) => Self::Backend(error),
            FitError::Data(error) => error.into(),
        }
    }
}
