use std::process::ExitCode;

use super::{console::Console, model::ModelArgs};
use crate::{
    data,
    experiment::{
        Definition, Overrides,
        sweep::{Given, Sweep},
    },
};

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
    let file = &args.model.file;
    let architecture = if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        let definition =
            Definition::read(file, &Overrides { params: args.model.overrides()?, ..Overrides::default() })?;
        if definition.experiment.sweep.is_some() {
            // What it varies is there, and fits together.
            Sweep::new(&definition, &Given::default())?;
        }
        let data = &definition.experiment.data;
        definition.architecture(&data::image_spec(&data.name, &data.options(None))?)?
    } else {
        args.model.architecture()?
    };
    Console::new().line(&format!("{}: model `{}` is fine", file.display(), architecture.name()));
    Ok(ExitCode::SUCCESS)
}
