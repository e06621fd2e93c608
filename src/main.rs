use std::process::ExitCode;

fn main() -> ExitCode {
    vitx::cli::main()
}
