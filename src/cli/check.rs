use std::process::ExitCode;

use super::{
    console::{Console, warn},
    model::ModelArgs,
};
use crate::experiment::sweep::{Given, Sweep};

/// Checks a model or an experiment: all diagnostics, exit code 1 if there are any
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx check experiments/cifar100_vit.vitx --param patch_size=8
  vitx check experiments/cifar100_vit.yaml")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let experiment = args.model.experiment()?.filter(|definition| definition.experiment.sweep.is_some());
    // What it varies is there, and fits together.
    let sweep = experiment.map(|definition| Sweep::new(&definition, &Given::default())).transpose()?;
    let architecture = args.model.architecture()?;
    sweep.map_or(Ok(()), |sweep| sweep.check_read(&architecture))?;
    warn(architecture.warnings());
    Console::new().line(&format!("{}: model `{}` is fine", args.model.file.display(), architecture.name()));
    Ok(ExitCode::SUCCESS)
}
