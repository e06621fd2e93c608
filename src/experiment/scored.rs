use std::path::{Path, PathBuf};

use super::{Definition, ExperimentError, Setup};
use crate::{
    data::{self, DataError, Pipeline, Split, Subset},
    model::Architecture,
};

/// What a trained network is evaluated on: images of one part of its data, with the classes and the statistics that the
/// run began with.
pub struct Scored {
    /// The images, with their labels.
    pub split: Split,
    /// What makes normalised batches of them.
    pub pipeline: Pipeline,
    /// The network that the weights are of.
    pub architecture: Architecture,
    /// How test images differ from those that the run began with. They may be others: their classes go by name.
    pub changes: Option<String>,
}

impl Scored {
    /// Loads the images. Those of the test need nothing else of the data set; training and validation images must be
    /// those that the run began with, for what is split otherwise would be scored on what it was trained on.
    ///
    /// # Errors
    /// Data that is not there or corrupt, a class that the run does not know, or other images than it began with.
    pub fn new(
        folder: &Path,
        definition: &Definition,
        data_dir: Option<PathBuf>,
        subset: Subset,
    ) -> Result<Self, ExperimentError> {
        let input = definition.input(folder)?;
        let data = &definition.experiment.data;
        if subset == Subset::Test {
            let options = definition.data_options(data_dir.clone());
            let size = (input.height, input.width);
            if let Some(split) = data::load_subset(&data.name, &options, subset, &input.class_names, size)? {
                let now = data::fingerprint(&data.name, &options, &[subset])?;
                let changes = input.fingerprint.as_ref().zip(now).and_then(|(then, now)| then.changes(&now, &[subset]));
                let split = split.first(data.test_limit);
                let architecture = definition.architecture(&input.spec())?;
                let [height, width, _] = architecture.image_shape();
                let pipeline = Pipeline::new(&input.statistics, size, input.channels, (height, width));
                return Ok(Self { split, pipeline, architecture, changes });
            }
        }
        let subsets = match subset {
            Subset::Test => &[Subset::Test][..],
            Subset::Train | Subset::Validation => &[Subset::Train, Subset::Validation],
        };
        let setup = Setup::new(definition, data_dir, Some((folder, input)), subsets)?;
        let split = match subset {
            Subset::Train => setup.training,
            Subset::Validation => setup.validation,
            Subset::Test => setup.dataset.test,
        };
        if split.is_empty() {
            return Err(DataError::Invalid {
                message: format!("the experiment has no {} images", subset.adjective()),
                help: "data.validation_split is 0: choose another --split".into(),
            }
            .into());
        }
        Ok(Self { split, pipeline: setup.pipeline, architecture: setup.architecture, changes: None })
    }
}
