//! The idx format of MNIST and its relatives: two zero bytes, the element type (8: bytes), the
//! number of dimensions, each dimension as a big-endian u32, then the elements
//! (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998).

use std::path::{Path, PathBuf};

use super::super::{DataError, DataOptions, Dataset, Spec, Split, fetch::Remote, file, locate};
use super::Source;
use crate::model::ImageSpec;

/// One relative of MNIST.
pub struct Idx {
    pub name: &'static str,
    pub about: &'static str,
    /// Where it is looked for, below a data directory.
    pub folders: &'static [&'static str],
    pub class_names: [&'static str; 10],
    pub remote: &'static [Remote],
}

/// Height and width of the published images.
const SIDE: usize = 28;

const TRAIN: (&str, &str) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
const TEST: (&str, &str) = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");

impl Source for Idx {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn published(&self) -> Option<ImageSpec> {
        Some(ImageSpec { height: SIDE, width: SIDE, channels: 1, num_classes: self.class_names.len() })
    }

    fn remote(&self) -> &'static [Remote] {
        self.remote
    }

    /// Described by loading: gzip files say their size only when decompressed, which takes a
    /// fraction of a second.
    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        let (spec, _, _) = self.read(options)?;
        Ok(spec)
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        let (spec, train, test) = self.read(options)?;
        Ok(spec.with(train, test))
    }
}

impl Idx {
    fn folder(&self, options: &DataOptions) -> Result<PathBuf, DataError> {
        locate::find(self.name, options, self.folders, |folder| {
            [TRAIN.0, TRAIN.1, TEST.0, TEST.1]
                .iter()
                .all(|name| existing(folder, name).is_some())
                .then(|| folder.to_path_buf())
        })
    }

    fn read(&self, options: &DataOptions) -> Result<(Spec, Split, Split), DataError> {
        let folder = self.folder(options)?;
        let (train, size) = self.split(&folder, TRAIN)?;
        let (test, test_size) = self.split(&folder, TEST)?;
        if size != test_size {
            let path = existing(&folder, TEST.0).unwrap_or_else(|| folder.clone());
            return Err(DataError::corrupt(
                &path,
                8,
                format!("images of {size:?} as in training"),
                format!("{test_size:?}"),
            ));
        }
        let spec = Spec {
            name: self.name.into(),
            height: size[0],
            width: size[1],
            channels: 1,
            num_classes: self.class_names.len(),
            class_names: self.class_names.map(str::to_owned).to_vec(),
            train: train.len(),
            test: test.len(),
            place: Some(folder),
            validation: None,
            streams: false,
            notes: Vec::new(),
        };
        Ok((spec, train, test))
    }

    fn split(&self, folder: &Path, (images, labels): (&str, &str)) -> Result<(Split, [usize; 2]), DataError> {
        let images = existing(folder, images).unwrap_or_else(|| folder.join(images));
        let labels = existing(folder, labels).unwrap_or_else(|| folder.join(labels));
        let ([count, height, width], pixels) = elements::<3>(&images)?;
        let ([label_count], classes) = elements::<1>(&labels)?;
        if label_count != count {
            return Err(DataError::corrupt(
                &labels,
                4,
                format!("{count} labels, one an image"),
                label_count.to_string(),
            ));
        }
        if let Some(at) = classes.iter().position(|&class| usize::from(class) >= self.class_names.len()) {
            return Err(DataError::corrupt(&labels, 8 + at, "a class 0-9", classes[at].to_string()));
        }
        Ok((Split::new(pixels, classes.into_iter().map(u32::from).collect()), [height, width]))
    }
}

/// The file of that name, raw or compressed.
fn existing(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

/// Dimensions and elements of an idx file of bytes.
fn elements<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>), DataError> {
    let mut bytes = file::read(path)?;
    let header = 4 + 4 * N;
    let magic = [0, 0, 8, N as u8];
    if bytes.len() < header || bytes[..4] != magic {
        let found = format!("{:02x?} in {} bytes", &bytes[..bytes.len().min(4)], bytes.len());
        return Err(DataError::corrupt(path, 0, format!("an idx header {magic:02x?} of {header} bytes"), found));
    }
    let shape: [usize; N] = std::array::from_fn(|axis| {
        let at = 4 + 4 * axis;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
    });
    let wanted = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let found = bytes.len() - header;
    if wanted != Some(found) || found == 0 {
        let expected =
            format!("{} elements for the shape {shape:?}", wanted.map_or("too many".into(), |n| n.to_string()));
        let offset = header + found.min(wanted.unwrap_or(0));
        return Err(DataError::corrupt(path, offset, expected, format!("{found}")));
    }
    bytes.drain(..header);
    Ok((shape, bytes))
}
