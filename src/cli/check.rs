use std::process::ExitCode;

use super::model::ModelArgs;

/// Checks a model: all diagnostics, exit code 1 if there are any
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx check experiments/cifar100_vit.vitx --param patch_size=8")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let architecture = args.model.architecture()?;
    println!("{}: model `{}` is fine", args.model.file.display(), architecture.name());
    Ok(ExitCode::SUCCESS)
}
