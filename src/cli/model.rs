//! What the commands that look at a model share: which model, and for which data.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    dsl::{Source, Value},
    model::{Architecture, ImageSpec, elaborate},
};

/// A model file and what stands in for a data set.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Model file (.vitx); `check` also takes an experiment (.yaml)
    pub file: PathBuf,
    /// Sets a parameter of the model, e.g. `-p patch_size=4`
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Height and width of the data set's images, in pixels, for models that do not set `image_size`
    #[arg(long, default_value_t = 32)]
    pub image_size: usize,
    /// Channels of the data set's images
    #[arg(long, default_value_t = 3)]
    pub channels: usize,
    /// Classes of the data set
    #[arg(long, default_value_t = 100)]
    pub num_classes: usize,
}

impl ModelArgs {
    /// Reads the file.
    pub fn source(&self) -> miette::Result<Source> {
        Ok(Source::read(&self.file)?)
    }

    /// The parameters given by `--param`.
    pub fn overrides(&self) -> miette::Result<BTreeMap<String, Value>> {
        Ok(self.param.iter().map(|text| Value::parse_assignment(text)).collect::<Result<_, _>>()?)
    }

    /// Reads and checks the model.
    pub fn architecture(&self) -> miette::Result<Architecture> {
        let data = ImageSpec {
            height: self.image_size,
            width: self.image_size,
            channels: self.channels,
            num_classes: self.num_classes,
        };
        Ok(elaborate(&self.source()?, &self.overrides()?, &data)?)
    }
}
