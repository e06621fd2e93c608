//! What CIFAR-10 and CIFAR-100 share: 32x32 colour images as planes, in records of a binary file
//! or in a python pickle (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
//! 2009; <https://www.cs.toronto.edu/~kriz/cifar.html>).

use std::path::{Path, PathBuf};

use super::super::{DataError, DataOptions, Dataset, Spec, Split, fetch::Remote, file, locate};
use super::{Source, pickle};
use crate::model::ImageSpec;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const CHANNELS: usize = 3;
const IMAGE: usize = PLANE * CHANNELS;
/// Names of classes are short; a list of them is no larger than this.
const LARGEST_NAMES: u64 = 1 << 20;

/// One of the two sets, and how it lies on disk.
pub struct Cifar {
    pub name: &'static str,
    pub about: &'static str,
    /// Where it is looked for, below a data directory.
    pub folders: &'static [&'static str],
    pub remote: &'static [Remote],
    pub classes: usize,
    /// Label bytes before the pixels of a binary record, and which of them is the class.
    pub label_bytes: usize,
    pub label_at: usize,
    /// Files of the binary layout.
    pub binary_train: &'static [&'static str],
    pub binary_test: &'static [&'static str],
    pub binary_names: &'static str,
    /// Files of the python layout, and the keys in their dictionaries.
    pub pickle_train: &'static [&'static str],
    pub pickle_test: &'static [&'static str],
    pub pickle_meta: &'static str,
    pub label_key: &'static str,
    pub names_key: &'static str,
}

/// A set that was found.
enum Found {
    Binary(PathBuf),
    Pickle(PathBuf),
}

impl Source for Cifar {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn published(&self) -> Option<ImageSpec> {
        Some(ImageSpec { height: SIDE, width: SIDE, channels: CHANNELS, num_classes: self.classes })
    }

    fn remote(&self) -> &'static [Remote] {
        self.remote
    }

    /// Counts and names. The binary layout is described by the lengths of its files; a pickle must
    /// be parsed, its pixels are not copied.
    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        let place = self.find(options)?;
        let count = |names: &[&str]| -> Result<usize, DataError> {
            names.iter().try_fold(0, |sum, name| {
                Ok(sum
                    + match &place {
                        Found::Binary(folder) => {
                            let path = folder.join(name);
                            self.records(&path, file::length(&path)? as usize)?
                        }
                        Found::Pickle(folder) => self.read_pickle(&folder.join(name), &mut Vec::new())?.len(),
                    })
            })
        };
        let (train, test) = match &place {
            Found::Binary(_) => (count(self.binary_train)?, count(self.binary_test)?),
            Found::Pickle(_) => (count(self.pickle_train)?, count(self.pickle_test)?),
        };
        self.spec(&place, train, test)
    }

    /// Planes are turned into `[height, width, channel]`.
    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        let place = self.find(options)?;
        let split = |names: &[&str]| -> Result<Split, DataError> {
            let (mut pixels, mut labels) = (Vec::new(), Vec::new());
            for name in names {
                match &place {
                    Found::Binary(folder) => self.read_binary(&folder.join(name), &mut pixels, &mut labels)?,
                    Found::Pickle(folder) => labels.extend(self.read_pickle(&folder.join(name), &mut pixels)?),
                }
            }
            Ok(Split::new(pixels, labels))
        };
        let (train, test) = match &place {
            Found::Binary(_) => (split(self.binary_train)?, split(self.binary_test)?),
            Found::Pickle(_) => (split(self.pickle_train)?, split(self.pickle_test)?),
        };
        Ok(self.spec(&place, train.len(), test.len())?.with(train, test))
    }
}

impl Cifar {
    fn find(&self, options: &DataOptions) -> Result<Found, DataError> {
        locate::find(self.name, options, self.folders, |folder| self.probe(folder))
    }

    /// Recognises the set in `folder` by its first training file.
    fn probe(&self, folder: &Path) -> Option<Found> {
        let has = |names: &[&str]| names.iter().any(|name| folder.join(name).is_file());
        if has(self.binary_train) {
            Some(Found::Binary(folder.to_path_buf()))
        } else if has(self.pickle_train) && folder.join(self.pickle_meta).is_file() {
            Some(Found::Pickle(folder.to_path_buf()))
        } else {
            None
        }
    }

    fn spec(&self, place: &Found, train: usize, test: usize) -> Result<Spec, DataError> {
        let (folder, class_names) = match place {
            Found::Binary(folder) => (folder, self.binary_class_names(&folder.join(self.binary_names))?),
            Found::Pickle(folder) => (folder, self.pickle_class_names(&folder.join(self.pickle_meta))?),
        };
        Ok(Spec {
            name: self.name.into(),
            height: SIDE,
            width: SIDE,
            channels: CHANNELS,
            num_classes: self.classes,
            class_names,
            train,
            test,
            place: Some(folder.clone()),
            validation: None,
            streams: false,
            notes: Vec::new(),
        })
    }

    /// Number of records in `length` bytes.
    fn records(&self, path: &Path, length: usize) -> Result<usize, DataError> {
        let record = self.label_bytes + IMAGE;
        let (count, rest) = (length / record, length % record);
        if rest != 0 || count == 0 {
            let expected = format!("a record of {record} bytes");
            return Err(DataError::corrupt(path, count * record, expected, format!("{rest} bytes")));
        }
        Ok(count)
    }

    fn read_binary(&self, path: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<(), DataError> {
        let bytes = file::read(path)?;
        let record = self.label_bytes + IMAGE;
        pixels.reserve(self.records(path, bytes.len())? * IMAGE);
        for (index, record_bytes) in bytes.chunks_exact(record).enumerate() {
            let label = u32::from(record_bytes[self.label_at]);
            self.check_label(path, index * record + self.label_at, i64::from(label))?;
            labels.push(label);
            interleave(&record_bytes[self.label_bytes..], pixels);
        }
        Ok(())
    }

    /// Appends the images of a pickle to `pixels` and returns its labels.
    fn read_pickle(&self, path: &Path, pixels: &mut Vec<u8>) -> Result<Vec<u32>, DataError> {
        let bytes = file::read(path)?;
        let root = pickle::parse(path, &bytes)?;
        let data = root.entry("data")?.bytes_array()?;
        let labels = root.entry(self.label_key)?.integers()?;
        if data.bytes.len() != labels.len() * IMAGE || labels.is_empty() {
            let expected = format!("{} bytes of pixels for {} labels", labels.len() * IMAGE, labels.len());
            return Err(DataError::corrupt(path, data.offset, expected, format!("{} bytes", data.bytes.len())));
        }
        pixels.reserve(data.bytes.len());
        data.bytes.chunks_exact(IMAGE).for_each(|image| interleave(image, pixels));
        labels.into_iter().map(|label| self.check_label(path, data.offset, label).map(|()| label as u32)).collect()
    }

    fn check_label(&self, path: &Path, offset: usize, label: i64) -> Result<(), DataError> {
        if (0..self.classes as i64).contains(&label) {
            return Ok(());
        }
        Err(DataError::corrupt(path, offset, format!("a class 0-{}", self.classes - 1), label.to_string()))
    }

    /// One name a line. A set without the file still trains: its classes go by number.
    fn binary_class_names(&self, path: &Path) -> Result<Vec<String>, DataError> {
        if !path.exists() {
            return Ok((0..self.classes).map(|class| class.to_string()).collect());
        }
        let bytes = file::read_at_most(path, LARGEST_NAMES)?;
        let text = String::from_utf8_lossy(&bytes);
        let names = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        self.check_names(path, names)
    }

    fn pickle_class_names(&self, path: &Path) -> Result<Vec<String>, DataError> {
        let bytes = file::read_at_most(path, LARGEST_NAMES)?;
        let names = pickle::parse(path, &bytes)?.entry(self.names_key)?.strings()?;
        self.check_names(path, names)
    }

    fn check_names(&self, path: &Path, names: Vec<String>) -> Result<Vec<String>, DataError> {
        if names.len() == self.classes {
            return Ok(names);
        }
        Err(DataError::corrupt(path, 0, format!("{} class names", self.classes), names.len().to_string()))
    }
}

/// Red, green and blue planes to one pixel after the other.
fn interleave(planes: &[u8], pixels: &mut Vec<u8>) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    pixels.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_pixels() {
        let planes: Vec<u8> = (0..IMAGE).map(|i| (i / PLANE * 100 + i % PLANE % 90) as u8).collect();
        let mut pixels = Vec::new();
        interleave(&planes, &mut pixels);
        assert_eq!(pixels[..6], [0, 100, 200, 1, 101, 201]);
        assert_eq!(pixels.len(), IMAGE);
    }
}
