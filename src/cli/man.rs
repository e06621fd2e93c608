//! Pages for `man`, one for each command, of what `--help` is made of.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use miette::IntoDiagnostic;

use super::{Cli, out};
use crate::{
    experiment::ExperimentError,
    files::{make_folder, replace},
};

/// Writes a page for `man` of each command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx man ~/.local/share/man/man1
  man vitx-run")]
pub struct Args {
    /// The folder to write into, which is made if need be; `man` looks into those called `man1`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    make_folder(&args.folder).map_err(ExperimentError::from)?;
    let count = write(&command, "vitx", &args.folder)?;
    out::line(&format!("wrote {count} pages into {}", args.folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes the pages of a command and of those below it; gives their number.
fn write(command: &Command, name: &str, folder: &Path) -> miette::Result<usize> {
    replace(&folder.join(format!("{name}.1")), &page(command).into_diagnostic()?).map_err(ExperimentError::from)?;
    let mut count = 1;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        count += write(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(count)
}

/// The page of a command. Its examples keep their lines, which clap_mangen would fill.
fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command.clone()).source(concat!("vitx ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(examples) = examples {
        let mut roff = Roff::new();
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        for line in examples.lines().map(|line| line.trim_start_matches("Examples:").trim_start_matches("Example:")) {
            if !line.trim().is_empty() {
                roff.text([roman(line.trim())]);
            }
        }
        roff.control("fi", []);
        roff.to_writer(&mut page)?;
    }
    Ok(without_needless_breaks(&String::from_utf8_lossy(&page)).into_bytes())
}

/// An empty line ends a line by itself.
fn without_needless_breaks(page: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let is_empty_line =
        |at: Option<usize>| at.and_then(|at| lines.get(at)).is_some_and(|line| line.is_empty() || *line == ".sp");
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| **line != ".br" || !(is_empty_line(at.checked_sub(1)) || is_empty_line(Some(at + 1))));
    kept.map(|(_, line)| format!("{line}\n")).collect()
}
