//! The data sets vitx knows. A new one is a file here and a line in [`SOURCES`].

mod cifar;
mod cifar10;
mod cifar100;
mod digits;
mod fashion_mnist;
mod idx;
mod image_folder;
mod mnist;
mod pickle;

use super::{DataError, DataOptions, Dataset, Spec, fetch::Remote};
use crate::model::ImageSpec;

/// Every data set, in the order in which they are listed.
static SOURCES: &[&dyn Source] = &[
    &digits::Digits,
    &cifar10::Cifar10,
    &cifar100::Cifar100,
    &mnist::Mnist,
    &fashion_mnist::FashionMnist,
    &image_folder::ImageFolder,
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

    /// The whole set in memory.
    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError>;
}

/// Every data set.
pub fn all() -> impl Iterator<Item = &'static dyn Source> {
    SOURCES.iter().copied()
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
