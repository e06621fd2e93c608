use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{console::Console, engine_args::EngineArgs};
use crate::{
    data::{Loader, Subset},
    experiment::{Definition, ExperimentError, Scored, best_weights, needs, sweep::is_sweep, training},
    metrics::ClassTally,
    report,
    train::{Interrupt, evaluate_each},
    trial::TestClasses,
};

/// Shows how single runs differ: configurations, models, results, classes, curves
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx compare runs/digits_vit-76d813208cd4 runs/digits_vit-0c11de52a3b4")]
pub struct Args {
    /// Directories of trials; the first is what the others are compared with
    #[arg(required = true, num_args = 2..)]
    directories: Vec<PathBuf>,
    /// Shows all classes, and evaluates the best weights of trials of which nothing is kept by class
    #[arg(long)]
    classes: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let tested = |folder: &PathBuf| match TestClasses::read(folder).map_err(ExperimentError::from)? {
        None if args.classes && !is_sweep(folder) => evaluated(folder, &args.engine).map(Some),
        kept => Ok::<_, miette::Report>(kept),
    };
    let tested = args.directories.iter().map(tested).collect::<miette::Result<Vec<_>>>()?;
    Console::new().line(&report::compare(&args.directories, &tested, args.classes)?);
    Ok(ExitCode::SUCCESS)
}

/// How well the best weights of a trial recognise each class of its test images.
fn evaluated(folder: &Path, engine: &EngineArgs) -> miette::Result<TestClasses> {
    let definition = Definition::of_trial_at(folder, None)?;
    let options = engine.options(Interrupt::default())?;
    let input = definition.input(folder)?;
    needs::check_evaluation(&definition, &input.spec(), Subset::Test, &options)?;
    let scored = Scored::new(folder, &definition, options.data_dir.clone(), Subset::Test)?;
    let checkpoint = best_weights(folder)?;
    let mut engine = training::trained(&definition, scored.architecture, &checkpoint, &options)?;
    let (pipeline, split, workers) = (&scored.pipeline, &scored.split, options.workers_for(&scored.split));
    let loader = Loader { pipeline, split, augmentation: None, workers };
    let mut tally = ClassTally::new(input.class_names.len());
    let mut each = |logits: &[f32], labels: &[u32]| tally.add(logits, labels);
    evaluate_each(engine.as_mut(), &loader, definition.experiment.train.batch_size, &mut each)
        .map_err(|error| ExperimentError::of_weights(&checkpoint, error))?;
    Ok(TestClasses::new(&tally, &input.class_names))
}
