use std::{path::PathBuf, process::ExitCode};

use miette::miette;
use serde_json::{Map, Value, json};

use super::{
    choice::words,
    console::{Console, print_accuracy},
    engine_args::EngineArgs,
    mistakes::{self, Mistakes},
    out, output, scores,
};
use crate::{
    choice::Choice,
    data::{Loader, Subset},
    experiment::{Definition, ExperimentError, Scored, best_weights, needs, training},
    metrics::Confusion,
    report::pictures,
    train::{Flips, Interrupt, evaluate_each, evaluate_flips},
};

/// Evaluates the best weights of a trial
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx eval runs/digits_vit-76d813208cd4 --split validation
  vitx eval runs/digits_vit-76d813208cd4 --report --confusion matrix.csv
  vitx eval runs/digits_vit-76d813208cd4 --report --confusion matrix.png --mistakes mistakes.png
  vitx eval runs/digits_vit-76d813208cd4 --report --format json")]
pub struct Args {
    /// Directory of the trial
    directory: PathBuf,
    /// Which images
    #[arg(long, value_parser = words::<Subset>(), default_value = Subset::Test.word())]
    split: Subset,
    /// Where the folder of `image_folder` lies now, or another one with classes that the trial knows
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Evaluates mirror images, too: by the mean of the logits of each image and its mirror image, shown apart
    #[arg(long)]
    flips: bool,
    /// Shows precision, recall and F1 of each class, and which classes are taken for which; with --flips, by the mean of the
    /// logits
    #[arg(long)]
    report: bool,
    /// Writes the confusion matrix: of each class a row, of each prediction a column; a picture if the file ends in .png, else
    /// CSV; `-` for standard output
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
    /// Draws the worst mistakes (PNG): the highest loss first, with the class and what it was taken for
    #[arg(long, value_name = "FILE")]
    mistakes: Option<PathBuf>,
    /// Of how many images
    #[arg(long, value_name = "COUNT", default_value_t = 24, requires = "mistakes", value_parser = clap::value_parser!(u32).range(1..=1000))]
    mistakes_count: u32,
    /// How results are shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    /// One object, with numbers in full
    Json,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let definition = Definition::of_trial_at(&args.directory, args.path.as_deref())?;
    let checkpoint = best_weights(&args.directory)?;
    let options = args.engine.options(Interrupt::default())?;
    let input = definition.input(&args.directory)?;
    needs::check_evaluation(&definition, &input.spec(), args.split, &options)?;
    let scored = Scored::new(&args.directory, &definition, options.data_dir.clone(), args.split)?;
    if let (Some(changes), None) = (&scored.changes, &args.path) {
        out::note(&format!("The images are not those that the run began with: {changes}"));
    }
    let mut confusion = Confusion::new(scored.architecture.num_classes());
    let mut engine = training::trained(&definition, scored.architecture, &checkpoint, &options)?;
    let batch_size = definition.experiment.train.batch_size;
    let (pipeline, split, workers) = (&scored.pipeline, &scored.split, options.workers_for(&scored.split));
    let loader = Loader { pipeline, split, augmentation: None, workers };
    let mut mistakes = args.mistakes.is_some().then(|| Mistakes::new(args.mistakes_count as usize));
    let mut each = |logits: &[f32], labels: &[u32]| {
        confusion.add(logits, labels);
        mistakes.iter_mut().for_each(|mistakes| mistakes.add(logits, labels));
    };
    let evaluated = match args.flips {
        true => evaluate_flips(engine.as_mut(), &loader, batch_size, &mut each)
            .map(|Flips { plain, flips }| (plain, Some(flips))),
        false => evaluate_each(engine.as_mut(), &loader, batch_size, &mut each).map(|plain| (plain, None)),
    };
    let (means, flips) = evaluated.map_err(|error| ExperimentError::of_weights(&checkpoint, error))?;
    let class = |class: usize| input.class_names.get(class).cloned().unwrap_or_else(|| format!("(class {class})"));
    let (worst, wrong) = mistakes.map(Mistakes::finish).unwrap_or_default();
    let ema = definition.experiment.train.evaluates_average();
    match args.format {
        Format::Json => {
            let mut all = Map::new();
            all.insert("split".into(), args.split.word().into());
            all.insert("images".into(), split.len().into());
            all.insert("ema".into(), ema.into());
            if let Value::Object(means) = scores::means(&means) {
                all.extend(means);
            }
            all.extend(flips.map(|flips| ("flips".into(), scores::means(&flips))));
            if args.report {
                all.extend(scores::report_json(&confusion, &class).map(|(key, value)| (key.to_owned(), value)));
            }
            if args.mistakes.is_some() {
                all.insert("mistakes".into(), mistakes::json(&worst, split, &class));
            }
            out::line(&format!("{:#}", json!(all)));
        }
        Format::Text => {
            let name = match args.split {
                Subset::Train => "Train",
                Subset::Validation => "Validation",
                Subset::Test => "Test",
            };
            let name = &format!("{name}{}", if ema { " (ema)" } else { "" });
            let console = Console::new();
            let flipped = format!("{name} with flips");
            for (name, means) in [(name, means)].into_iter().chain(flips.map(|flips| (&flipped, flips))) {
                console.line(&format!("{name} loss: {:.4}", means.loss));
                print_accuracy(&console, name, means.accuracy, means.top_5_accuracy);
            }
            if args.report {
                out::line(&scores::report(&confusion, &class));
            }
        }
    }
    if let Some(file) = &args.confusion {
        let names: Vec<String> = (0..confusion.classes().count()).map(class).collect();
        let is_picture = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
        let bytes = match is_picture {
            true => {
                let row = |label: usize| confusion.row(label).to_vec();
                let picture = pictures::confusion(&names, &row);
                output::png(&picture.map_err(|error| miette!("the matrix cannot be drawn: {error}"))?)?
            }
            false => scores::matrix(&confusion, &names),
        };
        output::write(file, &bytes)?;
    }
    match &args.mistakes {
        Some(_) if worst.is_empty() => out::note("No image was taken for another class: no mistakes are drawn"),
        Some(file) => {
            mistakes::draw(file, &worst, split, pipeline, &class)?;
            let text = format!("{}: {} of {wrong} mistakes, the highest loss first", file.display(), worst.len());
            out::note(&text);
        }
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}
