use std::process::ExitCode;

use miette::{JSONReportHandler, Report, miette};

use super::{
    console::{Console, warn},
    model::ModelArgs,
    out,
};
use crate::{
    dsl::Problem,
    experiment::sweep::{Given, Sweep},
    model::Architecture,
};

/// Checks a model or an experiment: all diagnostics, exit code 1 if there are any errors
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx check experiments/cifar100_vit.vitx --param patch_size=8
  vitx check experiments/cifar100_vit.yaml
  vitx check digits_vit
  vitx check --format json experiments/cifar100_vit.vitx")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// `json`: one document on standard output for editors and CI, with codes, places in bytes and helps
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let file = args.model.file().map(|file| file.display().to_string()).unwrap_or_default();
    let fine = |model: &Architecture| format!("{file}: model `{}` is fine", model.name());
    match (check(args), args.format) {
        (Ok(model), Format::Text) => {
            warn(model.warnings());
            Console::new().line(&fine(&model));
        }
        (Ok(model), Format::Json) => {
            let all = Problem::advice("vitx::fine", fine(&model)).with_related(model.warnings());
            out::line(&json(&all.into())?);
        }
        (Err(report), Format::Text) => return Err(report),
        (Err(report), Format::Json) => {
            out::line(&json(&report)?);
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(args: &Args) -> miette::Result<Architecture> {
    let experiment = args.model.experiment()?.filter(|definition| definition.experiment.sweep.is_some());
    // What it varies is there, and fits together.
    let sweep = experiment.map(|definition| Sweep::new(&definition, &Given::default())).transpose()?;
    let architecture = args.model.architecture()?;
    sweep.map_or(Ok(()), |sweep| sweep.check_read(&architecture))?;
    Ok(architecture)
}

/// All diagnostics of a report as miette writes them.
fn json(report: &Report) -> miette::Result<String> {
    let mut text = String::new();
    let written = JSONReportHandler::new().render_report(&mut text, report.as_ref());
    written.map_err(|error| miette!("cannot write the diagnostics as JSON: {error}"))?;
    // The order of its keys is the handler's; that it is JSON is ours to promise.
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(miette!("cannot write the diagnostics as JSON: {error}")),
    }
}
