//! The command line: one file per subcommand.

use std::process::ExitCode;

use clap::Parser;

/// Describe an image-classification network, train it, sweep it, read one table.
#[derive(Debug, Parser)]
#[command(name = "vitx", version, about, arg_required_else_help = true)]
struct Cli {}

/// Runs the program on the process' arguments.
pub fn main() -> ExitCode {
    Cli::parse();
    ExitCode::SUCCESS
}
