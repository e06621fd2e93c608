use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use miette::miette;

use super::{
    console::{Console, print_accuracy},
    engine_args::EngineArgs,
};
use crate::{
    data::Loader,
    experiment::{Definition, ExperimentError, Setup, trial},
    train::{Interrupt, evaluate},
};

/// Evaluates the best weights of a trial
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx eval runs/digits_vit-7b11ecf409de --split validation")]
pub struct Args {
    /// Directory of the trial
    directory: PathBuf,
    /// Which images
    #[arg(long, value_enum, default_value_t = SplitName::Test)]
    split: SplitName,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SplitName {
    Train,
    Validation,
    Test,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let definition = Definition::of_trial(&args.directory)?;
    let options = args.engine.options(Interrupt::default());
    let setup = Setup::new(&definition, options.data_dir.clone())?;
    let (name, split) = match args.split {
        SplitName::Train => ("Train", setup.training),
        SplitName::Validation => ("Validation", setup.validation),
        SplitName::Test => ("Test", setup.dataset.test),
    };
    if split.is_empty() {
        return Err(miette!("the experiment has no {} images", name.to_lowercase()));
    }
    let checkpoint = args.directory.join("best.safetensors");
    let mut engine = trial::trained(&definition, setup.architecture, &checkpoint, &options)?;
    let batch_size = definition.experiment.train.batch_size;
    let loader = Loader { pipeline: &setup.pipeline, split: &split, augmentation: None, workers: options.workers() };
    let means = evaluate(engine.as_mut(), &loader, batch_size)
        .map_err(|error| ExperimentError::of_weights(&checkpoint, error))?;
    let console = Console::new();
    console.line(&format!("{name} loss: {:.4}", means.loss));
    print_accuracy(&console, name, means.accuracy, means.top_5_accuracy);
    Ok(ExitCode::SUCCESS)
}
