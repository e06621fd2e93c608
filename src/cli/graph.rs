use std::process::ExitCode;

use super::model::ModelArgs;
use crate::dsl;

/// Prints a model in the stable text form of a stage
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx graph experiments/digits_vit.vitx --stage model")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// How far the model is taken
    #[arg(long, value_enum, default_value_t = Stage::Model)]
    stage: Stage,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Stage {
    /// The syntax tree, comments included
    Syntax,
    /// Blocks expanded, names resolved, shapes inferred
    Model,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    match args.stage {
        Stage::Syntax => print!("{}", dsl::syntax_text(&dsl::parse(&args.model.source()?)?)),
        Stage::Model => print!("{}", args.model.architecture()?.text()),
    }
    Ok(ExitCode::SUCCESS)
}
