use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{choice::words, out};
use crate::{choice::Choice, experiment::begin::Template, printable};

/// Writes an experiment and its model to begin with, both with comments
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx new first && cd first && vitx run
  vitx new flowers --from folder --path photos")]
pub struct Args {
    /// The folder to write into, which is made if need be
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What it begins as
    #[arg(long, value_name = "TEMPLATE", value_parser = words::<Template>(), default_value = Template::Digits.word())]
    from: Template,
    /// The folder of pictures of `--from folder`, in which each class is a folder
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let files = args.from.write(&args.folder, args.path.as_deref())?;
    for file in &files {
        out::line(&format!("wrote {}", file.display()));
    }
    let place = match args.folder == Path::new(".") {
        true => String::new(),
        false => format!("cd {} && ", printable::shell(&args.folder)),
    };
    match (args.from, &args.path) {
        (Template::Folder, None) => {
            out::line(&format!("Next: put the folder of your pictures into {}, at `path`", files[0].display()));
            out::line(&format!("then: {place}vitx run"));
        }
        (Template::Cifar100, _) => out::line(&format!("Next: vitx data fetch cifar100, then {place}vitx run")),
        _ => out::line(&format!("Next: {place}vitx run")),
    }
    Ok(ExitCode::SUCCESS)
}
