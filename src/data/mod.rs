//! Datasets and the input pipeline.
//!
//! | file | holds |
//! |---|---|
//! | [`sources`] | the data sets, one file each |
//! | [`locate`], [`fetch`] | where they lie, how they get there |
//! | [`mod@fingerprint`] | what lies in them, and how that has changed |
//! | [`decode`] | pictures of files |
//! | [`Split`] (`images.rs`) | images with their labels, in memory or in files |
//! | [`names`] | names of files, and which are nobody's pictures |
//! | [`place`] | where the file of a picture lies: by itself, or in an archive |
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
mod images;
pub mod levels;
mod loader;
pub mod locate;
pub mod names;
pub mod order;
pub mod picture;
pub mod pipeline;
pub mod place;
pub mod resize;
pub mod sources;
pub mod split;
pub mod statistics;
pub mod transforms;
pub mod walk;

use std::path::PathBuf;

pub use decode::Fit;
pub use error::{Broken, DataError};
pub use fingerprint::{Fingerprint, ImageFile, Subset};
pub use images::{Decoding, Images, Split};
pub use levels::Levels;
pub use loader::{Batches, Loaded, Loader};
pub use pipeline::{BatchPlace, Pipeline};
pub use place::Place;
pub use statistics::{Normalization, Statistics};
pub use transforms::{Augmentation, Draws, Keys, Mixed};

use serde::{Deserialize, Serialize};

use crate::{choice::Choice, model::ImageSpec};

/// A labelled data set, in memory or to be decoded when it is needed.
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
    /// Whether images are decoded when they are needed: together they take too much memory.
    pub streams: bool,
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
    /// Formats of files, and how many have each.
    pub formats: Vec<(&'static str, usize)>,
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

/// Where to look for a data set, and what to make of it. All but the first two are for `image_folder` alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataOptions {
    /// Searched before `VITX_DATA_DIR` and the user's cache.
    pub data_dir: Option<PathBuf>,
    /// The folder of `image_folder`, the file of `npz`, the folder or the file of `parquet`.
    pub path: Option<PathBuf>,
    /// A table of pictures, their labels and parts, instead of folders of classes.
    pub csv: Option<PathBuf>,
    /// The share of the training images that tests, where there are none to test on.
    pub test_split: Option<f64>,
    /// What pictures in folders within that of a class are; otherwise they are left out.
    pub nested: Option<Nested>,
    /// The column of pictures of `parquet`, where it is not known.
    pub image_column: Option<String>,
    /// The column of labels of `parquet`, where it is not known.
    pub label_column: Option<String>,
    /// 1 for grey, 3 for red, green and blue, which is the default.
    pub channels: Option<usize>,
    /// What becomes of a picture's aspect ratio.
    pub fit: Fit,
    /// Side in pixels that the images of `image_folder` are resized to when they are loaded.
    /// Other data sets ignore it: their images have one size, and the pipeline resizes them.
    pub image_size: Option<usize>,
    /// Height and width that the model sets itself. Images of `image_folder` that are larger, or of different
    /// sizes, are resized to it when they are loaded.
    pub model_size: Option<[usize; 2]>,
    /// Leaves files of `image_folder` out that cannot be read, instead of refusing them.
    pub skip_broken: bool,
    /// Whether images are decoded before they are needed. By default they are where they take little of the memory.
    pub in_memory: Option<bool>,
}

/// What pictures in folders within the folder of a class are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nested {
    /// Pictures of that class.
    Class,
    /// Pictures of a class of their own, which is called by its path: `animals/cat`.
    Path,
}

impl Choice for Nested {
    const CHOICES: &[(Self, &str, &str)] = &[(Self::Class, "class", ""), (Self::Path, "path", "")];
}

/// Loads a data set by name.
///
/// # Errors
/// Unknown names (with the nearest valid one), sets that are not on this machine (with the places
/// searched), files that are truncated or corrupt (with file and byte offset).
pub fn load(name: &str, options: &DataOptions) -> Result<Dataset, DataError> {
    sources::find(name)?.load(options)
}

/// What lies in parts of a data set that is the user's own; `None` for sets that are always the same, and are
/// known once they are loaded.
///
/// # Errors
/// As [`load`].
pub fn fingerprint(name: &str, options: &DataOptions, subsets: &[Subset]) -> Result<Option<Fingerprint>, DataError> {
    sources::find(name)?.fingerprint(options, subsets)
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
