use std::path::PathBuf;

use super::{Definition, ExperimentError};
use crate::{
    data::{self, Dataset, Pipeline, Split, Statistics},
    model::Architecture,
};

/// A definition's data, architecture and input pipeline.
pub struct Setup {
    /// Without the images that `training` and `validation` hold.
    pub dataset: Dataset,
    pub training: Split,
    pub validation: Split,
    pub architecture: Architecture,
    /// Of the training split.
    pub statistics: Statistics,
    pub pipeline: Pipeline,
}

impl Setup {
    /// Loads the data, `data_dir` searched first, and checks the model on it.
    ///
    /// # Errors
    /// Data that is not there or corrupt, a split that leaves nothing, or a model that does not fit.
    pub fn new(definition: &Definition, data_dir: Option<PathBuf>) -> Result<Self, ExperimentError> {
        let data = &definition.experiment.data;
        // The model is checked before any pixel is read, where the data set can be described without.
        let options = data.options(data_dir);
        let described = data::describe(&data.name, &options)?;
        let architecture = definition.architecture(&described.image())?;
        let mut dataset = data::load(&data.name, &options)?;
        dataset.limit(data.train_limit, data.test_limit);
        let (training, validation) = dataset.split_validation(data.validation_split)?;
        dataset.train = Split::new(Vec::new(), Vec::new());
        let statistics = Statistics::of(&training, dataset.channels)?;
        let [height, width, _] = architecture.image_shape();
        let pipeline = Pipeline::new(&statistics, (dataset.height, dataset.width), dataset.channels, (height, width));
        Ok(Self { dataset, training, validation, architecture, statistics, pipeline })
    }
}
