use std::path::{Path, PathBuf};

use super::{Definition, ExperimentError, image_size};
use crate::{
    data::{self, Dataset, Fingerprint, Pipeline, Split, Statistics, Subset},
    model::Architecture,
    trial::Input,
};

/// A definition's data, architecture and input pipeline.
pub struct Setup {
    /// Without the images that `training` and `validation` hold.
    pub dataset: Dataset,
    /// Images to train on.
    pub training: Split,
    /// Images that validate; none of those that train.
    pub validation: Split,
    /// The network for images of this size and so many classes.
    pub architecture: Architecture,
    /// What makes normalised batches of the images.
    pub pipeline: Pipeline,
    /// What the run began with.
    pub input: Input,
}

impl Setup {
    /// The network on images of the other sizes that it trains on.
    ///
    /// # Errors
    /// As [`image_size::networks`].
    pub fn smaller(&self, definition: &Definition) -> Result<Vec<Architecture>, ExperimentError> {
        image_size::networks(definition, &self.input.spec(), &self.architecture)
    }

    /// Loads the data, `data_dir` searched first, and checks the model on it. The data of a run that has begun must be
    /// in `subsets` those that it began with; its statistics are.
    ///
    /// # Errors
    /// Data that is not there, corrupt or other than before, a split that leaves nothing, or a model that does not fit.
    pub fn new(
        definition: &Definition,
        data_dir: Option<PathBuf>,
        begun: Option<(&Path, Input)>,
        subsets: &[Subset],
    ) -> Result<Self, ExperimentError> {
        let data = &definition.experiment.data;
        // The model is checked before any pixel is read, where the data set can be described without.
        let options = definition.data_options(data_dir);
        let described = data::describe(&data.name, &options)?;
        let architecture = definition.architecture(&described.image())?;
        let begun = begun.as_ref().map(|(folder, input)| (*folder, input));
        // Files tell soonest that they are others; what is not the user's own folder tells when it is loaded.
        let fingerprint = data::fingerprint(&data.name, &options, &Subset::ALL)?;
        if let Some(fingerprint) = &fingerprint {
            hold_to(definition, begun, fingerprint, subsets)?;
        }
        let mut dataset = data::load(&data.name, &options)?;
        let fingerprint = match fingerprint {
            Some(fingerprint) => fingerprint,
            None => {
                let fingerprint = Fingerprint::of_loaded(&dataset)?;
                hold_to(definition, begun, &fingerprint, subsets)?;
                fingerprint
            }
        };
        let channels = dataset.channels;
        if let Some(fault) = data.normalization.as_ref().and_then(|given| given.fault_of_channels(channels)) {
            let help = "e.g. `normalization: { mean: [0.5, 0.5, 0.5], deviation: [0.25, 0.25, 0.25] }`".into();
            return Err(data::DataError::Invalid { message: format!("data.normalization: {fault}"), help }.into());
        }
        dataset.limit(data.train_limit, data.test_limit);
        let (training, validation) = dataset.split_validation(data.validation_split)?;
        dataset.train = Split::new(Vec::new(), Vec::new());
        dataset.validation = None;
        let now = Input {
            height: dataset.height,
            width: dataset.width,
            channels: dataset.channels,
            statistics: match (&data.normalization, begun) {
                (Some(given), _) => given.statistics(),
                // All of them would be decoded for it; their files are those that the run began with.
                (None, Some((_, then))) if training.in_memory().is_none() && then.fingerprint.is_some() => {
                    then.statistics.clone()
                }
                (None, _) => Statistics::of(&training, dataset.channels)?,
            },
            class_names: dataset.class_names.clone(),
            fingerprint: Some(fingerprint),
        };
        let input = match begun {
            None => now,
            Some((folder, then)) => match then.changes(&now, subsets) {
                Some(difference) => return Err(ExperimentError::OtherData { folder: folder.to_owned(), difference }),
                None => then.clone(),
            },
        };
        let [height, width, _] = architecture.image_shape();
        let pipeline =
            Pipeline::new(&input.statistics, (dataset.height, dataset.width), dataset.channels, (height, width));
        Ok(Self { dataset, training, validation, architecture, pipeline, input })
    }
}

/// Refuses data that a run did not begin with, or that its definition does not ask for.
fn hold_to(
    definition: &Definition,
    begun: Option<(&Path, &Input)>,
    fingerprint: &Fingerprint,
    subsets: &[Subset],
) -> Result<(), ExperimentError> {
    if let Some((folder, Some(then))) = begun.map(|(folder, input)| (folder, &input.fingerprint)) {
        return match then.changes(fingerprint, subsets) {
            Some(difference) => Err(ExperimentError::OtherData { folder: folder.to_owned(), difference }),
            None => Ok(()),
        };
    }
    match &definition.experiment.data.digest {
        Some(asked) if *asked != fingerprint.digest => {
            Err(ExperimentError::Digest { asked: asked.clone(), found: fingerprint.digest.clone() })
        }
        _ => Ok(()),
    }
}
