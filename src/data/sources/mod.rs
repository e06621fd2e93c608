//! The data sets vitx knows. A new one is a file here and a line in [`SOURCES`].

mod cifar;
mod cifar10;
mod cifar100;
mod digits;
mod fashion_mnist;
mod idx;
mod image_folder;
mod mnist;
mod npz;
mod pickle;

use super::{Contents, DataError, DataOptions, Dataset, Fingerprint, Spec, Split, Subset, fetch::Remote};
use crate::model::ImageSpec;

/// Every data set, in the order in which they are listed.
static SOURCES: &[&dyn Source] = &[
    &digits::Digits,
    &cifar10::CIFAR10,
    &cifar100::CIFAR100,
    &mnist::MNIST,
    &fashion_mnist::FASHION_MNIST,
    &image_folder::IMAGE_FOLDER,
    &image_folder::WEBDATASET,
    &image_folder::PARQUET,
    &npz::Npz,
];

/// One data set: how to describe it, load it and, where it can be downloaded, from where.
pub trait Source: Sync {
    /// The name users write.
    fn name(&self) -> &'static str;

    /// One line for lists.
    fn about(&self) -> &'static str;

    /// Height, width, channels and classes as published, for sets that are always the same: a model
    /// can be checked where its data is not.
    fn published(&self) -> Option<ImageSpec> {
        None
    }

    /// The files that [`fetch`](super::fetch) downloads; none for what cannot be.
    fn remote(&self) -> &'static [Remote] {
        &[]
    }

    /// Shape and classes, without loading pixels where the format allows that.
    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError>;

    /// Whether the set is the user's own, and has to be told its `path`.
    fn is_own(&self) -> bool {
        false
    }

    /// What lies in parts of a set that is the user's own; `None` for one that is always the same.
    ///
    /// # Errors
    /// As [`Source::load`].
    fn fingerprint(&self, _: &DataOptions, _: &[Subset]) -> Result<Option<Fingerprint>, DataError> {
        Ok(None)
    }

    /// One part of a set that is the user's own, whatever the others hold: images of height and width `size`,
    /// labelled by their places in `classes`.
    ///
    /// # Errors
    /// As [`Source::load`], and for a class that is not among `classes`.
    fn load_subset(
        &self,
        _options: &DataOptions,
        _subset: Subset,
        _classes: &[String],
        _size: (usize, usize),
    ) -> Result<Option<Split>, DataError> {
        Ok(None)
    }

    /// The whole set in memory.
    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError>;

    /// What lies in it, class by class.
    fn contents(&self, options: &DataOptions) -> Result<Contents, DataError> {
        let place = self.describe(options)?.place;
        let set = self.load(options)?;
        let mut classes: Vec<(String, [usize; 3])> = set.class_names.into_iter().map(|name| (name, [0; 3])).collect();
        let validates = set.validation.is_some();
        let parts = [Some((&set.train, 0)), set.validation.as_ref().map(|split| (split, 1)), Some((&set.test, 2))];
        for (split, of) in parts.into_iter().flatten() {
            for &label in split.labels.iter() {
                classes[label as usize].1[of] += 1;
            }
        }
        let images = format!("{} x {} x {}", set.height, set.width, set.channels);
        Ok(Contents { place, images, formats: Vec::new(), classes, validates, notes: set.notes, broken: None })
    }
}

/// Every data set.
pub fn all() -> impl Iterator<Item = &'static dyn Source> {
    SOURCES.iter().copied()
}

/// Whether a data set is made of the user's pictures, for which most options are.
pub fn of_pictures(source: &dyn Source) -> bool {
    ["image_folder", "webdataset", "parquet"].contains(&source.name())
}

/// Whether these lie in folders of classes, or are in a table.
pub fn is_folder(source: &dyn Source) -> bool {
    source.name() == "image_folder"
}

/// The data set of that name (`-` and `_` are the same), or an error with the nearest valid name.
pub fn find(name: &str) -> Result<&'static dyn Source, DataError> {
    let wanted = name.to_lowercase().replace('-', "_");
    if let Some(source) = all().find(|source| source.name() == wanted) {
        return Ok(source);
    }
    let names: Vec<&str> = all().map(Source::name).collect();
    let nearest = names
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, &wanted), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4);
    let known = format!("data sets: {}", names.join(", "));
    let help = nearest.map_or(known.clone(), |(_, near)| format!("did you mean `{near}`? {known}"));
    Err(DataError::Unknown { name: name.to_owned(), help })
}
