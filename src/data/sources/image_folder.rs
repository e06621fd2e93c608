//! `image_folder`: `DIR/train/CLASS/*.png`, `DIR/test/CLASS/*.png`, and `DIR/val/CLASS/*.png` where
//! the user has images to validate on; `docs/DATA.md` has the rules.
//!
//! Images become RGB, turned as a viewer shows them. Where they are larger than the model takes, or of
//! different sizes, they are resized when they are loaded, by an antialiased filter: photographs
//! shrink a lot. Training images are put into a fixed shuffled order, so that "the last tenth
//! validates" does not mean "the last classes in the alphabet validate".

mod listing;
mod survey;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::threads;

use super::super::{
    Broken, Contents, DataError, DataOptions, Dataset, ImageFile, Spec, Split, Subset,
    decode::Encoded,
    names::{shown, shown_in},
    order::shuffled,
};
use super::Source;
use crate::memory;
use listing::Listing;
use survey::{Depth, survey};

/// Pictures and their labels.
type Files = Vec<(PathBuf, u32)>;

const CHANNELS: usize = 3;
const LARGEST_SIDE: usize = 4096;

pub struct ImageFolder;

/// A listing without broken files, and the size that its images get: width and height.
struct Prepared {
    listing: Listing,
    size: (u32, u32),
}

impl Source for ImageFolder {
    fn name(&self) -> &'static str {
        "image_folder"
    }

    fn about(&self) -> &'static str {
        "your own images: DIR/train/CLASS/*.png|jpg|webp and DIR/test/CLASS/..."
    }

    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        Ok(Prepared::new(options)?.spec())
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        let prepared = Prepared::new(options)?;
        let (spec, mut listing, size) = (prepared.spec(), prepared.listing, prepared.size);
        let image = spec.height * spec.width * spec.channels;
        check_memory(&listing, image, size)?;
        let order = shuffled(listing.train.len(), 0, 0);
        listing.train = order.into_iter().map(|index| listing.train[index as usize].clone()).collect();
        let mut broken = Vec::new();
        let mut split = |files: &Files| decode(files, size, &mut broken);
        let (train, test) = (split(&listing.train), split(&listing.test));
        let validation = listing.validation.as_ref().map(&mut split);
        if !broken.is_empty() {
            return Err(refusal(&listing.folder, listing.files().len(), broken));
        }
        Ok(Dataset { validation, ..spec.with(train, test) })
    }

    fn contents(&self, options: &DataOptions) -> Result<Contents, DataError> {
        let mut listing = Listing::new(options)?;
        let looked = survey(&listing.files(), Depth::Pixels);
        let broken = survey::broken(&looked);
        if options.skip_broken {
            listing.leave_out(&broken)?;
        }
        let mut sizes: Vec<(u32, u32)> = looked.into_iter().filter_map(|(_, look)| look.ok()).collect();
        sizes.sort_unstable_by_key(|&(width, height)| (u64::from(width) * u64::from(height), width));
        sizes.dedup();
        let of = |(width, height): &(u32, u32)| format!("{height} x {width}");
        let images = match (&sizes[..], explicit(options)?) {
            (_, Some((width, height))) => format!("{height} x {width} x {CHANNELS}, resized"),
            ([], None) => "none that can be read".to_owned(),
            ([one], None) => format!("{} x {CHANNELS}", of(one)),
            ([first, .., last], None) => format!(
                "{} sizes, from {} to {}; they are resized to the model's `image_size`, or to `data.image_size`",
                sizes.len(),
                of(first),
                of(last)
            ),
        };
        let mut classes: Vec<(String, [usize; 3])> =
            listing.classes.iter().map(|class| (shown(class), [0; 3])).collect();
        let none = Files::new();
        for (split, files) in
            [&listing.train, listing.validation.as_ref().unwrap_or(&none), &listing.test].into_iter().enumerate()
        {
            for &(_, label) in files {
                classes[label as usize].1[split] += 1;
            }
        }
        let broken = (!options.skip_broken && !broken.is_empty())
            .then(|| refusal(&listing.folder, listing.files().len(), broken));
        Ok(Contents {
            place: Some(listing.folder.clone()),
            images,
            classes,
            validates: listing.validation.is_some(),
            notes: listing.notes,
            broken,
        })
    }

    fn files(&self, options: &DataOptions, subsets: &[Subset]) -> Result<Option<Vec<ImageFile>>, DataError> {
        let root = listing::root(options)?;
        let mut all = Vec::new();
        for &subset in subsets {
            let Some(folder) = listing::of_subset(&root, subset)? else { continue };
            let (classes, files) = listing::files_of(&folder)?;
            all.extend(files.into_iter().map(|(path, label)| ImageFile {
                subset,
                class: shown(&classes[label as usize]),
                path,
            }));
        }
        // What cannot be opened has no contents to speak of; a pipe would be waited for without end.
        let unreadable = |file: &ImageFile| Encoded::check(&file.path).is_err();
        if options.skip_broken {
            all.retain(|file| !unreadable(file));
        } else if all.iter().any(unreadable) {
            let paths: Vec<&Path> = all.iter().map(|file| file.path.as_path()).collect();
            return Err(refusal(&root, paths.len(), survey::broken(&survey(&paths, Depth::Pixels))));
        }
        Ok(Some(all))
    }

    fn load_subset(
        &self,
        options: &DataOptions,
        subset: Subset,
        classes: &[String],
        size: (usize, usize),
    ) -> Result<Option<Split>, DataError> {
        let root = listing::root(options)?;
        let Some(folder) = listing::of_subset(&root, subset)? else {
            return Err(DataError::Folder {
                path: root,
                message: format!("has no folder of {} images", subset.adjective()),
                help: "expected DIR/test/CLASS/*.png (`val` may stand for `test`)".into(),
            });
        };
        let (own, mut files) = listing::files_of(&folder)?;
        let own: Vec<String> = own.iter().map(|name| shown(name)).collect();
        let mut labels = Vec::new();
        for name in &own {
            let Some(label) = classes.iter().position(|class| class == name) else {
                return Err(DataError::Folder {
                    path: folder.join(name),
                    message: format!("the run knows no class `{name}`"),
                    help: format!("classes of the run: {}; of the folder: {}", classes.join(", "), own.join(", ")),
                });
            };
            labels.push(label as u32);
        }
        // In the order of the run's classes, as the run itself has them.
        files.iter_mut().for_each(|(_, label)| *label = labels[*label as usize]);
        files.sort_by_key(|&(_, label)| label);
        let total = files.len();
        if options.skip_broken {
            let paths: Vec<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
            let looked = survey(&paths, Depth::Pixels);
            let fine: Vec<bool> = looked.iter().map(|(_, look)| look.is_ok()).collect();
            let mut fine = fine.into_iter();
            files.retain(|_| fine.next() == Some(true));
        }
        if files.is_empty() {
            return Err(listing::no_image(&folder, String::new()));
        }
        let mut broken = Vec::new();
        let split = decode(&files, (size.1 as u32, size.0 as u32), &mut broken);
        if !broken.is_empty() {
            return Err(refusal(&root, total, broken));
        }
        Ok(Some(split))
    }
}

/// Decodes files to one size, width and height. Those that cannot be are added to `broken`.
fn decode(files: &Files, size: (u32, u32), broken: &mut Vec<(PathBuf, String)>) -> Split {
    let image = size.0 as usize * size.1 as usize * CHANNELS;
    let mut pixels = vec![0; files.len() * image];
    let one = |((path, _), target): (&(PathBuf, u32), &mut [u8])| {
        match Encoded::read(path).and_then(|picture| picture.pixels(CHANNELS, Some(size))) {
            Ok(decoded) => target.copy_from_slice(&decoded.bytes),
            Err(reason) => return Some((path.clone(), reason)),
        }
        None
    };
    let found: Vec<_> =
        threads::together(|| files.par_iter().zip(pixels.par_chunks_mut(image)).filter_map(one).collect());
    broken.extend(found);
    Split::new(pixels, files.iter().map(|&(_, label)| label).collect())
}

/// An error that names all broken files of a folder, of which `total` were looked at.
fn refusal(folder: &Path, total: usize, broken: Vec<(PathBuf, String)>) -> DataError {
    let broken = broken.into_iter().map(|(path, reason)| Broken { name: shown_in(folder, &path), reason });
    DataError::Pictures {
        folder: Some(folder.to_owned()),
        total,
        broken: broken.collect(),
        help: "repair, convert or remove these files, or set `data.skip_broken: true` to leave them out".into(),
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
    fn new(options: &DataOptions) -> Result<Self, DataError> {
        let mut listing = Listing::new(options)?;
        let explicit = explicit(options)?;
        let depth = match (options.skip_broken, explicit) {
            (true, _) => Depth::Pixels,
            (false, None) => Depth::Structure,
            (false, Some(size)) => return Ok(Self { listing, size }),
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
        let whole = looked.iter().filter_map(|(path, look)| Some((path, *look.as_ref().ok()?))).collect::<Vec<_>>();
        let size = match explicit {
            Some(size) => size,
            None => common_size(&listing, &whole, options.model_size)?,
        };
        Ok(Self { listing, size })
    }

    fn spec(&self) -> Spec {
        let Self { listing, size: (width, height) } = self;
        Spec {
            name: ImageFolder.name().into(),
            height: *height as usize,
            width: *width as usize,
            channels: CHANNELS,
            num_classes: listing.classes.len(),
            class_names: listing.classes.iter().map(|class| shown(class)).collect(),
            train: listing.train.len(),
            validation: listing.validation.as_ref().map(Vec::len),
            test: listing.test.len(),
            place: Some(listing.folder.clone()),
            notes: listing.notes.clone(),
        }
    }
}

/// The size that all images have where the model takes that or enlarges it, and the model's otherwise.
fn common_size(
    listing: &Listing,
    pictures: &[(&PathBuf, (u32, u32))],
    model_size: Option<[usize; 2]>,
) -> Result<(u32, u32), DataError> {
    // The model's own bounds are larger; it is for its check to refuse what is too large to be.
    let model_size = model_size.map(|size| size.map(|side| u32::try_from(side).unwrap_or(u32::MAX)));
    let (first, size) = pictures[0];
    match (pictures.iter().find(|(_, other)| *other != size), model_size) {
        (None, None) => Ok(size),
        (None, Some([height, width])) if size.0 <= width && size.1 <= height => Ok(size),
        (_, Some([height, width])) => Ok((width, height)),
        (Some((other, other_size)), None) => Err(DataError::Folder {
            path: listing.folder.clone(),
            message: format!(
                "images differ in size: {} is {}x{}, {} is {}x{}",
                shown_in(&listing.folder, first),
                size.0,
                size.1,
                shown_in(&listing.folder, other),
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

/// Refuses what cannot lie in memory, before anything is decoded.
fn check_memory(listing: &Listing, image: usize, (width, height): (u32, u32)) -> Result<(), DataError> {
    let count = listing.files().len();
    let bytes = count as u64 * image as u64;
    match memory::available_bytes() {
        Some(available) if bytes > available => Err(DataError::Folder {
            path: listing.folder.clone(),
            message: format!(
                "{count} images of {width}x{height} take {} MiB of memory, and {} MiB are available",
                bytes >> 20,
                available >> 20
            ),
            help: "set a smaller `data.image_size`, or give the model a parameter `image_size`".into(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
