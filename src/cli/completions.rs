use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, out};

/// Prints what completes commands and options in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx completions bash > ~/.local/share/bash-completion/completions/vitx
  vitx completions zsh > ~/.zfunc/_vitx        # with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  vitx completions fish > ~/.config/fish/completions/vitx.fish
  vitx completions powershell >> $PROFILE")]
pub struct Args {
    shell: Shell,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vitx", &mut script);
    out::exact(&script);
    Ok(ExitCode::SUCCESS)
}
