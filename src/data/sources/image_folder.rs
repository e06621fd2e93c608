//! `image_folder`: `DIR/train/CLASS/*.png`, `DIR/test/CLASS/*.png`, and `DIR/val/CLASS/*.png` where
//! the user has images to validate on, or a table of them; `docs/DATA.md` has the rules.
//!
//! Images become RGB, or grey, turned as a viewer shows them. Where they are larger than the model takes, or of
//! different sizes, they are resized when they are loaded, by an antialiased filter: photographs
//! shrink a lot. Training images are put into a fixed shuffled order, so that "the last tenth
//! validates" does not mean "the last classes in the alphabet validate".
//!
//! What would take too much of the memory is not loaded: then each picture is decoded when a batch is made of it.

mod layout;
mod listing;
mod manifest;
mod parquet;
mod rows;
mod shards;
mod survey;
mod unpacked;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::threads;

use super::super::{
    Broken, Contents, DataError, DataOptions, Dataset, Decoding, Fingerprint, Fit, ImageFile, Place, Spec, Split,
    Subset, decode::Encoded, order::shuffled,
};
use super::Source;
use crate::memory;
use listing::{Listing, Part, Pictures};
use rows::Rows;
use survey::{Depth, Seen, survey};

/// Of an image, unless the user says otherwise.
const CHANNELS: usize = 3;
const LARGEST_SIDE: usize = 4096;

/// Images that take more of the memory that can be had are decoded when they are needed: one part in so many. Others need
/// memory too, and images are copied where a part of them validates.
const SHARE: u64 = 4;

/// Pictures of a user's, in one form or another.
pub struct PictureSet {
    name: &'static str,
    about: &'static str,
    form: Form,
}

/// How pictures lie there.
enum Form {
    /// Folders of classes, or a table of files.
    Files,
    /// Tar archives.
    Shards,
    Parquet,
}

/// Folders of classes, or a table.
pub static IMAGE_FOLDER: PictureSet = PictureSet {
    name: "image_folder",
    about: "your own images: DIR/train/CLASS/*.png|jpg|webp|bmp|gif|tif and DIR/test/CLASS/..., or a table of them",
    form: Form::Files,
};

/// Shards of WebDataset.
pub static WEBDATASET: PictureSet = PictureSet {
    name: "webdataset",
    about: "your own images in tar archives: DIR/train-*.tar and DIR/test-*.tar of KEY.jpg and KEY.cls",
    form: Form::Shards,
};

/// Data sets of the Hugging Face hub.
pub static PARQUET: PictureSet = PictureSet {
    name: "parquet",
    about: "your own images in Parquet files, as Hugging Face has them: DIR/train-*.parquet and DIR/test-*.parquet",
    form: Form::Parquet,
};

impl PictureSet {
    fn listing(&self, options: &DataOptions) -> Result<Listing, DataError> {
        match self.rows(options)? {
            Some(rows) => rows.listing(&self.root(options)?, options.test_split),
            None => layout::listing(options),
        }
    }

    /// Where pictures are named one by one, all of them.
    fn rows(&self, options: &DataOptions) -> Result<Option<Rows>, DataError> {
        match (&self.form, &options.csv) {
            (Form::Shards, _) => shards::read(options).map(Some),
            (Form::Parquet, _) => parquet::read(options).map(Some),
            (Form::Files, Some(csv)) => manifest::read(csv, options).map(Some),
            (Form::Files, None) => Ok(None),
        }
    }

    /// The folder in which all lie.
    fn root(&self, options: &DataOptions) -> Result<PathBuf, DataError> {
        match self.form {
            Form::Parquet => parquet::root(options),
            Form::Files | Form::Shards => listing::root(options),
        }
    }

    /// One part, whatever the others are; `None` where there is none.
    fn part(&self, options: &DataOptions, subset: Subset) -> Result<Option<Part>, DataError> {
        match self.rows(options)? {
            Some(rows) => Ok(rows.part(options.test_split, subset)),
            None => layout::part(options, subset),
        }
    }
}

/// A listing without broken files, and what its images become.
struct Prepared {
    name: &'static str,
    listing: Listing,
    decoding: Decoding,
    /// Whether images are decoded when they are needed.
    streams: bool,
}

impl Source for PictureSet {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn is_own(&self) -> bool {
        true
    }

    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        Ok(Prepared::new(self, options)?.spec())
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        let prepared = Prepared::new(self, options)?;
        let spec = prepared.spec();
        let Prepared { mut listing, decoding, streams, .. } = prepared;
        let order = shuffled(listing.train.len(), 0, 0);
        listing.train = order.into_iter().map(|index| listing.train[index as usize].clone()).collect();
        let mut broken = Vec::new();
        let mut split = |pictures: &Pictures| match streams {
            true => of_files(pictures, decoding),
            false => decode(pictures, decoding, &mut broken),
        };
        let (train, test) = (split(&listing.train), split(&listing.test));
        let validation = listing.validation.as_ref().map(&mut split);
        if streams {
            // The training images tell when their mean is taken, or in the first epoch; these would only later.
            let late: Vec<&Place> = [listing.validation.as_ref(), Some(&listing.test)]
                .into_iter()
                .flatten()
                .flatten()
                .map(|picture| &picture.place)
                .collect();
            broken = survey::broken(&survey(&late, Depth::Pixels));
        }
        if !broken.is_empty() {
            return Err(refusal(&listing.folder, listing.files().len(), broken));
        }
        Ok(Dataset { validation, ..spec.with(train, test) })
    }

    fn contents(&self, options: &DataOptions) -> Result<Contents, DataError> {
        let mut listing = self.listing(options)?;
        let looked = survey(&listing.files(), Depth::Pixels);
        let broken = survey::broken(&looked);
        if options.skip_broken {
            listing.leave_out(&broken)?;
        }
        let channels = channels(options)?;
        let seen: Vec<Seen> = looked.into_iter().filter_map(|(_, look)| look.ok()).collect();
        let mut formats: Vec<(&str, usize)> = Vec::new();
        for Seen { format, .. } in &seen {
            match formats.iter_mut().find(|(known, _)| known == format) {
                Some((_, count)) => *count += 1,
                None => formats.push((format, 1)),
            }
        }
        formats.sort_by_key(|&(format, count)| (std::cmp::Reverse(count), format));
        let mut sizes: Vec<(u32, u32)> = seen.iter().map(|seen| seen.size).collect();
        sizes.sort_unstable_by_key(|&(width, height)| (u64::from(width) * u64::from(height), width));
        sizes.dedup();
        let of = |(width, height): &(u32, u32)| format!("{height} x {width}");
        let images = match (&sizes[..], explicit(options)?) {
            (_, Some((width, height))) => format!("{height} x {width} x {channels}, resized"),
            ([], None) => "none that can be read".to_owned(),
            ([one], None) => format!("{} x {channels}", of(one)),
            ([first, .., last], None) => format!(
                "{} sizes, from {} to {}; they are resized to the model's `image_size`, or to `data.image_size`",
                sizes.len(),
                of(first),
                of(last)
            ),
        };
        let mut classes: Vec<(String, [usize; 3])> =
            listing.classes.iter().map(|class| (class.clone(), [0; 3])).collect();
        let none = Pictures::new();
        for (split, pictures) in
            [&listing.train, listing.validation.as_ref().unwrap_or(&none), &listing.test].into_iter().enumerate()
        {
            for picture in pictures {
                classes[picture.label as usize].1[split] += 1;
            }
        }
        let broken = (!options.skip_broken && !broken.is_empty())
            .then(|| refusal(&listing.folder, listing.files().len(), broken));
        Ok(Contents {
            place: Some(listing.folder.clone()),
            images,
            formats,
            classes,
            validates: listing.validation.is_some(),
            notes: listing.notes,
            broken,
        })
    }

    fn fingerprint(&self, options: &DataOptions, subsets: &[Subset]) -> Result<Option<Fingerprint>, DataError> {
        let root = self.root(options)?;
        let mut all = Vec::new();
        for &subset in subsets {
            let Some(Part { classes, pictures, .. }) = self.part(options, subset)? else { continue };
            all.extend(pictures.into_iter().map(|picture| ImageFile {
                subset,
                class: classes[picture.label as usize].clone(),
                name: picture.name,
                place: picture.place,
            }));
        }
        // What cannot be opened has no contents to speak of; a pipe would be waited for without end.
        let unreadable = |file: &ImageFile| Encoded::check(&file.place).is_err();
        if options.skip_broken {
            all.retain(|file| !unreadable(file));
        } else if all.iter().any(unreadable) {
            let paths: Vec<&Place> = all.iter().map(|file| &file.place).collect();
            return Err(refusal(&root, paths.len(), survey::broken(&survey(&paths, Depth::Pixels))));
        }
        Fingerprint::of_files(self.name(), &all).map(Some)
    }

    fn load_subset(
        &self,
        options: &DataOptions,
        subset: Subset,
        classes: &[String],
        (height, width): (usize, usize),
    ) -> Result<Option<Split>, DataError> {
        let root = self.root(options)?;
        let Some(Part { classes: own, mut pictures, place }) = self.part(options, subset)? else {
            return Err(DataError::Folder {
                path: root,
                message: format!("has no folder of {} images", subset.adjective()),
                help: "expected DIR/test/CLASS/*.png (`val` may stand for `test`)".into(),
            });
        };
        let mut labels = Vec::new();
        for name in &own {
            let Some(label) = classes.iter().position(|class| class == name) else {
                return Err(DataError::Folder {
                    path: place.join(name),
                    message: format!("the run knows no class `{name}`"),
                    help: format!("classes of the run: {}; of the folder: {}", classes.join(", "), own.join(", ")),
                });
            };
            labels.push(label as u32);
        }
        // In the order of the run's classes, as the run itself has them.
        pictures.iter_mut().for_each(|picture| picture.label = labels[picture.label as usize]);
        pictures.sort_by_key(|picture| picture.label);
        let total = pictures.len();
        if options.skip_broken {
            let paths: Vec<&Place> = pictures.iter().map(|picture| &picture.place).collect();
            let looked = survey(&paths, Depth::Pixels);
            let fine: Vec<bool> = looked.iter().map(|(_, look)| look.is_ok()).collect();
            let mut fine = fine.into_iter();
            pictures.retain(|_| fine.next() == Some(true));
        }
        if pictures.is_empty() {
            return Err(layout::no_image(&place, String::new()));
        }
        let size = (width as u32, height as u32);
        let decoding = Decoding { channels: channels(options)?, size, fit: options.fit };
        if streams(pictures.len(), decoding, options) {
            return Ok(Some(of_files(&pictures, decoding)));
        }
        let mut broken = Vec::new();
        let split = decode(&pictures, decoding, &mut broken);
        if !broken.is_empty() {
            return Err(refusal(&root, total, broken));
        }
        Ok(Some(split))
    }
}

/// Pictures that are decoded when they are needed.
fn of_files(pictures: &Pictures, decoding: Decoding) -> Split {
    let paths = pictures.iter().map(|picture| picture.place.clone()).collect();
    Split::of_files(paths, pictures.iter().map(|picture| picture.label).collect(), decoding)
}

/// Decodes files. Those that cannot be are added to `broken`.
fn decode(pictures: &Pictures, decoding: Decoding, broken: &mut Vec<(Place, String)>) -> Split {
    let image = decoding.bytes();
    let mut pixels = vec![0; pictures.len() * image];
    let one = |(picture, target): (&listing::Picture, &mut [u8])| {
        match decoding.read(&picture.place) {
            Ok(decoded) => target.copy_from_slice(&decoded),
            Err(reason) => return Some((picture.place.clone(), reason)),
        }
        None
    };
    let found: Vec<_> =
        threads::together(|| pictures.par_iter().zip(pixels.par_chunks_mut(image)).filter_map(one).collect());
    broken.extend(found);
    Split::new(pixels, pictures.iter().map(|picture| picture.label).collect())
}

/// An error that names all broken files of a folder, of which `total` were looked at.
fn refusal(folder: &Path, total: usize, broken: Vec<(Place, String)>) -> DataError {
    let broken = broken.into_iter().map(|(place, reason)| Broken { name: place.shown_in(folder), reason });
    DataError::Pictures {
        folder: Some(folder.to_owned()),
        total,
        broken: broken.collect(),
        help: "repair, convert or remove these files, or set `data.skip_broken: true` to leave them out".into(),
    }
}

/// Of an image.
fn channels(options: &DataOptions) -> Result<usize, DataError> {
    match options.channels.unwrap_or(CHANNELS) {
        channels @ (1 | 3) => Ok(channels),
        other => Err(DataError::Invalid {
            message: format!("images of {other} channels are none of `image_folder`"),
            help: "1 for grey, 3 for red, green and blue".into(),
        }),
    }
}

/// The size that was asked for.
fn explicit(options: &DataOptions) -> Result<Option<(u32, u32)>, DataError> {
    let Some(size) = options.image_size else { return Ok(None) };
    if !(1..=LARGEST_SIDE).contains(&size) {
        return Err(DataError::Invalid {
            message: format!("image size {size} is not between 1 and {LARGEST_SIDE}"),
            help: "give the side in pixels, for example 64".into(),
        });
    }
    // What the model would shrink again, without antialiasing, is shrunk once.
    let [height, width] = options.model_size.unwrap_or([size; 2]).map(|side| size.min(side) as u32);
    Ok(Some((width, height)))
}

impl Prepared {
    fn new(set: &PictureSet, options: &DataOptions) -> Result<Self, DataError> {
        let mut listing = set.listing(options)?;
        let (explicit, channels) = (explicit(options)?, channels(options)?);
        let with = |listing: Listing, size: (u32, u32)| {
            let decoding = Decoding { channels, size, fit: options.fit };
            let streams = streams(listing.files().len(), decoding, options);
            Self { name: set.name, listing, decoding, streams }
        };
        let depth = match (options.skip_broken, explicit) {
            (true, _) => Depth::Pixels,
            (false, None) => Depth::Structure,
            (false, Some(size)) => return Ok(with(listing, size)),
        };
        let looked = survey(&listing.files(), depth);
        let found = survey::broken(&looked);
        if options.skip_broken {
            listing.leave_out(&found)?;
        } else if !found.is_empty() {
            // One report has all: also what only decoding tells.
            let files = listing.files();
            return Err(refusal(&listing.folder, files.len(), survey::broken(&survey(&files, Depth::Pixels))));
        }
        let whole = looked.iter().filter_map(|(path, look)| Some((path, look.as_ref().ok()?.size))).collect::<Vec<_>>();
        let size = match explicit {
            Some(size) => size,
            None => common_size(&listing, &whole, options)?,
        };
        Ok(with(listing, size))
    }

    fn spec(&self) -> Spec {
        let Self { name, listing, decoding: Decoding { channels, size: (width, height), .. }, streams } = self;
        Spec {
            name: (*name).to_owned(),
            height: *height as usize,
            width: *width as usize,
            channels: *channels,
            num_classes: listing.classes.len(),
            class_names: listing.classes.clone(),
            train: listing.train.len(),
            validation: listing.validation.as_ref().map(Vec::len),
            test: listing.test.len(),
            place: Some(listing.folder.clone()),
            streams: *streams,
            notes: listing.notes.clone(),
        }
    }
}

/// The size that all images have where the model takes that or enlarges it, and the model's otherwise. The model's own
/// resizing squashes.
fn common_size(
    listing: &Listing,
    pictures: &[(&Place, (u32, u32))],
    options: &DataOptions,
) -> Result<(u32, u32), DataError> {
    // The model's own bounds are larger; it is for its check to refuse what is too large to be.
    let model_size = options.model_size.map(|size| size.map(|side| u32::try_from(side).unwrap_or(u32::MAX)));
    let squashes = options.fit == Fit::Squash;
    let (first, size) = pictures[0];
    match (pictures.iter().find(|(_, other)| *other != size), model_size) {
        (None, None) => Ok(size),
        (None, Some([height, width])) if squashes && size.0 <= width && size.1 <= height => Ok(size),
        (_, Some([height, width])) => Ok((width, height)),
        (Some((other, other_size)), None) => Err(DataError::Folder {
            path: listing.folder.clone(),
            message: format!(
                "images differ in size: {} is {}x{}, {} is {}x{}",
                first.shown_in(&listing.folder),
                size.0,
                size.1,
                other.shown_in(&listing.folder),
                other_size.0,
                other_size.1
            ),
            help:
                "set `data.image_size` in the experiment (`--set data.image_size=64`), or give the model a parameter \
                   `image_size`: every image is then resized to it"
                    .into(),
        }),
    }
}

/// Whether so many images are decoded when they are needed, instead of before: they would take much of the memory.
fn streams(count: usize, decoding: Decoding, options: &DataOptions) -> bool {
    let bytes = count as u64 * decoding.bytes() as u64;
    let much = || memory::available_bytes().is_some_and(|available| bytes > available / SHARE);
    options.in_memory.map_or_else(much, |in_memory| !in_memory)
}

#[cfg(test)]
mod tests;
