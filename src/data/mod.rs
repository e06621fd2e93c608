//! Datasets and the input pipeline.
//!
//! | file | holds |
//! |---|---|
//! | [`sources`] | the data sets, one file each |
//! | [`locate`], [`fetch`] | where they lie, how they get there |
//! | [`mod@fingerprint`] | what lies in them, and how that has changed |
//! | [`decode`] | pictures of files |
//! | [`names`] | names of files, and which are nobody's pictures |
//! | [`walk`] | pictures of files and folders, one after the other |
//! | [`statistics`], [`resize`], [`transforms`] | the steps of the input pipeline |
//! | [`pipeline`] | those steps on a batch |
//! | [`loader`] | batches made ahead of the training step |
//! | [`order`] | the order of images in an epoch |
//! | [`picture`] | an image and its patches, to look at |

pub mod decode;
mod error;
pub mod fetch;
mod file;
pub mod fingerprint;
pub mod levels;
mod loader;
pub mod locate;
pub mod names;
pub mod order;
pub mod picture;
pub mod pipeline;
pub mod resize;
pub mod sources;
pub mod split;
pub mod statistics;
pub mod transforms;
pub mod walk;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::{Broken, DataError};
pub use fingerprint::{Fingerprint, ImageFile, Subset};
pub use levels::Levels;
pub use loader::{Batches, Loaded, Loader};
pub use pipeline::{BatchPlace, Pipeline};
pub use statistics::{Normalization, Statistics};
pub use transforms::{Augmentation, Draws, Keys, Mixed};

use crate::model::ImageSpec;

/// Images of one split, all of one size, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// `[count, height, width, channels]`, row-major; shared, never copied by the loader.
    pub pixels: Arc<Vec<u8>>,
    /// `[count]`, class indices.
    pub labels: Arc<Vec<u32>>,
}

impl Split {
    /// A split of `pixels` `[count, height, width, channels]` and `labels` `[count]`.
    pub fn new(pixels: Vec<u8>, labels: Vec<u32>) -> Self {
        Self { pixels: Arc::new(pixels), labels: Arc::new(labels) }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when the split holds no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A labelled data set in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// As an experiment calls it.
    pub name: String,
    /// Of all images, in pixels.
    pub height: usize,
    /// Of all images, in pixels.
    pub width: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// By label.
    pub class_names: Vec<String>,
    /// Images to train on, of which a share may validate.
    pub train: Split,
    /// Images to validate on, where the set has them apart from those of training.
    pub validation: Option<Split>,
    /// Images to test on.
    pub test: Split,
    /// What a user has to know, a line each: what was left out.
    pub notes: Vec<String>,
}

/// What is known of a data set without its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// As an experiment calls it.
    pub name: String,
    /// Of all images, in pixels.
    pub height: usize,
    /// Of all images, in pixels.
    pub width: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// How many labels there are.
    pub num_classes: usize,
    /// By label.
    pub class_names: Vec<String>,
    /// Number of training images, with the share of them that validates.
    pub train: usize,
    /// Number of images to validate on, where the set has them apart.
    pub validation: Option<usize>,
    /// Number of test images.
    pub test: usize,
    /// The folder it was found in; `None` for what is built in.
    pub place: Option<PathBuf>,
    /// What a user has to know, a line each: what was left out.
    pub notes: Vec<String>,
}

/// What lies in a data set, to be shown.
#[derive(Debug)]
pub struct Contents {
    /// The folder it was found in; `None` for what is built in.
    pub place: Option<PathBuf>,
    /// Sizes of the images.
    pub images: String,
    /// Numbers of training, validation and test images by class.
    pub classes: Vec<(String, [usize; 3])>,
    /// Whether the set has images to validate on.
    pub validates: bool,
    /// What a user has to know, a line each: what was left out.
    pub notes: Vec<String>,
    /// Files for which this set would be refused.
    pub broken: Option<DataError>,
}

impl Spec {
    /// What a model is checked on.
    pub fn image(&self) -> ImageSpec {
        let Self { height, width, channels, num_classes, .. } = *self;
        ImageSpec { height, width, channels, num_classes }
    }

    /// The data set of this description.
    fn with(self, train: Split, test: Split) -> Dataset {
        let Self { name, height, width, channels, class_names, notes, .. } = self;
        Dataset { name, height, width, channels, class_names, train, validation: None, test, notes }
    }
}

/// Where to look for a data set, and what to make of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataOptions {
    /// Searched before `VITX_DATA_DIR` and the user's cache.
    pub data_dir: Option<PathBuf>,
    /// The folder of `image_folder`.
    pub path: Option<PathBuf>,
    /// Side in pixels that the images of `image_folder` are resized to when they are loaded.
    /// Other data sets ignore it: their images have one size, and the pipeline resizes them.
    pub image_size: Option<usize>,
    /// Height and width that the model sets itself. Images of `image_folder` that are larger, or of different
    /// sizes, are resized to it when they are loaded.
    pub model_size: Option<[usize; 2]>,
    /// Leaves files of `image_folder` out that cannot be read, instead of refusing them.
    pub skip_broken: bool,
}

/// Loads a data set by name.
///
/// # Errors
/// Unknown names (with the nearest valid one), sets that are not on this machine (with the places
/// searched), files that are truncated or corrupt (with file and byte offset).
pub fn load(name: &str, options: &DataOptions) -> Result<Dataset, DataError> {
    sources::find(name)?.load(options)
}

/// What lies in parts of a data set that is a folder of the user's; `None` for sets that are always the same, and are
/// known once they are loaded.
///
/// # Errors
/// As [`load`].
pub fn fingerprint(name: &str, options: &DataOptions, subsets: &[Subset]) -> Result<Option<Fingerprint>, DataError> {
    let source = sources::find(name)?;
    let files = source.files(options, subsets)?;
    files.map(|files| Fingerprint::of_files(source.name(), &files)).transpose()
}

/// The images of one part of a user's folder alone, at a height and width, labelled by their places in `classes`;
/// `None` as for [`fingerprint()`].
///
/// # Errors
/// As [`load`], and for a class that is not among `classes`.
pub fn load_subset(
    name: &str,
    options: &DataOptions,
    subset: Subset,
    classes: &[String],
    size: (usize, usize),
) -> Result<Option<Split>, DataError> {
    sources::find(name)?.load_subset(options, subset, classes, size)
}

/// What a model is checked on: the data set as it is on this machine or, where it is not, as
/// published.
///
/// # Errors
/// As [`load`], for sets that are not published in one shape only.
pub fn image_spec(name: &str, options: &DataOptions) -> Result<ImageSpec, DataError> {
    let source = sources::find(name)?;
    match (source.describe(options), source.published()) {
        (Ok(spec), _) => Ok(spec.image()),
        (Err(DataError::NotFound { .. }), Some(published)) => Ok(published),
        (Err(error), _) => Err(error),
    }
}

/// What lies in a data set, class by class.
///
/// # Errors
/// As [`load`]; broken pictures are part of what is found.
pub fn contents(name: &str, options: &DataOptions) -> Result<Contents, DataError> {
    sources::find(name)?.contents(options)
}

/// Shape, classes and counts of a data set, without loading its pixels where the format allows it.
///
/// # Errors
/// As [`load`].
pub fn describe(name: &str, options: &DataOptions) -> Result<Spec, DataError> {
    sources::find(name)?.describe(options)
}
