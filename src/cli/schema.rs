use std::process::ExitCode;

use miette::IntoDiagnostic;

use super::out;
use crate::experiment::json_schema::schema;

/// Prints the JSON schema of experiment files, by which editors complete and check them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx schema > experiment.schema.json")]
pub struct Args {}

pub fn run(_: &Args) -> miette::Result<ExitCode> {
    out::line(&serde_json::to_string_pretty(&schema()).into_diagnostic()?);
    Ok(ExitCode::SUCCESS)
}
