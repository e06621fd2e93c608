use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use miette::Diagnostic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ExperimentError,
    ema::Ema,
    identity::absolute,
    image_size::{self, ImageSizes},
    init::Init,
    json_schema,
    loss::LossConfig,
    optimizer::{LARGEST, Optimizer},
    repeated,
    schedule::ScheduleConfig,
    stop::EarlyStop,
    sweep::{ExecutorConfig, MOST_ROUND, Metric, Rule, Stopping, Strategy, executors},
    values::{self, OneOrMany, Values},
};
use crate::{
    data::{
        Augmentation, DataOptions, Fit, Keys, Nested, Normalization,
        sources::{self, Source},
    },
    dsl,
    graph::optimizers,
    train::Monitor,
};

/// One experiment, as its YAML file has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Model file, relative to the experiment's.
    pub model: PathBuf,
    /// Parameters of the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, dsl::Value>,
    /// Which images it trains on.
    pub data: Data,
    /// What training starts from, instead of random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// What is done to training images.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// How it is trained.
    #[serde(default)]
    pub train: Train,
    /// What `vitx sweep` varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepConfig>,
}

/// The variants of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SweepConfig {
    /// Values by model parameter, or by dotted key of the experiment: a list, or a text as for
    /// `--param` (`4..=8:2`). In the order of the file; the last varies fastest.
    #[serde(with = "values::ordered")]
    #[schemars(schema_with = "json_schema::swept")]
    pub params: Vec<(String, Values)>,
    /// Keys that go through their values together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zip: Vec<Vec<String>>,
    /// By key: `OTHER=VALUES`, outside of which the key does not vary.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, OneOrMany>,
    /// Conditions that a variant must meet, in the language of models: `projection_dim % num_heads == 0`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub constraints: Option<OneOrMany>,
    /// In which order the points are tried, and which of them.
    pub strategy: Strategy,
    /// How many points a search tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub trials: Option<usize>,
    /// Seeds the search.
    pub search_seed: u64,
    /// Points that a search by results proposes before it looks at results again; 4 where it is not said, or as many as there
    /// are trials at once, if they are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<usize>,
    /// Points that are tried before all others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<BTreeMap<String, dsl::Value>>,
    /// By what trials are compared.
    #[serde(skip_serializing_if = "Metric::is_default")]
    pub metric: Metric,
    /// Ends bad trials early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// How many seeds each variant is trained with, counting up from `train.seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub seeds: Option<u32>,
    /// Where trials run. No part of what the sweep is.
    #[serde(deserialize_with = "executors::name_or_keys", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<executors::NameOrKeys>")]
    pub executor: Option<ExecutorConfig>,
    /// Of so many trials the weights are kept; of all where it is not said. It defines nothing, as tags and note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<usize>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which trials end before their last epoch, see [`Stopping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Which trials end early.
    pub rule: Rule,
    /// Epochs that each trial trains in any case.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub min_epochs: u32,
    /// Of those that reach a rung, one in so many goes on, and trains so many times as long.
    #[serde(default = "three")]
    #[schemars(range(min = 2, max = 100))]
    pub factor: u32,
}

impl Stop {
    /// The rule with its numbers.
    pub fn stopping(self) -> Stopping {
        let Self { rule, min_epochs, factor } = self;
        Stopping { rule, min_epochs, factor }
    }

    /// As an experiment has it.
    pub fn of(stopping: Stopping) -> Self {
        let Stopping { rule, min_epochs, factor } = stopping;
        Self { rule, min_epochs, factor }
    }
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

fn three() -> u32 {
    3
}

/// Which images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Name of a data set.
    #[schemars(schema_with = "json_schema::data_name")]
    pub name: String,
    /// The folder of `image_folder` or the file of `npz`, relative to the experiment's file. In a trial's directory it is absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// A table of pictures with the columns `path`, `label` and `split`, instead of folders of classes; relative to the
    /// experiment's file. In a trial's directory it is absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<PathBuf>,
    /// The share of each class that tests, where the data have no images to test on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub test_split: Option<f64>,
    /// What pictures in folders within that of a class are; otherwise they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<Nested>,
    /// The column of pictures of `parquet`, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_column: Option<String>,
    /// The column of labels of `parquet`, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// 1 for grey images; by default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [1, 3, null]))]
    pub channels: Option<usize>,
    /// What becomes of a picture's aspect ratio.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fit: Fit,
    /// Of what lies there: other data are refused. Every trial's directory has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Side in pixels that `image_folder` loads its images at; no more than the model's own `image_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: Option<usize>,
    /// The last part of the training images validates, as Keras' `validation_split`. Of no use where the
    /// data set has images to validate on.
    #[serde(default = "tenth")]
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub validation_split: f64,
    /// Use only so many training images, validation included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub train_limit: Option<usize>,
    /// Use only so many test images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub test_limit: Option<usize>,
    /// Leaves out files of `image_folder` that cannot be read, instead of refusing them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_broken: bool,
    /// Mean and deviation by which images are normalised, instead of those of the training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Normalization>,
    /// Whether the images of `image_folder` are decoded before training, or whenever they are needed; by default by the
    /// memory that they take. Results do not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<bool>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// By what data of the user's are told from others: data set, places, share that tests, folders within, columns.
pub type Own = (String, Option<PathBuf>, Option<PathBuf>, Option<u64>, Option<Nested>, [Option<String>; 2]);

impl Data {
    /// A key that the data set does not know, and what is wrong with it.
    fn fault(&self) -> Option<Fault> {
        let is = |of: fn(&dyn Source) -> bool| sources::find(&self.name).is_ok_and(of);
        let (folder, pictures) = (is(sources::is_folder), is(sources::of_pictures));
        let parquet = is(|source| source.name() == "parquet");
        let own = [
            ("csv", self.csv.is_some(), folder),
            ("test_split", self.test_split.is_some(), pictures),
            ("nested", self.nested.is_some(), folder),
            ("image_column", self.image_column.is_some(), parquet),
            ("label_column", self.label_column.is_some(), parquet),
            ("channels", self.channels.is_some(), pictures),
            ("fit", !is_default(&self.fit), pictures),
        ];
        if let Some((key, ..)) = own.into_iter().find(|(_, given, known)| *given && !known) {
            let of = if key.ends_with("_column") { "parquet" } else { "image_folder" };
            let message = format!("`data.{key}` is for `{of}`; the data set here is `{}`", self.name);
            return Some(Fault { key: format!("data.{key}").into(), message, help: None });
        }
        if self.csv.is_some() && self.nested.is_some() {
            let message = "`data.nested` is of folders of classes, and `data.csv` names each picture".to_owned();
            return Some(Fault { key: "data.nested".into(), message, help: Some("leave one of them out".into()) });
        }
        None
    }

    /// Where to look for these images; `data_dir` is searched first. `model_size` is the image size that
    /// the model sets itself.
    pub fn options(&self, data_dir: Option<PathBuf>, model_size: Option<[usize; 2]>) -> DataOptions {
        let Self { image_size, skip_broken, test_split, nested, channels, fit, in_memory, .. } = *self;
        let (path, csv) = (self.path.clone(), self.csv.clone());
        let (image_column, label_column) = (self.image_column.clone(), self.label_column.clone());
        DataOptions {
            data_dir,
            path,
            csv,
            test_split,
            nested,
            image_column,
            label_column,
            channels,
            fit,
            image_size,
            model_size,
            skip_broken,
            in_memory,
        }
    }

    /// What has a digest: other pictures, or the same as other parts of the data, have another. `None` for a data set that
    /// is always the same.
    pub fn own(&self) -> Option<Own> {
        let share = self.test_split.map(f64::to_bits);
        let columns = [self.image_column.clone(), self.label_column.clone()];
        let own = (self.set_name().to_owned(), self.path.clone(), self.csv.clone(), share, self.nested, columns);
        (self.path.is_some() || self.csv.is_some()).then_some(own)
    }

    /// The name of the data set, as the data room writes it.
    pub fn set_name(&self) -> &str {
        sources::find(&self.name).map_or(&self.name, |source| source.name())
    }

    /// Makes a relative path absolute, as seen from a folder.
    pub fn place(&mut self, folder: &Path) {
        self.path = self.path.take().map(|path| absolute(folder, &path));
        self.csv = self.csv.take().map(|path| absolute(folder, &path));
    }

    /// Looks for the images elsewhere, as `--path` says, seen from the working directory.
    ///
    /// # Errors
    /// Where the data set is no folder of the user's.
    pub fn replace_path(&mut self, path: &Path) -> Result<(), ExperimentError> {
        if !sources::find(&self.name).is_ok_and(Source::is_own) {
            return Err(ExperimentError::NoFolder { name: self.name.clone() });
        }
        self.path = Some(absolute(Path::new("."), path));
        Ok(())
    }
}

/// How it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// How often each training image is seen.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Images of a step; the last batch of an epoch may have fewer.
    #[schemars(range(min = 1, max = 1048576))]
    pub batch_size: usize,
    /// So many batches make the mean gradient of one update: `gradient_accumulation_steps` of Keras' optimizers.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 65536))]
    pub gradient_accumulation_steps: u32,
    /// How many times in a row an epoch has each of its images, with other draws of augmentation each time; it is as long as
    /// without, and leaves other images out: `RepeatAugSampler` of timm.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1))]
    pub repeated_augmentation: u32,
    /// Seeds initialisation, shuffling, augmentation and dropout.
    pub seed: u64,
    /// What changes the weights, by which numbers.
    pub optimizer: Optimizer,
    /// What is minimised.
    #[serde(skip_serializing_if = "LossConfig::is_default")]
    pub loss: LossConfig,
    /// An average of the weights, which is evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<Ema>,
    /// How the learning rate goes up and down.
    pub schedule: ScheduleConfig,
    /// Smaller images in some epochs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_size: ImageSizes,
    /// What ends it before the last epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<EarlyStop>,
    /// By what the best weights are chosen.
    #[serde(skip_serializing_if = "Monitor::is_default")]
    pub monitor: Monitor,
}

impl Default for Train {
    fn default() -> Self {
        let (optimizer, schedule, monitor) = (Optimizer::default(), ScheduleConfig::default(), Monitor::default());
        Self {
            epochs: 10,
            batch_size: 256,
            gradient_accumulation_steps: 1,
            repeated_augmentation: 1,
            seed: 42,
            optimizer,
            loss: LossConfig::default(),
            ema: None,
            schedule,
            image_size: Vec::new(),
            stop: None,
            monitor,
        }
    }
}

impl Train {
    /// What an engine is made with: the optimizer's rule with all that is asked of it.
    pub fn rule(&self) -> optimizers::Optimizer {
        let Self { gradient_accumulation_steps, .. } = *self;
        optimizers::Optimizer { ema: self.ema.map(Into::into), gradient_accumulation_steps, ..self.optimizer.rule() }
    }

    /// Steps of the whole training on so many images, each of a batch.
    pub fn steps(&self, images: usize) -> u64 {
        images.div_ceil(self.batch_size) as u64 * u64::from(self.epochs)
    }

    /// Whether validation and test are of the average of the weights.
    pub fn evaluates_average(&self) -> bool {
        self.ema.is_some_and(|ema| ema.evaluate)
    }
}

fn tenth() -> f64 {
    0.1
}

/// What is wrong with the value of a dotted key.
#[derive(Debug)]
pub(super) struct Fault {
    pub key: Cow<'static, str>,
    pub message: String,
    pub help: Option<String>,
}

impl Experiment {
    /// Makes relative paths absolute, as seen from a folder.
    pub fn place(&mut self, folder: &Path) {
        self.data.place(folder);
        if let Some(init) = &mut self.init {
            init.place(folder);
        }
    }

    /// A key whose value is of the right type, but cannot be.
    pub(super) fn out_of_range(&self) -> Option<Fault> {
        let Self { data, train, augmentation, sweep, .. } = self;
        if let Err(error) = sources::find(&data.name) {
            let help = error.help().map(|help| help.to_string());
            return Some(Fault { key: "data.name".into(), message: error.to_string(), help });
        }
        if let Some(fault) = data.fault() {
            return Some(fault);
        }
        if self.model.as_os_str().is_empty() {
            let help = Some("the file of the model, beside this one: `model: vit.vitx`".into());
            return Some(Fault { key: "model".into(), message: "`model` names no file".into(), help });
        }
        if let Some(fault) = self.init.as_ref().and_then(Init::fault) {
            return Some(fault);
        }
        if let Some(fault) = train.optimizer.fault().or_else(|| train.ema.and_then(|ema| ema.fault())) {
            return Some(fault);
        }
        if let (Some(mixing), 1) = (augmentation.mixing(), train.batch_size) {
            let key = "train.batch_size".into();
            let message =
                format!("`train.batch_size` is 1, but `{mixing}` mixes the images of a batch with one another");
            return Some(Fault { key, message, help: Some(format!("at least 2, or no `{mixing}`")) });
        }
        if let Some((epoch, name)) = augmentation.last_change().filter(|(epoch, _)| *epoch >= train.epochs) {
            let message = format!("`{name}` has `from_epoch: {{ {epoch}: .. }}`, an epoch that is not trained");
            let help = Some(format!("epochs count from 0, and `train.epochs` is {}", train.epochs));
            return Some(Fault { key: "augmentation".into(), message, help });
        }
        if let Some(fault) = repeated::fault(train.repeated_augmentation, augmentation) {
            return Some(fault);
        }
        let published = sources::find(&data.name).ok().and_then(|source| source.published());
        if let Some(given) = &data.normalization {
            if let Some((key, message)) = given.fault() {
                let key = format!("data.normalization.{key}");
                return Some(Fault { message: format!("{key}: {message}"), key: key.into(), help: None });
            }
            if let Some(message) = published.and_then(|image| given.fault_of_channels(image.channels)) {
                let message = format!("data.normalization: {message}");
                return Some(Fault { key: "data.normalization".into(), message, help: None });
            }
        }
        if let Some((name, why)) = published.and_then(|image| augmentation.without_effect(image.channels)) {
            let message = format!("`{name}` does nothing to the images of `{}`: {why}", data.name);
            let help = Some(format!("leave `{name}` out"));
            return Some(Fault { key: "augmentation".into(), message, help });
        }
        let decay = |value: f32| (0.0..1.0).contains(&value);
        let some = |limit: Option<usize>| limit != Some(0);
        let at_least_1 = "at least 1";
        let below_1 = "from 0 up to, but not including, 1";
        // A list holds its numbers to their ranges where it is read.
        let Keys { rotation, zoom, .. } = match augmentation {
            Augmentation::Keys(keys) => *keys,
            Augmentation::List(_) => Keys::default(),
        };
        let single = [("augmentation.rotation", rotation), ("augmentation.zoom", zoom)];
        if let Some((key, _)) =
            single.into_iter().chain(train.schedule.numbers()).find(|(_, value)| value.is_infinite())
        {
            return Some(Fault {
                key: key.into(),
                message: format!("`{key}` is outside of float32"),
                help: Some(LARGEST.into()),
            });
        }
        if let Some(fault) = sweep.as_ref().and_then(SweepConfig::fault) {
            return Some(fault);
        }
        let stop = sweep.as_ref().and_then(|sweep| sweep.stop);
        let checks = [
            ("sweep.seeds", sweep.as_ref().is_none_or(|sweep| sweep.seeds != Some(0)), at_least_1),
            ("sweep.keep_best", sweep.as_ref().is_none_or(|sweep| some(sweep.keep_best)), at_least_1),
            ("sweep.trials", sweep.as_ref().is_none_or(|sweep| some(sweep.trials)), at_least_1),
            (
                "sweep.round",
                sweep.as_ref().and_then(|sweep| sweep.round).is_none_or(|round| (1..=MOST_ROUND).contains(&round)),
                "from 1 to 1024",
            ),
            ("sweep.stop.min_epochs", stop.is_none_or(|stop| stop.min_epochs >= 1), at_least_1),
            ("sweep.stop.factor", stop.is_none_or(|stop| (2..=100).contains(&stop.factor)), "from 2 to 100"),
            ("data.validation_split", (0.0..1.0).contains(&data.validation_split), below_1),
            ("data.test_split", data.test_split.is_none_or(|share| share > 0.0 && share < 1.0), "above 0 and below 1"),
            (
                "data.channels",
                data.channels.is_none_or(|channels| [1, 3].contains(&channels)),
                "1 (grey) or 3 (colours)",
            ),
            ("data.train_limit", some(data.train_limit), at_least_1),
            ("data.test_limit", some(data.test_limit), at_least_1),
            ("data.image_size", data.image_size.is_none_or(|size| (1..=4096).contains(&size)), "from 1 to 4096"),
            ("augmentation.rotation", (0.0..=0.5).contains(&rotation), "from 0 to 0.5 of a turn"),
            ("augmentation.zoom", decay(zoom), below_1),
            ("train.epochs", train.epochs >= 1, at_least_1),
            (
                "train.gradient_accumulation_steps",
                (1..=1 << 16).contains(&train.gradient_accumulation_steps),
                "from 1 to 65536",
            ),
            ("train.batch_size", (1..=1 << 20).contains(&train.batch_size), "from 1 to 1048576"),
        ];
        let fault = |(key, _, range): (&'static str, bool, &str)| Fault {
            key: key.into(),
            message: format!("`{key}` must be {range}"),
            help: None,
        };
        let found = checks.into_iter().find(|(_, fine, _)| !fine).map(fault);
        found
            .or_else(|| train.schedule.fault(train.epochs))
            .or_else(|| image_size::fault(&train.image_size, train.epochs))
            .or_else(|| train.stop.and_then(|stop| stop.fault()))
    }
}
