use std::{path::PathBuf, process::ExitCode};

use super::{
    console::{Console, handle_interrupts, report},
    engine_args::EngineArgs,
};
use crate::{experiment::trial, train::Interrupt};

/// Trains what a trial's directory defines, from where it stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the trial, with config.yaml and model.vitx
    directory: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let interrupt = Interrupt::default();
    handle_interrupts(&interrupt)?;
    let mut console = Console::new();
    let outcome = trial::run(&args.directory, &args.engine.options(interrupt), &mut console)?;
    Ok(report(&console, &args.directory, &outcome))
}
