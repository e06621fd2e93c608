//! How long a variant trains, from a few timed steps on this machine.

use std::time::{Duration, Instant};

use crate::{
    backend::{Batch, Engine, Step},
    data::{Batches, Draws, Loader, Pipeline, Spec, Split, Statistics},
    experiment::{Definition, ExperimentError, training, training::Options},
    model::Architecture,
};

/// How long timing a variant may take, beyond its first steps: a share of what it will train, within
/// bounds.
const BUDGET_SHARE: f64 = 0.05;
const BUDGET: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A step of more images than take so long is timed with fewer, and scaled.
const LONGEST_STEP: Duration = Duration::from_millis(400);

/// Images that are made up for timing: as many as an epoch has, but no more than this.
const MOST_IMAGES: usize = 4096;

/// What timing found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Of one epoch, validation included.
    pub epoch_seconds: f64,
    /// What the first epoch takes more.
    pub first_seconds: f64,
}

/// Times a variant on made-up images, through the loader and its augmentation as in training.
///
/// # Errors
/// As the engine's.
pub fn time(
    definition: &Definition,
    architecture: Architecture,
    data: &Spec,
    (images, validation): (usize, usize),
    options: &Options,
) -> Result<Timing, ExperimentError> {
    let train = &definition.experiment.train;
    let [height, width, _] = architecture.image_shape();
    let count = images.max(validation).clamp(1, MOST_IMAGES);
    let pixels = (0..count * data.height * data.width * data.channels).map(|at| (at * 7919 % 251) as u8).collect();
    let split = Split::new(pixels, (0..count).map(|at| (at % data.num_classes) as u32).collect());
    let statistics = Statistics::of(&split, data.channels)?;
    let pipeline = Pipeline::new(&statistics, (data.height, data.width), data.channels, (height, width));
    let mut engine = training::engine(definition, architecture, options)?;
    let draws = Draws { seed: train.seed, epoch: 0, repeats: train.repeated_augmentation };
    let plan = definition.experiment.augmentation.plan(pipeline.size());
    let augmented = Some((&*plan, draws));
    let training = Loader { pipeline: &pipeline, split: &split, augmentation: augmented, workers: options.workers() };
    let evaluating = Loader { augmentation: None, ..training };

    let epochs = train.epochs;
    let mut train_pass = Pass { loader: training, engine: engine.as_mut(), epochs, training: true };
    let trained = train_pass.extrapolate(images, train.batch_size, count)?;
    let mut evaluate_pass = Pass { loader: evaluating, engine: engine.as_mut(), epochs, training: false };
    let validated = evaluate_pass.extrapolate(validation, train.batch_size, count)?;
    Ok(Timing {
        epoch_seconds: trained.epoch_seconds + validated.epoch_seconds,
        first_seconds: trained.first_seconds + validated.first_seconds,
    })
}

/// Steps, or evaluations, of one split.
struct Pass<'a> {
    loader: Loader<'a>,
    engine: &'a mut dyn Engine,
    epochs: u32,
    training: bool,
}

impl Pass<'_> {
    /// A whole pass over `images` where that is short; otherwise a part of it, scaled. `count` is
    /// how many images there are.
    fn extrapolate(&mut self, images: usize, batch_size: usize, count: usize) -> Result<Timing, ExperimentError> {
        if images == 0 {
            return Ok(Timing { epoch_seconds: 0.0, first_seconds: 0.0 });
        }
        let batch_size = batch_size.min(images);
        // The size of batch that is timed: the real one, unless its steps are long.
        let probe = batch_size.min(16);
        let mut first = self.run(probe, probe)?;
        let second = self.run(probe, probe)?.min(self.run(probe, probe)?);
        let fitting = (LONGEST_STEP.as_secs_f64() / (second / probe as f64)) as usize;
        if fitting < batch_size {
            // Steps have a part that does not grow with the batch: two sizes tell them apart.
            let large = fitting.clamp(probe, batch_size);
            let (per_image, fixed) = if large >= 2 * probe {
                self.run(large, large)?;
                let time = self.run(large, large)?.min(self.run(large, large)?);
                let per_image = ((time - second) / (large - probe) as f64).max(0.5 * time / large as f64);
                (per_image, (time - per_image * large as f64).max(0.0))
            } else {
                (second / probe as f64, 0.0)
            };
            let steps = images.div_ceil(batch_size) as f64;
            return Ok(Timing { epoch_seconds: per_image * images as f64 + fixed * steps, first_seconds: 0.0 });
        }
        if probe < batch_size {
            // Another size is another program.
            first = self.run(batch_size, batch_size)?;
        }
        // From here on as in an epoch: many batches in a row, made while others are trained.
        let step = self.run(batch_size, batch_size)?;
        let all = step * images.div_ceil(batch_size) as f64 * f64::from(self.epochs);
        let budget = (BUDGET_SHARE * all).clamp(BUDGET.0.as_secs_f64(), BUDGET.1.as_secs_f64());
        let affordable = ((budget / 2.0 / step) as usize).max(2) * batch_size;
        let part = images.min(affordable).min(count);
        if part < images && part > batch_size {
            // Whole batches: the last, smaller one would weigh too much.
            let part = part / batch_size * batch_size;
            let seconds = self.run(part, batch_size)?.min(self.run(part, batch_size)?);
            let scale = images as f64 / part as f64;
            return Ok(Timing { epoch_seconds: seconds * scale, first_seconds: (first - step).max(0.0) });
        }
        let cold = self.run(part, batch_size)?;
        let begin = Instant::now();
        let mut warm = vec![self.run(part, batch_size)?];
        while begin.elapsed().as_secs_f64() < budget / 2.0 {
            warm.push(self.run(part, batch_size)?);
        }
        warm.sort_by(f64::total_cmp);
        let seconds = warm[warm.len() / 2];
        Ok(Timing { epoch_seconds: seconds, first_seconds: (first - step).max(0.0) + (cold - seconds).max(0.0) })
    }

    /// Seconds of a pass over so many images.
    fn run(&mut self, images: usize, batch_size: usize) -> Result<f64, ExperimentError> {
        let order: Vec<u32> = (0..images as u32).map(|at| at % self.loader.split.len() as u32).collect();
        let start = Instant::now();
        let (engine, training) = (&mut *self.engine, self.training);
        self.loader.run(&order, batch_size, |batches: &mut Batches| -> Result<(), ExperimentError> {
            let mut iteration = 0;
            while let Some(loaded) = batches.next() {
                let loaded = loaded?;
                let batch = Batch { images: &loaded.images, labels: &loaded.labels, mixed: loaded.mixed() };
                if training {
                    let step = Step { epoch: 0, step: iteration, iteration: u64::from(iteration), learning_rate: 0.0 };
                    engine.train_step(&batch, &step)?;
                } else {
                    engine.evaluate(&batch)?;
                }
                batches.recycle(loaded);
                iteration += 1;
            }
            Ok(())
        })?;
        Ok(start.elapsed().as_secs_f64())
    }
}
