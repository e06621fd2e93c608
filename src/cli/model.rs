//! What the commands that look at a model share: which model, and for which data.

use std::{collections::BTreeMap, io::Read, path::PathBuf};

use super::params;
use crate::{
    data,
    dsl::{MAX_SOURCE_BYTES, Problem, Source, Value},
    experiment::{Definition, Overrides},
    model::{Architecture, ImageSpec, elaborate},
};

/// A model, and what stands in for a data set where it is no experiment's.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Model file (.vitx), `-` for standard input, or an experiment (.yaml) with its model and data set
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
    /// The experiment, if it is one.
    pub fn experiment(&self) -> miette::Result<Option<Definition>> {
        if !self.file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            return Ok(None);
        }
        Ok(Some(Definition::read(&self.file, &Overrides { params: self.overrides()?, ..Overrides::default() })?))
    }

    /// The text of the model.
    pub fn source(&self) -> miette::Result<Source> {
        if self.file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            // One byte more than fits tells that there is more.
            let read = std::io::stdin().lock().take(MAX_SOURCE_BYTES as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|error| Problem::new("vitx::io", format!("cannot read standard input: {error}")))?;
            return Ok(Source::from_bytes("<stdin>", bytes)?);
        }
        Ok(match self.experiment()? {
            Some(definition) => definition.source,
            None => Source::read(&self.file)?,
        })
    }

    fn overrides(&self) -> miette::Result<BTreeMap<String, Value>> {
        params::read(&self.param)
    }

    /// Reads and checks the model.
    pub fn architecture(&self) -> miette::Result<Architecture> {
        if let Some(definition) = self.experiment()? {
            let data = &definition.experiment.data;
            return Ok(definition.architecture(&data::image_spec(&data.name, &data.options(None))?)?);
        }
        let data = ImageSpec {
            height: self.image_size,
            width: self.image_size,
            channels: self.channels,
            num_classes: self.num_classes,
        };
        Ok(elaborate(&self.source()?, &self.overrides()?, &data)?)
    }
}
