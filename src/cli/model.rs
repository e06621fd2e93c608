//! What the commands that look at a model share: which model, and for which data.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use super::{named, params};
use crate::{
    data::{self, DataOptions},
    dsl::{MAX_SOURCE_BYTES, Problem, Source, Value},
    experiment::{Definition, Overrides},
    model::{Architecture, ImageSpec, elaborate},
};

/// A model, and what stands in for a data set where it is no experiment's.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Model file (.vitx), `-` for standard input, or an experiment (.yaml) with its model and data set; or the name of one that
    /// the binary carries [default: experiment.yaml]
    file: Option<PathBuf>,
    /// What `file` stands for, once that is looked up.
    #[arg(skip)]
    named: OnceCell<PathBuf>,
    /// Sets a parameter of the model, e.g. `-p patch_size=4`
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Height and width of the data set's images, in pixels, for models that do not set `image_size`
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<usize>,
    /// Channels of the data set's images
    #[arg(long, value_name = "NUMBER")]
    pub channels: Option<usize>,
    /// Classes of the data set
    #[arg(long, value_name = "NUMBER")]
    pub num_classes: Option<usize>,
    /// The data set that the model is looked at for, in place of these: cifar10, cifar100, digits, ..
    #[arg(long, value_name = "NAME", conflicts_with_all = ["image_size", "channels", "num_classes"])]
    pub data: Option<String>,
}

/// What stands in for a data set where none is named.
const ASSUMED: ImageSpec = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 };

/// What was assumed of the data, for no option and no parameter of the model said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Assumed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
}

impl Assumed {
    /// `32x32x3 images and 100 classes`; `None` where nothing was assumed.
    pub fn text(&self) -> Option<String> {
        let images = match (self.image_size, self.channels) {
            (Some(size), Some(channels)) => Some(format!("{size}x{size}x{channels} images")),
            (Some(size), None) => Some(format!("{size}x{size} images")),
            (None, Some(channels)) => Some(format!("images of {channels} channels")),
            (None, None) => None,
        };
        let classes = self.num_classes.map(|classes| format!("{classes} classes"));
        let all: Vec<String> = images.into_iter().chain(classes).collect();
        let said = "--data NAME, or --image-size, --channels and --num-classes, say otherwise";
        (!all.is_empty()).then(|| format!("assumed {}; {said}", all.join(" and ")))
    }
}

impl ModelArgs {
    /// The file that is meant.
    pub fn file(&self) -> miette::Result<&Path> {
        if let Some(path) = self.named.get() {
            return Ok(path);
        }
        let path = named::experiment(self.file.as_deref(), None)?;
        Ok(self.named.get_or_init(|| path))
    }

    /// The experiment, if it is one.
    pub fn experiment(&self) -> miette::Result<Option<Definition>> {
        if !self.is_experiment()? {
            return Ok(None);
        }
        Ok(Some(Definition::read(self.file()?, &Overrides { params: self.overrides()?, ..Overrides::default() })?))
    }

    /// The text of the model.
    pub fn source(&self) -> miette::Result<Source> {
        if self.file()?.as_os_str() == "-" {
            let mut bytes = Vec::new();
            // One byte more than fits tells that there is more.
            let read = std::io::stdin().lock().take(MAX_SOURCE_BYTES as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|error| Problem::new("vitx::io", format!("cannot read standard input: {error}")))?;
            return Ok(Source::from_bytes("<stdin>", bytes)?.with_files(Path::new("."))?);
        }
        Ok(match self.experiment()? {
            Some(definition) => definition.source,
            None => Definition::model(self.file()?)?,
        })
    }

    fn overrides(&self) -> miette::Result<BTreeMap<String, Value>> {
        params::read(&self.param)
    }

    /// Reads and checks the model.
    pub fn architecture(&self) -> miette::Result<Architecture> {
        if let Some(definition) = self.experiment()? {
            let name = &definition.experiment.data.name;
            return Ok(definition.architecture(&data::image_spec(name, &definition.data_options(None))?)?);
        }
        let overrides = self.overrides()?;
        let origin = |position: usize| {
            let (name, value) = overrides.iter().nth(position)?;
            Some(Problem::advice("vitx::origin", format!("`{name}` is {value} by `--param`")))
        };
        let images = self.images()?;
        match elaborate(&self.source()?, &overrides, &images) {
            Ok(architecture) => Ok(architecture.explained(origin)),
            Err(diagnostics) => {
                let diagnostics = diagnostics.explained(origin);
                Err(match self.assumption(&images) {
                    Some(assumption) => diagnostics.remarked("vitx::data", &assumption).into(),
                    None => diagnostics.into(),
                })
            }
        }
    }

    /// The images that a model is looked at for, if it is no experiment's.
    fn images(&self) -> miette::Result<ImageSpec> {
        if let Some(name) = &self.data {
            return Ok(data::image_spec(name, &DataOptions::default())?);
        }
        let size = self.image_size.unwrap_or(ASSUMED.height);
        Ok(ImageSpec {
            height: size,
            width: size,
            channels: self.channels.unwrap_or(ASSUMED.channels),
            num_classes: self.num_classes.unwrap_or(ASSUMED.num_classes),
        })
    }

    /// The remark on a model that does not fit what was assumed of its data.
    fn assumption(&self, images: &ImageSpec) -> Option<Problem> {
        let channels = self.channels.is_none().then(|| format!("{} channels (--channels)", images.channels));
        let classes = self.num_classes.is_none().then(|| format!("{} classes (--num-classes)", images.num_classes));
        let assumed: Vec<String> = channels.into_iter().chain(classes).collect();
        let message = format!("no data set is named: {} are assumed", assumed.join(" and "));
        (self.data.is_none() && !assumed.is_empty()).then(|| Problem::advice("vitx::assumed", message))
    }

    /// What was assumed to check a model.
    pub fn assumed(&self, architecture: &Architecture) -> Assumed {
        let named = self.data.is_some() || self.is_experiment().unwrap_or(false);
        let open = |name: &str, given: Option<usize>, assumed: usize| {
            let said = named || given.is_some() || architecture.bindings().contains_key(name);
            (!said).then_some(assumed)
        };
        Assumed {
            image_size: open("image_size", self.image_size, ASSUMED.height),
            channels: open("channels", self.channels, ASSUMED.channels),
            num_classes: open("num_classes", self.num_classes, ASSUMED.num_classes),
        }
    }

    fn is_experiment(&self) -> miette::Result<bool> {
        Ok(self.file()?.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
    }
}
