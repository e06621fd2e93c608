use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use miette::miette;

use super::{console, out};
use crate::{
    experiment::ExperimentError,
    files::{FileError, make_folder, replace, replace_by},
    weights::{
        Hub, HubFile, Table, WeightsError,
        import::{Config, Imported, import},
    },
};

/// Makes an experiment of pretrained weights: their network as a text, how its images are normalised, the weights
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vitx import hf://timm/vit_tiny_patch16_224.augreg_in21k
  vitx import model.safetensors -o flowers")]
pub struct Args {
    /// A safetensors file of timm or transformers, with its `config.json` beside it, a `.npz` of the ViT's authors, or
    /// `hf://ORG/NAME`
    weights: String,
    /// The folder that is made [default: the name of the repository, or of the file]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The data set of the experiment
    #[arg(long, value_name = "NAME", default_value = "cifar100")]
    data: String,
}

/// What the files of the new folder are called.
const FILES: [&str; 3] = ["model.safetensors", "network.vitx", "finetune.yaml"];
/// The first of them, where the weights are an archive of NumPy.
const ARCHIVE: &str = "model.npz";

pub fn run(args: &Args) -> miette::Result<ExitCode> {
    crate::data::sources::find(&args.data)?;
    let (path, config, name) = match HubFile::of_text(&args.weights) {
        Some(file) => of_hub(&file?)?,
        None => of_disk(Path::new(&args.weights))?,
    };
    let table = Table::read(&path)?;
    let imported = import(&table, &config).map_err(|problem| {
        let help =
            Some("a model can be written by hand, and `init.names` says which of its layers is which".to_owned());
        WeightsError::Format { path: path.clone(), problem, help }
    })?;
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(name));
    let archive = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"));
    let files = if archive { [ARCHIVE, FILES[1], FILES[2]] } else { FILES };
    if let Some(there) = files.iter().map(|file| folder.join(file)).find(|file| file.exists()) {
        let help = "give another folder with --output, or remove it";
        return Err(miette!(help = help, "`{}` is there already", there.display()));
    }
    make_folder(&folder).map_err(ExperimentError::from)?;
    let [weights, model, experiment] = files.map(|file| folder.join(file));
    copy(&path, &weights).map_err(ExperimentError::from)?;
    replace(&model, imported.text.as_bytes()).map_err(ExperimentError::from)?;
    replace(&experiment, text(args, &imported, files[0]).as_bytes()).map_err(ExperimentError::from)?;
    let params: Vec<String> = imported.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    out::line(&format!(
        "{}: {} by the names of {}, with {}",
        folder.display(),
        imported.model,
        imported.library,
        params.join(", ")
    ));
    out::line(&format!("vitx run {}", experiment.display()));
    Ok(ExitCode::SUCCESS)
}

/// The weights of a repository, what stands beside them, and its name.
fn of_hub(file: &HubFile) -> Result<(PathBuf, Config, String), ExperimentError> {
    let hub = Hub::of_environment();
    let get = |file: &HubFile| console::of_hub(file, &hub);
    let path = get(file)?;
    // Not every repository has both.
    let beside = |name: &str| match file.beside(name).find(&hub, &mut |_, _| {})? {
        Some(path) => json(&path),
        None => Ok(None),
    };
    let config = Config { network: beside("config.json")?, images: beside("preprocessor_config.json")? };
    Ok((path, config, file.name().to_owned()))
}

/// A file, what stands beside it, and its name without ending.
fn of_disk(path: &Path) -> Result<(PathBuf, Config, String), ExperimentError> {
    let beside = |name: &str| json(&path.with_file_name(name));
    let config = Config { network: beside("config.json")?, images: beside("preprocessor_config.json")? };
    let name = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
    Ok((path.to_owned(), config, name))
}

/// A JSON file; `None` where there is none.
fn json(path: &Path) -> Result<Option<serde_json::Value>, ExperimentError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(FileError::io("read", path))?;
    let problem = |error: serde_json::Error| WeightsError::Config { path: path.to_owned(), problem: error.to_string() };
    Ok(Some(serde_json::from_str(&text).map_err(problem)?))
}

/// Copies a file whole or not at all.
fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut file = fs::File::open(from).map_err(FileError::io("read", from))?;
    replace_by(to, |to| std::io::copy(&mut file, to).map(drop))
}

/// The experiment, to be changed by its reader.
fn text(args: &Args, imported: &Imported, file: &str) -> String {
    let params: Vec<String> = imported.params.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let numbers = |numbers: &[f64]| numbers.iter().map(|number| format!("{number:?}")).collect::<Vec<_>>().join(", ");
    let normalization = imported.normalization.as_ref().map_or_else(
        || "  # Nothing beside the weights tells how their images were normalised: set `normalization` if it is known.\n".to_owned(),
        |[mean, deviation]| {
            format!("  normalization: {{ mean: [{}], deviation: [{}] }}\n", numbers(mean), numbers(deviation))
        },
    );
    format!(
        "# Fine-tuning of {}, made by `vitx import`. What each key of `init` does is in docs/WEIGHTS.md.\n\
         model: network.vitx\n\
         params: {{ {} }}\n\
         data:\n  name: {}\n{normalization}\
         # A last layer of zeros, for other classes. `freeze: {{ until: classify }}` would train it alone.\n\
         init: {{ weights: {file}, names: {}, head: zero }}\n\
         augmentation: [random_flip]\n\
         train:\n  epochs: 10\n  batch_size: 64\n  \
         optimizer: {{ name: sgd, learning_rate: 0.01, momentum: 0.9, clip_norm: 1 }}\n  \
         schedule: {{ kind: cosine, warmup_epochs: 0.5 }}\n",
        args.weights,
        params.join(", "),
        args.data,
        imported.library,
    )
}
