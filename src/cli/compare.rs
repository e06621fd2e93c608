use std::{path::PathBuf, process::ExitCode};

use super::console::Console;
use crate::report;

/// Shows how single runs differ: configurations, models, results, curves
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx compare runs/digits_vit-76d813208cd4 runs/digits_vit-0c11de52a3b4")]
pub struct Args {
    /// Directories of trials; the first is what the others are compared with
    #[arg(required = true, num_args = 2..)]
    directories: Vec<PathBuf>,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    Console::new().line(&report::compare(&args.directories)?);
    Ok(ExitCode::SUCCESS)
}
