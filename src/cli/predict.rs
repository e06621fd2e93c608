use std::{path::PathBuf, process::ExitCode};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use super::{console::Console, engine_args::EngineArgs};
use crate::{
    backend::Batch,
    data::{Broken, DataError, Loaded, Pipeline, Split, decode::Encoded, names::shown},
    experiment::{Definition, ExperimentError, needs, training},
    train::Interrupt,
    trial::Directory,
};

/// Classifies pictures with the best weights of a trial
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx predict runs/cifar100_vit-5d0c3f1a cat.jpg dog.png")]
pub struct Args {
    /// Directory of the trial
    directory: PathBuf,
    /// Pictures (PNG, JPEG, WebP) of any size
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// How many classes to show
    #[arg(long, default_value_t = 5)]
    top: usize,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let definition = Definition::of_trial(&args.directory)?;
    let input = definition.input(&args.directory)?;
    let architecture = definition.architecture(&input.spec())?;
    let [height, width, _] = architecture.image_shape();
    let pipeline = Pipeline::new(&input.statistics, (input.height, input.width), input.channels, (height, width));
    let options = args.engine.options(Interrupt::default());
    needs::check_prediction(&definition, &input.spec(), &options)?;
    let checkpoint = Directory::new(&args.directory).best();
    let mut engine = training::trained(&definition, architecture, &checkpoint, &options)?;
    let mut loaded = Loaded::default();
    let console = Console::new();
    let (size, mut broken) = ((input.width as u32, input.height as u32), Vec::new());
    for path in &args.images {
        let pixels = match Encoded::read(path).and_then(|picture| picture.pixels(input.channels, Some(size))) {
            Ok(pixels) => pixels.bytes,
            Err(reason) => {
                broken.push(Broken { name: shown(path.as_os_str()), reason });
                continue;
            }
        };
        let split = Split::new(pixels, vec![0]);
        pipeline.batch(&split, &[0], 0, None, &mut loaded);
        engine
            .evaluate(&Batch { images: &loaded.images, labels: &loaded.labels, mixed: None })
            .map_err(|error| ExperimentError::of_weights(&checkpoint, error))?;
        console.line(&format!("{}\n{}", shown(path.as_os_str()), table(engine.logits(), &input.class_names, args.top)));
    }
    if !broken.is_empty() {
        let help = "PNG, JPEG and WebP files are read; convert, repair or leave these out".into();
        return Err(DataError::Pictures { folder: None, total: args.images.len(), broken, help }.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// The `top` most probable classes.
fn table(logits: &[f32], class_names: &[String], top: usize) -> Table {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    let name = |class: usize| class_names.get(class).cloned().unwrap_or_else(|| format!("(class {class})"));
    let mut classes: Vec<(String, f32)> =
        exponentials.iter().enumerate().map(|(class, e)| (name(class), e / sum)).collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["class", "probability"]);
    for (name, probability) in classes.into_iter().take(top) {
        table.add_row([name, format!("{:.2}%", 100.0 * probability)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model may have more classes than the data that it was trained on.
    #[test]
    fn all_probabilities_are_shown() {
        let names = ["blue", "red"].map(str::to_owned);
        let shown = table(&[0.0, 0.0, 0.0, 2.0_f32.ln()], &names, 5).to_string();
        let rows = [("(class 3)", "40.00%"), ("blue", "20.00%"), ("red", "20.00%"), ("(class 2)", "20.00%")];
        let at = rows.map(|(name, share)| shown.lines().position(|l| l.contains(name) && l.contains(share)).unwrap());
        assert!(at.is_sorted(), "{shown}");
    }
}
