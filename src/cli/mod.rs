//! The command line: one file per subcommand, each with `Args` and `run`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Describe an image-classification network, train it, sweep it, read one table.
#[derive(Debug, Parser)]
#[command(name = "vitx", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Runs the program on the process' arguments. Errors print as diagnostics and give exit code 1.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result: miette::Result<ExitCode> = match cli.command {};
    result.unwrap_or_else(|report| {
        eprintln!("{report:?}");
        ExitCode::FAILURE
    })
}
