use std::{
    io::BufRead,
    path::{Path, PathBuf},
    process::ExitCode,
};

use miette::miette;

use super::{
    choice::words,
    engine_args::EngineArgs,
    out, output,
    predictions::{RowFormat, largest},
};
use crate::{
    choice::Choice,
    data::{
        Broken, DataError,
        names::shown,
        picture,
        walk::{FORMATS, Walk},
    },
    experiment::{Classified, Classifier, Occlusion},
    train::Interrupt,
};

/// Pictures that are classified at a time: more of them are not faster.
const BATCH: usize = 16;

/// Classifies pictures with the best weights of a trial
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx predict runs/cifar100_vit-5d0c3f1a cat.jpg dog.png
  vitx predict runs/cifar100_vit-5d0c3f1a photos --format csv --top 1 > photos.csv
  find photos -newer last | vitx predict runs/cifar100_vit-5d0c3f1a - --format json")]
pub struct Args {
    /// Directory of the trial
    directory: PathBuf,
    /// Pictures (PNG, JPEG, WebP, BMP, GIF, TIFF) of any size, folders of them, and folders within; `-` for standard input
    /// with a path on each line
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// How many classes to show
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// What is written of each picture, as soon as it is known
    #[arg(long, value_parser = words::<RowFormat>(), default_value = RowFormat::Table.word())]
    format: RowFormat,
    /// Draws which parts of one picture its most probable class is told by: the picture, and beside it, in red, where
    /// covering it makes the class less probable (PNG); `-` for standard output
    #[arg(long, value_name = "FILE")]
    explain: Option<PathBuf>,
    /// Squares in a row, and in a column, that are covered one after the other
    #[arg(long, value_name = "COUNT", default_value_t = 14, requires = "explain", value_parser = clap::value_parser!(u32).range(2..=64))]
    grid: u32,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    if let Some(file) = &args.explain {
        return explain(args, file);
    }
    let options = args.engine.options(Interrupt::default())?;
    let few = args.images.iter().all(|path| path != Path::new("-") && !path.is_dir());
    let batch = if few { args.images.len().min(BATCH) } else { BATCH };
    let mut classifier = Classifier::of_trial(&args.directory, batch, &options)?;
    let top = classifier.classes().min(args.top as usize);
    if let Some(header) = args.format.header(top) {
        out::line(&header);
    }
    let mut unreadable = None;
    // Of a second `-` there is nothing left.
    let mut lines = Some(Lines { unreadable: &mut unreadable });
    let named = args.images.iter().flat_map(move |path| -> Box<dyn Iterator<Item = PathBuf>> {
        match path == Path::new("-") {
            true => Box::new(lines.take().into_iter().flatten()),
            false => Box::new(std::iter::once(path.clone())),
        }
    });
    let (mut total, mut broken) = (0, Vec::new());
    classifier.run(Walk::new(named), |classifier, Classified { name, probabilities }| {
        total += 1;
        let classes = |probabilities: Vec<f32>| -> Vec<(String, f32)> {
            largest(&probabilities, top).into_iter().map(|at| (classifier.class(at), probabilities[at])).collect()
        };
        let found = probabilities.map(classes);
        out::line(&args.format.row((&name, found.as_deref().map_err(String::as_str)), top));
        if let Err(reason) = found {
            broken.push(Broken { name, reason });
        }
    })?;
    if let Some(error) = unreadable {
        return Err(miette!(help = "each line is the path of a picture or of a folder", "standard input: {error}"));
    }
    if !broken.is_empty() {
        let help = format!("{FORMATS} files are read; convert, repair or leave these out");
        return Err(DataError::Pictures { folder: None, total, broken, help }.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Draws what one picture is known by.
fn explain(args: &Args, file: &Path) -> miette::Result<ExitCode> {
    let [path] = args.images.as_slice() else {
        return Err(miette!(
            help = "name one picture",
            "--explain draws one picture, and {} are named",
            args.images.len()
        ));
    };
    let options = args.engine.options(Interrupt::default())?;
    let mut classifier = Classifier::of_trial(&args.directory, BATCH, &options)?;
    let found = classifier.occlusion(path, args.grid as usize)?;
    let Occlusion { class, probability, pixels, size, grid, falls } = &found;
    output::write(file, &output::png(&picture::falls(pixels, *size, falls, *grid))?)?;
    let largest = falls.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let say = if output::is_standard(file) { out::note } else { out::line };
    let percent = |share: f32| format!("{:.2}%", 100.0 * share);
    say(&format!("{}: {}, {}", shown(path.as_os_str()), classifier.class(*class), percent(*probability)));
    say(&match largest > 0.0 {
        true => format!("at most {} less where a part is covered; that is red", percent(largest)),
        false => "no part makes it less probable when it is covered".to_owned(),
    });
    Ok(ExitCode::SUCCESS)
}

/// Paths on the lines of standard input, read as they are needed; empty lines are none.
struct Lines<'a> {
    /// Why it could not be read to its end.
    unreadable: &'a mut Option<std::io::Error>,
}

impl Iterator for Lines<'_> {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        loop {
            let mut line = Vec::new();
            match std::io::stdin().lock().read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    *self.unreadable = Some(error);
                    return None;
                }
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            if !line.is_empty() {
                return Some(path(line));
            }
        }
    }
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned().into()
}
