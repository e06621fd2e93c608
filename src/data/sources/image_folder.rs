//! `image_folder`: `DIR/train/CLASS/*.png` and `DIR/test/CLASS/*.png` (or `val`, `validation`).
//!
//! Images become RGB (an alpha channel is dropped). Where an image is not of the wanted size it is
//! resized with a triangle filter, which is antialiased when shrinking: photographs shrink a lot.
//! Training images are put into a fixed shuffled order, so that "the last tenth validates" does not
//! mean "the last classes in the alphabet validate".

use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{ImageReader, Limits};
use rayon::prelude::*;

use super::super::order::shuffled;
use super::super::{DataError, DataOptions, Dataset, ImageFile, Spec, Split, Subset};
use super::Source;

const TEST_FOLDERS: &[&str] = &["test", "val", "validation"];
const EXTENSIONS: &[&str] = &["png", "jpg", "jpeg", "webp"];
/// Pixels of one decoded file, in bytes: a 100-megapixel photograph.
const LARGEST_IMAGE: u64 = 400 << 20;

pub struct ImageFolder;

/// Files and classes, before any pixel is read.
struct Listing {
    folder: PathBuf,
    class_names: Vec<String>,
    train: Vec<(PathBuf, u32)>,
    test: Vec<(PathBuf, u32)>,
}

impl Source for ImageFolder {
    fn name(&self) -> &'static str {
        "image_folder"
    }

    fn about(&self) -> &'static str {
        "your own images: DIR/train/CLASS/*.png|jpg|webp and DIR/test/CLASS/..."
    }

    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        let listing = Listing::new(options)?;
        let (width, height) = listing.size(options)?;
        Ok(listing.spec(height, width))
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        let listing = Listing::new(options)?;
        let (width, height) = listing.size(options)?;
        let split = |files: &[(PathBuf, u32)]| -> Result<Split, DataError> {
            let images: Vec<Vec<u8>> =
                files.par_iter().map(|(path, _)| decode(path, width, height)).collect::<Result<_, _>>()?;
            Ok(Split::new(images.concat(), files.iter().map(|&(_, label)| label).collect()))
        };
        Ok(listing.spec(height, width).with(split(&listing.train)?, split(&listing.test)?))
    }

    fn files(&self, options: &DataOptions, subsets: &[Subset]) -> Result<Option<Vec<ImageFile>>, DataError> {
        let root = root(options)?;
        let mut all = Vec::new();
        for &subset in subsets {
            let Some(folder) = subset_folder(&root, subset) else { continue };
            let classes = folders(&folder)?;
            let file = |(path, label): (PathBuf, u32)| {
                let class = classes[label as usize].clone();
                ImageFile { subset, class, path }
            };
            all.extend(files(&folder, &classes)?.into_iter().map(file));
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
        let root = root(options)?;
        let Some(folder) = subset_folder(&root, subset) else {
            return Err(DataError::Folder {
                path: root,
                message: format!("has no folder of {} images", subset.adjective()),
                help: "expected DIR/test/CLASS/*.png (`val` may stand for `test`)".into(),
            });
        };
        let own = folders(&folder)?;
        if let Some(unknown) = own.iter().find(|name| !classes.contains(name)) {
            return Err(DataError::Folder {
                path: folder.join(unknown),
                message: format!("the run knows no class `{unknown}`"),
                help: format!("classes of the run: {}; of the folder: {}", classes.join(", "), own.join(", ")),
            });
        }
        let files = files(&folder, classes)?;
        if files.is_empty() {
            return Err(DataError::Folder {
                path: folder,
                message: "holds no image".into(),
                help: "images lie in one folder a class, as CLASS/NAME.png, .jpg, .jpeg or .webp".into(),
            });
        }
        let (height, width) = (size.0 as u32, size.1 as u32);
        let images: Vec<Vec<u8>> =
            files.par_iter().map(|(path, _)| decode(path, width, height)).collect::<Result<_, _>>()?;
        Ok(Some(Split::new(images.concat(), files.iter().map(|&(_, label)| label).collect())))
    }
}

/// The folder that is meant, which is there.
fn root(options: &DataOptions) -> Result<PathBuf, DataError> {
    let Some(folder) = options.path.clone() else {
        return Err(DataError::Invalid {
            message: "`image_folder` needs to know its folder".into(),
            help: "give its `path`: DIR with DIR/train/CLASS/*.png and DIR/test/CLASS/*.png".into(),
        });
    };
    if !folder.is_dir() {
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        return Err(DataError::Invalid {
            message: format!("there is no folder {}", folder.display()),
            help: "`data.path` is relative to the experiment's file; --path gives another folder".into(),
        });
    }
    Ok(folder)
}

/// Where the images of a part lie.
fn subset_folder(root: &Path, subset: Subset) -> Option<PathBuf> {
    let names: &[&str] = match subset {
        Subset::Train => &["train"],
        Subset::Validation => &[],
        Subset::Test => TEST_FOLDERS,
    };
    names.iter().map(|name| root.join(name)).find(|path| path.is_dir())
}

impl Listing {
    fn new(options: &DataOptions) -> Result<Self, DataError> {
        let folder = root(options)?;
        let train_folder = folder.join("train");
        let test_folder = TEST_FOLDERS.iter().map(|name| folder.join(name)).find(|path| path.is_dir());
        let (true, Some(test_folder)) = (train_folder.is_dir(), test_folder) else {
            return Err(DataError::Folder {
                path: folder,
                message: "has no `train` and `test` folders".into(),
                help: "expected DIR/train/CLASS/*.png and DIR/test/CLASS/*.png (`val` may stand for `test`)".into(),
            });
        };
        let class_names = folders(&train_folder)?;
        let train = files(&train_folder, &class_names)?;
        for name in folders(&test_folder)? {
            if !class_names.contains(&name) {
                return Err(DataError::Folder {
                    path: test_folder.join(&name),
                    message: "this class has no training folder".into(),
                    help: format!("classes of the training folder: {}", class_names.join(", ")),
                });
            }
        }
        let test = files(&test_folder, &class_names)?;
        for (split, folder) in [(&train, &train_folder), (&test, &test_folder)] {
            if split.is_empty() {
                return Err(DataError::Folder {
                    path: folder.clone(),
                    message: "holds no image".into(),
                    help: "images lie in one folder a class, as CLASS/NAME.png, .jpg, .jpeg or .webp".into(),
                });
            }
        }
        let order = shuffled(train.len(), 0, 0);
        let train = order.into_iter().map(|index| train[index as usize].clone()).collect();
        Ok(Self { folder, class_names, train, test })
    }

    /// Width and height that images get: as asked for, or the one that all of them have.
    fn size(&self, options: &DataOptions) -> Result<(u32, u32), DataError> {
        if let Some(size) = options.image_size {
            let size = u32::try_from(size).ok().filter(|size| (1..=4096).contains(size));
            return size.map(|size| (size, size)).ok_or_else(|| DataError::Invalid {
                message: format!("image size {} is not between 1 and 4096", options.image_size.unwrap_or(0)),
                help: "give the side in pixels, for example 64".into(),
            });
        }
        let all: Vec<&PathBuf> = self.train.iter().chain(&self.test).map(|(path, _)| path).collect();
        let sizes: Vec<(u32, u32)> = all.par_iter().map(|path| dimensions(path)).collect::<Result<_, _>>()?;
        match sizes.iter().position(|size| *size != sizes[0]) {
            None => Ok(sizes[0]),
            Some(other) => Err(DataError::Folder {
                path: self.folder.clone(),
                message: format!(
                    "images differ in size: {} is {}x{}, {} is {}x{}",
                    self.relative(all[0]),
                    sizes[0].0,
                    sizes[0].1,
                    self.relative(all[other]),
                    sizes[other].0,
                    sizes[other].1
                ),
                help: "give an image size, and every image is resized to it".into(),
            }),
        }
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }

    fn spec(&self, height: u32, width: u32) -> Spec {
        Spec {
            name: ImageFolder.name().into(),
            height: height as usize,
            width: width as usize,
            channels: 3,
            num_classes: self.class_names.len(),
            class_names: self.class_names.clone(),
            train: self.train.len(),
            test: self.test.len(),
            place: Some(self.folder.clone()),
        }
    }
}

/// Sorted paths in a folder, hidden ones left out.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut paths = read().map_err(|source| DataError::io("list", folder, source))?;
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    paths.sort();
    Ok(paths)
}

/// Names of the folders in a folder.
fn folders(folder: &Path) -> Result<Vec<String>, DataError> {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).filter_map(name).collect())
}

/// Images of each class, by class and then name.
fn files(folder: &Path, class_names: &[String]) -> Result<Vec<(PathBuf, u32)>, DataError> {
    let is_image = |path: &PathBuf| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
    };
    let mut found = Vec::new();
    for (label, name) in class_names.iter().enumerate() {
        let class_folder = folder.join(name);
        if class_folder.is_dir() {
            found.extend(entries(&class_folder)?.into_iter().filter(is_image).map(|path| (path, label as u32)));
        }
    }
    Ok(found)
}

fn reader(path: &Path) -> Result<ImageReader<std::io::BufReader<fs::File>>, DataError> {
    let open = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let mut reader = open.map_err(|source| DataError::io("open", path, source))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST_IMAGE);
    reader.limits(limits);
    Ok(reader)
}

fn image_error(path: &Path, error: image::ImageError) -> DataError {
    DataError::Image { path: path.to_path_buf(), message: error.to_string() }
}

fn dimensions(path: &Path) -> Result<(u32, u32), DataError> {
    reader(path)?.into_dimensions().map_err(|error| image_error(path, error))
}

/// `[height, width, 3]` bytes of one image.
fn decode(path: &Path, width: u32, height: u32) -> Result<Vec<u8>, DataError> {
    let image = reader(path)?.decode().map_err(|error| image_error(path, error))?.to_rgb8();
    if image.dimensions() == (width, height) {
        return Ok(image.into_raw());
    }
    Ok(image::imageops::resize(&image, width, height, FilterType::Triangle).into_raw())
}
