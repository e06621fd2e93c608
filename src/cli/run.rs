use std::{fs, path::PathBuf, process::ExitCode};

use miette::{Context, IntoDiagnostic, miette};
use sha2::{Digest, Sha256};

use crate::{
    backend::{AdamW, EngineOptions, cpu::CpuEngine},
    data::{self, DataOptions, Pipeline, Statistics},
    dsl::{Source, Value},
    experiment::Experiment,
    model::{ImageSpec, elaborate},
    train::fit::Fit,
};

/// Trains the model of an experiment, keeps its best weights, and tests them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: vitx run experiments/digits_vit.yaml --param depth=2")]
pub struct Args {
    /// Experiment file (.yaml)
    experiment: PathBuf,
    /// Sets a parameter of the model, e.g. `-p depth=2`
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Seeds initialisation, shuffling and dropout
    #[arg(long)]
    seed: Option<u64>,
    /// Worker threads; results do not depend on it [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Continues an unfinished run
    #[arg(long)]
    resume: bool,
    /// Folder of data sets, searched first
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let mut experiment = Experiment::read(&args.experiment)?;
    for text in &args.param {
        let (name, value) = Value::parse_assignment(text)?;
        experiment.params.insert(name, value);
    }
    experiment.train.seed = args.seed.unwrap_or(experiment.train.seed);
    let train = experiment.train.clone();

    let options = DataOptions { data_dir: args.data_dir.clone(), ..DataOptions::default() };
    let mut dataset = data::load(&experiment.data.name, &options)?;
    dataset.limit(experiment.data.train_limit, experiment.data.test_limit);
    let (training, validation) = dataset.split_validation(experiment.data.validation_split)?;
    let spec = ImageSpec {
        height: dataset.height,
        width: dataset.width,
        channels: dataset.channels,
        num_classes: dataset.class_names.len(),
    };
    let source = Source::read(&experiment.model)?;
    let architecture = elaborate(&source, &experiment.params, &spec)?;

    // What defines the run: the same definition is the same directory.
    let definition = serde_json::to_string_pretty(&(&experiment, architecture.bindings())).into_diagnostic()?;
    let mut hash = Sha256::new();
    hash.update(&definition);
    hash.update(&source.text);
    let hash: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let stem = args.experiment.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
    let folder = PathBuf::from("runs").join(format!("{stem}-{hash}"));
    let result = folder.join("result.json");
    if folder.join("metrics.jsonl").exists() && !args.resume && !result.exists() {
        let help = "continue it with --resume, or remove the folder";
        return Err(miette!(help = help, "`{}` holds an unfinished run of this experiment", folder.display()));
    }
    fs::create_dir_all(&folder).into_diagnostic().wrap_err_with(|| format!("cannot create `{}`", folder.display()))?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).into_diagnostic().wrap_err_with(|| format!("cannot write `{}`", path.display()))
    };
    write("config.yaml", &serde_yaml::to_string(&experiment).into_diagnostic()?)?;
    write("model.vitx", &source.text)?;
    write("model.txt", &architecture.text())?;

    let statistics = Statistics::of(&training, dataset.channels)?;
    let [height, width, _] = architecture.image_shape();
    let pipeline = Pipeline::new(&statistics, (dataset.height, dataset.width), dataset.channels, (height, width));
    let optimizer = AdamW { weight_decay: train.weight_decay, ..AdamW::default() };
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let parameters = architecture.summary().parameters;
    let engine_options = EngineOptions { optimizer, seed: train.seed, threads };
    let mut engine = CpuEngine::new(Box::new(move |builder, batch| architecture.lower(builder, batch)), engine_options)
        .into_diagnostic()?;
    println!(
        "{}: {parameters} parameters, {} training, {} validation and {} test images; in {}",
        dataset.name,
        training.len(),
        validation.len(),
        dataset.test.len(),
        folder.display()
    );
    let fit = Fit {
        train: &training,
        validation: &validation,
        test: &dataset.test,
        pipeline: &pipeline,
        epochs: train.epochs,
        batch_size: train.batch_size,
        seed: train.seed,
        learning_rate: train.learning_rate,
        folder: &folder,
    };
    fit.run(&mut engine, |epoch| {
        let validation = match (epoch.val_loss, epoch.val_accuracy) {
            (Some(loss), Some(accuracy)) => format!(" - val_loss: {loss:.4} - val_accuracy: {accuracy:.4}"),
            _ => String::new(),
        };
        println!(
            "epoch {}/{} - {:.1} s - {:.0} images/s - loss: {:.4} - accuracy: {:.4} - top_5_accuracy: {:.4}{validation}",
            epoch.epoch,
            train.epochs,
            epoch.seconds,
            epoch.images_per_second,
            epoch.loss,
            epoch.accuracy,
            epoch.top_5_accuracy,
        );
    })
    .into_diagnostic()?;
    let test = fit.test(&mut engine).into_diagnostic()?;
    write("result.json", &serde_json::to_string_pretty(&test).into_diagnostic()?)?;
    println!("Test accuracy: {:.2}%", 100.0 * test.accuracy);
    println!("Test top 5 accuracy: {:.2}%", 100.0 * test.top_5_accuracy);
    Ok(ExitCode::SUCCESS)
}
