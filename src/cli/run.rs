use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use miette::miette;

use super::{
    console::{self, AFTER_THIS_STEP, Console, handle_interrupts, report, warn},
    engine_args::EngineArgs,
    log_args::{self, LogArgs},
    named, out, params,
    sweep::{How, train},
};
use crate::{
    experiment::{
        Definition, ExperimentError, Init, Overrides, accumulation, averages, class_weights,
        extend::Extension,
        image_size,
        sweep::{self, Given, SpaceArguments, Sweep},
        training, unvalidated,
    },
    files::make_folder,
    tracking::Destination,
    train::Interrupt,
    trial::{Directory, Lock, RunResult, TrialError},
    weights::Hub,
};

/// Trains the model of an experiment, keeps its best weights, and tests them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx run digits_vit
  vitx run experiments/digits_vit.yaml --param depth=2
  vitx run experiments/digits_vit.yaml --seeds 3
  vitx run experiments/digits_vit.yaml --set train.epochs=80 --extend runs/digits_vit-76d813208cd4
  vitx run experiments/cifar100_vit.yaml --set train.epochs=10 --set train.optimizer.learning_rate=3e-4")]
pub struct Args {
    /// Experiment file (.yaml), or the name of one that the binary carries: `vitx experiments` lists them
    /// [default: experiment.yaml]
    experiment: Option<PathBuf>,
    /// Sets a parameter of the model, e.g. `-p depth=2`
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Sets a key of the experiment, e.g. `--set train.epochs=3`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds initialisation, shuffling and dropout
    #[arg(long)]
    seed: Option<u64>,
    /// The folder of `image_folder`, instead of the experiment's `data.path`
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Weights to start from, instead of the experiment's `init.weights`: a safetensors file, the directory of a run, or
    /// `hf://ORG/NAME`
    #[arg(long, value_name = "WEIGHTS")]
    init: Option<PathBuf>,
    /// Trains with so many seeds, from --seed or the experiment's on, as trials in one directory: mean ± sample standard
    /// deviation. The same command continues
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Directory of the trial, or of all seeds' [default: runs/EXPERIMENT-HASH, by all that defines the trial]
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Continues an unfinished run
    #[arg(long)]
    resume: bool,
    /// Goes on from the epochs of a finished run, in a directory of its own: `--set train.epochs=200 --extend runs/NAME-HASH`
    #[arg(long, value_name = "DIR", conflicts_with = "seeds")]
    extend: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let log = args.log.destination()?;
    let params = params::read(&args.param)?;
    let changes =
        Overrides { params, set: args.set.clone(), seed: args.seed, path: args.path.clone(), init: args.init.clone() };
    let experiment = named::experiment(args.experiment.as_deref(), None)?;
    let definition = Definition::read(&experiment, &changes)?;
    if let Some(file) = definition.experiment.init.as_ref().map(Init::of_hub).transpose()?.flatten() {
        console::of_hub(&file, &Hub::of_environment()).map_err(ExperimentError::from)?;
    }
    let definition = definition.settled()?.with(&[])?;
    if let Some(seeds) = args.seeds.filter(|seeds| *seeds > 1) {
        return of_seeds(args, &experiment, &definition, seeds, log);
    }
    let prefix = experiment.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned()) + "-";
    let runs = Path::new("runs");
    let folder = args.output.clone().unwrap_or_else(|| runs.join(format!("{prefix}{}", definition.identity())));
    if args.resume && !folder.exists() && args.output.is_none() {
        definition.refuse_begun_on_other_data(runs, &prefix)?;
    }
    if sweep::is_sweep(&folder) {
        let difference = "it is the directory of a sweep".into();
        return Err(ExperimentError::Other { folder, difference }.into());
    }
    let extension = args.extend.as_deref().map(|from| Extension::of(&definition, from)).transpose()?;
    let begun = Directory::new(&folder).has_begun();
    if !args.resume {
        definition.expect_place(&folder)?;
    }
    if begun && !args.resume && matches!(RunResult::read(&folder), Ok(None)) {
        // Before anyone is told to remove it: another process may be training there, or it may be another run.
        if Lock::is_held(&folder) {
            return Err(ExperimentError::from(TrialError::Locked { folder, by: None }).into());
        }
        if let Some(difference) = definition.difference(&folder)? {
            return Err(ExperimentError::Other { folder, difference }.into());
        }
        let help = "continue it with --resume, or remove the folder";
        return Err(miette!(help = help, "`{}` holds an unfinished run of this experiment", folder.display()));
    }
    let interrupt = Interrupt::default();
    // Where the folder's data lay before is no matter, as long as they are the same.
    let data = &definition.experiment.data;
    let path = data.digest.as_ref().and(data.path.clone());
    let options = training::Options { path, ..args.engine.options(interrupt.clone())? };
    // Everything that can be checked is, before the folder is made.
    let described =
        crate::data::describe(&definition.experiment.data.name, &definition.data_options(options.data_dir.clone()))?;
    let architecture = definition.architecture(&described.image())?;
    warn(architecture.warnings());
    let data = &definition.experiment.data;
    let (images, validation) =
        described.split(data.train_limit, data.validation_split).map_err(ExperimentError::from)?;
    unvalidated::check(&definition.experiment.train, validation)?;
    accumulation::check(&definition.experiment.train, images)?;
    class_weights::check(&definition.experiment.train, &described.class_names)?;
    warn(averages::young(&architecture, images, &definition.experiment.train).as_slice());
    image_size::networks(&definition, &described.image(), &architecture)?;
    if let Some(init) = definition.experiment.init.as_ref().filter(|_| !begun) {
        init.find(&architecture)?;
    }
    make_folder(&folder).map_err(ExperimentError::from)?;
    // Held until the curves are drawn, too.
    let lock = Lock::take(&folder)?;
    definition.write(&folder)?;
    if let Some(extension) = extension {
        out::line(&extension.says(&definition.experiment.train));
        extension.begin(&folder)?;
    }
    handle_interrupts(&interrupt, AFTER_THIS_STEP)?;
    let mut console = Console::new();
    let sender = log_args::start(&folder, log);
    let outcome = training::run(&lock, &options, &mut console);
    let code = outcome.map(|outcome| ExitCode::from(report(&console, &folder, &outcome)));
    log_args::finish(sender);
    Ok(code?)
}

/// A sweep over nothing but seeds.
fn of_seeds(
    args: &Args,
    experiment: &Path,
    definition: &Definition,
    seeds: u32,
    log: Option<Destination>,
) -> miette::Result<ExitCode> {
    let space = SpaceArguments { seeds: Some(seeds), ..SpaceArguments::default() };
    let mut sweep = Sweep::new(definition, &Given { space, ..Given::default() })?;
    let how = How { jobs: 1, log, ..How::default() };
    train(&mut sweep, experiment, args.output.as_deref(), how, &args.engine)
}
