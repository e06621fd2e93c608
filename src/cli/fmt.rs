use std::{
    fs,
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use miette::miette;
use similar::TextDiff;

use super::{console::Console, out, output};
use crate::dsl::{self, MAX_SOURCE_BYTES, Source};

/// Writes model files in the standard form
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx fmt experiments
  vitx fmt --check --diff experiments/cifar100_vit.vitx
  vitx fmt - < model.vitx > formatted.vitx")]
pub struct Args {
    /// Model files, folders (every .vitx in them), or `-` for standard input to standard output
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Changes nothing; exit code 1 where something would change
    #[arg(long)]
    check: bool,
    /// Prints what would change, and changes nothing
    #[arg(long)]
    diff: bool,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let console = Console::new();
    let mut code = ExitCode::SUCCESS;
    for path in &args.paths {
        if path == Path::new("-") {
            if standard_input(args, &console)? && args.check {
                code = ExitCode::FAILURE;
            }
            continue;
        }
        for file in files(path)? {
            // One file's mistakes do not keep the others from being formatted.
            match one(&file, args, &console) {
                Ok(changed) if changed && args.check => code = ExitCode::FAILURE,
                Ok(_) => {}
                Err(report) => {
                    out::report(&report);
                    code = ExitCode::FAILURE;
                }
            }
        }
    }
    Ok(code)
}

/// Formats a file; gives whether that changes it.
fn one(path: &Path, args: &Args, console: &Console) -> miette::Result<bool> {
    let source = Source::read(path)?;
    let formatted = dsl::format(&source)?;
    if formatted == source.text {
        return Ok(false);
    }
    show_difference(&source, &formatted, args, console);
    if args.check {
        console.line(&format!("{} is not in the standard form", path.display()));
    } else if !args.diff {
        // What is read once and gone, as a pipe is, has no place to be written to.
        if !path.is_file() {
            let help = "format standard input: vitx fmt - < FILE";
            return Err(miette!(help = help, "cannot format `{}`: it is no file", path.display()));
        }
        output::write(path, formatted.as_bytes())?;
        console.line(&format!("formatted {}", path.display()));
    }
    Ok(true)
}

fn standard_input(args: &Args, console: &Console) -> miette::Result<bool> {
    let mut bytes = Vec::new();
    let limit = MAX_SOURCE_BYTES as u64 + 1;
    std::io::stdin()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| miette!("cannot read standard input: {error}"))?;
    let source = Source::from_bytes("<stdin>", bytes)?;
    let formatted = dsl::format(&source)?;
    show_difference(&source, &formatted, args, console);
    if !args.check && !args.diff {
        // To the byte, except where they would act on a terminal.
        match std::io::stdout().is_terminal() {
            true => out::line(formatted.trim_end()),
            false => out::exact(formatted.as_bytes()),
        }
    }
    Ok(formatted != source.text)
}

fn show_difference(source: &Source, formatted: &str, args: &Args, console: &Console) {
    if args.diff && source.text != formatted {
        let diff = TextDiff::from_lines(source.text.as_str(), formatted);
        let text = diff.unified_diff().header(&source.name, &format!("{} (formatted)", source.name)).to_string();
        console.line(text.trim_end());
    }
}

/// The file itself, or every model file in a folder and its folders, in order.
fn files(path: &Path) -> miette::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = Vec::new();
    if path.is_dir() {
        folders.push(path.to_owned())
    } else {
        found.push(path.to_owned())
    }
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| miette!("cannot read `{}`: {error}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| miette!("cannot read `{}`: {error}", folder.display()))?;
            let path = entry.path();
            // Links to folders are not followed: they may lead back here.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "vitx") && path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
