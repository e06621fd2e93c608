use std::{path::PathBuf, process::ExitCode};

use super::console::Console;
use crate::report::{Format, Record, Sort, render};

/// Prints the table of a sweep, or of the runs in a folder, from disk
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx report runs/sweeps/digits_vit-1a2b3c4d --format markdown --sort accuracy")]
pub struct Args {
    /// Directory of a sweep, of a trial, or of many trials
    directory: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Sorts the rows [default: by what was changed]
    #[arg(long, value_enum)]
    sort: Option<Sort>,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let records = Record::read_all(&args.directory)?;
    Console::new().line(&render(&records, args.format, args.sort));
    Ok(ExitCode::SUCCESS)
}
