use std::{path::PathBuf, process::ExitCode};

use super::{
    choice::words,
    console::{Console, print_accuracy},
    engine_args::EngineArgs,
    out,
};
use crate::{
    choice::Choice,
    data::{Loader, Subset},
    experiment::{Definition, ExperimentError, Scored, needs, training},
    train::{Flips, Interrupt, evaluate, evaluate_flips},
    trial::Directory,
};

/// Evaluates the best weights of a trial
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx eval runs/digits_vit-76d813208cd4 --split validation")]
pub struct Args {
    /// Directory of the trial
    directory: PathBuf,
    /// Which images
    #[arg(long, value_parser = words::<Subset>(), default_value = Subset::Test.word())]
    split: Subset,
    /// Where the folder of `image_folder` lies now, or another one with classes that the trial knows
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Evaluates mirror images, too: by the mean of the logits of each image and its mirror image, shown apart
    #[arg(long)]
    flips: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let definition = Definition::of_trial_at(&args.directory, args.path.as_deref())?;
    let options = args.engine.options(Interrupt::default());
    needs::check_evaluation(&definition, &definition.input(&args.directory)?.spec(), args.split, &options)?;
    let scored = Scored::new(&args.directory, &definition, options.data_dir.clone(), args.split)?;
    if let (Some(changes), None) = (&scored.changes, &args.path) {
        out::note(&format!("The images are not those that the run began with: {changes}"));
    }
    let checkpoint = Directory::new(&args.directory).best();
    let mut engine = training::trained(&definition, scored.architecture, &checkpoint, &options)?;
    let batch_size = definition.experiment.train.batch_size;
    let (pipeline, split, workers) = (&scored.pipeline, &scored.split, options.workers());
    let loader = Loader { pipeline, split, augmentation: None, workers };
    let evaluated = match args.flips {
        true => evaluate_flips(engine.as_mut(), &loader, batch_size).map(|Flips { plain, flips }| (plain, Some(flips))),
        false => evaluate(engine.as_mut(), &loader, batch_size).map(|plain| (plain, None)),
    };
    let (means, flips) = evaluated.map_err(|error| ExperimentError::of_weights(&checkpoint, error))?;
    let name = match args.split {
        Subset::Train => "Train",
        Subset::Validation => "Validation",
        Subset::Test => "Test",
    };
    let ema = if definition.experiment.train.evaluates_average() { " (ema)" } else { "" };
    let name = &format!("{name}{ema}");
    let console = Console::new();
    let flipped = format!("{name} with flips");
    for (name, means) in [(name, means)].into_iter().chain(flips.map(|flips| (&flipped, flips))) {
        console.line(&format!("{name} loss: {:.4}", means.loss));
        print_accuracy(&console, name, means.accuracy, means.top_5_accuracy);
    }
    Ok(ExitCode::SUCCESS)
}
