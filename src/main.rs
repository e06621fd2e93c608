//! The program `vitx`: its subcommands are those of [`vitx::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vitx::cli::main()
}
