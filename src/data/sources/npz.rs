//! `npz`: a NumPy archive with the arrays of MedMNIST, `train_images`, `train_labels`, `test_images`, `test_labels` and, if
//! there are images to validate on, `val_images` and `val_labels`.
//!
//! Images are `uint8`, `[count, height, width]` or `[count, height, width, channels]` of 1 or 3 channels; labels are
//! integers, `[count]` or `[count, 1]`. Formats: `numpy.lib.format`, and ZIP with or without deflation.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::PathBuf,
};

use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};
use zip::{ZipArchive, read::ZipFile};

use super::{
    super::{DataError, DataOptions, Dataset, Fingerprint, Spec, Split, Subset, names::shown},
    Source,
};
use crate::memory;

const HELP: &str = "expected the arrays of MedMNIST: train_images, train_labels, test_images, test_labels and, to validate on, \
                    val_images, val_labels; images uint8 [count, height, width] or [count, height, width, 1 or 3], labels \
                    integers [count] or [count, 1] (numpy.savez, numpy.savez_compressed)";

/// Most classes; no data set has as many.
const MOST_CLASSES: usize = 1 << 16;

pub struct Npz;

/// An archive that is open.
struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

/// Height, width and channels.
type Shape = [usize; 3];

impl Source for Npz {
    fn name(&self) -> &'static str {
        "npz"
    }

    fn about(&self) -> &'static str {
        "your own arrays: a NumPy archive with the keys of MedMNIST, FILE.npz"
    }

    fn is_own(&self) -> bool {
        true
    }

    fn describe(&self, options: &DataOptions) -> Result<Spec, DataError> {
        let mut archive = Archive::open(options)?;
        let ([train, ..], [height, width, channels]) = (archive.counted(Subset::Train)?, archive.shape(Subset::Train)?);
        let validation = match archive.has(Subset::Validation) {
            true => Some(archive.counted(Subset::Validation)?[0]),
            false => None,
        };
        let [test] = archive.counted(Subset::Test)?;
        // Labels are few bytes: how many classes there are is known of all of them.
        let mut classes = 0;
        for subset in Subset::ALL.into_iter().filter(|subset| *subset != Subset::Validation || validation.is_some()) {
            classes = archive.labels(subset)?.into_iter().fold(classes, |most, label| most.max(label as usize + 1));
        }
        Ok(Spec {
            name: self.name().into(),
            height,
            width,
            channels,
            num_classes: classes,
            class_names: (0..classes).map(|class| class.to_string()).collect(),
            train,
            validation,
            test,
            place: Some(archive.path),
            streams: false,
            notes: Vec::new(),
        })
    }

    fn fingerprint(&self, options: &DataOptions, subsets: &[Subset]) -> Result<Option<Fingerprint>, DataError> {
        let mut set = self.load(options)?;
        let none = || Split::new(Vec::new(), Vec::new());
        if !subsets.contains(&Subset::Train) {
            set.train = none();
        }
        if !subsets.contains(&Subset::Validation) {
            set.validation = None;
        }
        if !subsets.contains(&Subset::Test) {
            set.test = none();
        }
        Fingerprint::of_loaded(&set).map(Some)
    }

    fn load_subset(
        &self,
        options: &DataOptions,
        subset: Subset,
        classes: &[String],
        (height, width): (usize, usize),
    ) -> Result<Option<Split>, DataError> {
        let mut archive = Archive::open(options)?;
        let shape = archive.shape(subset)?;
        if shape[..2] != [height, width] {
            let message = format!("its images are {} x {}, those of the run {height} x {width}", shape[0], shape[1]);
            return Err(archive.refused(message));
        }
        let split = archive.split(subset, shape)?;
        match split.labels.iter().find(|label| **label as usize >= classes.len()) {
            Some(label) => {
                Err(archive.refused(format!("has the label {label}; the run knows {} classes", classes.len())))
            }
            None => Ok(Some(split)),
        }
    }

    fn load(&self, options: &DataOptions) -> Result<Dataset, DataError> {
        let spec = self.describe(options)?;
        let mut archive = Archive::open(options)?;
        let shape = [spec.height, spec.width, spec.channels];
        let (train, test) = (archive.split(Subset::Train, shape)?, archive.split(Subset::Test, shape)?);
        let validation = spec.validation.map(|_| archive.split(Subset::Validation, shape)).transpose()?;
        Ok(Dataset { validation, ..spec.with(train, test) })
    }
}

/// What stands before `_images` and `_labels`.
fn key(subset: Subset, of: &str) -> String {
    let subset = match subset {
        Subset::Train => "train",
        Subset::Validation => "val",
        Subset::Test => "test",
    };
    format!("{subset}_{of}")
}

/// Which arrays are read as bytes, and how.
fn integer(dtype: &DType) -> Option<(bool, usize)> {
    let DType::Plain(plain) = dtype else { return None };
    let signed = match plain.type_char() {
        TypeChar::Int => true,
        TypeChar::Uint => false,
        _ => return None,
    };
    Some((signed, plain.size_field() as usize))
}

impl Archive {
    fn open(options: &DataOptions) -> Result<Self, DataError> {
        let Some(path) = options.path.clone() else {
            return Err(DataError::Invalid {
                message: "`npz` needs to know its file".into(),
                help: "give its `path`: FILE.npz".into(),
            });
        };
        let refused = |message: String| DataError::Folder { path: path.clone(), message, help: HELP.into() };
        if path.is_dir() {
            return Err(refused("is a folder, and not a NumPy archive".into()));
        }
        let file = File::open(&path).map_err(|cause| DataError::io("open", &path, cause))?;
        let zip =
            ZipArchive::new(BufReader::new(file)).map_err(|error| refused(format!("is no NumPy archive: {error}")))?;
        Ok(Self { path, zip })
    }

    fn refused(&self, message: String) -> DataError {
        DataError::Folder { path: self.path.clone(), message, help: HELP.into() }
    }

    fn has(&self, subset: Subset) -> bool {
        self.zip.index_for_name(&format!("{}.npy", key(subset, "images"))).is_some()
    }

    /// An array's head, with what reads its elements.
    fn array(&mut self, key: &str) -> Result<NpyFile<ZipFile<'_, BufReader<File>>>, DataError> {
        let name = format!("{key}.npy");
        if self.zip.index_for_name(&name).is_none() {
            let names = self.zip.file_names().filter_map(|name| name.ok().map(|name| shown(name.as_ref().as_ref())));
            let found: Vec<String> = names.take(12).collect();
            return Err(self.refused(format!("has no array `{key}`; it has {}", found.join(", "))));
        }
        let path = self.path.clone();
        let refused = |message: String| DataError::Folder { path, message, help: HELP.into() };
        let file = match self.zip.by_name(&name) {
            Ok(file) => file,
            Err(error) => return Err(refused(format!("`{key}` cannot be read: {error}"))),
        };
        NpyFile::new(file).map_err(|error| refused(format!("`{key}` is no array of NumPy: {error}")))
    }

    /// The shape of an array of whole numbers whose elements lie row by row, with its type.
    fn head(&mut self, key: &str) -> Result<(Vec<u64>, (bool, usize)), DataError> {
        let array = self.array(key)?;
        let header: &NpyHeader = array.header();
        let (shape, order, dtype) = (header.shape().to_vec(), header.order(), header.dtype());
        drop(array);
        let Some(kind) = integer(&dtype) else {
            return Err(self.refused(format!("`{key}` is of {}, expected integers", dtype.descr())));
        };
        if order == Order::Fortran && shape.iter().filter(|side| **side > 1).count() > 1 {
            let message = format!("`{key}` lies column by column (numpy.ascontiguousarray puts it row by row)");
            return Err(self.refused(message));
        }
        Ok((shape, kind))
    }

    fn shape(&mut self, subset: Subset) -> Result<Shape, DataError> {
        let key = key(subset, "images");
        let (shape, (signed, size)) = self.head(&key)?;
        if (signed, size) != (false, 1) {
            let kind = if signed { "int" } else { "uint" };
            return Err(self.refused(format!("`{key}` is of {kind}{}, expected uint8", 8 * size)));
        }
        let sides: Vec<usize> = shape.iter().skip(1).map(|side| usize::try_from(*side).unwrap_or(usize::MAX)).collect();
        let found = match sides[..] {
            [height, width] => Some([height, width, 1]),
            [height, width, channels @ (1 | 3)] => Some([height, width, channels]),
            _ => None,
        };
        match found.filter(|sides| sides.iter().all(|side| (1..=1 << 14).contains(side))) {
            Some(sides) => Ok(sides),
            None => Err(self.refused(format!("`{key}` has the shape {shape:?}"))),
        }
    }

    /// How many images a part has, which are as many as labels.
    fn counted(&mut self, subset: Subset) -> Result<[usize; 1], DataError> {
        let (images, labels) = (key(subset, "images"), key(subset, "labels"));
        let (of_images, _) = self.head(&images)?;
        let (of_labels, _) = self.head(&labels)?;
        match (&of_images[..], &of_labels[..]) {
            ([count, _, ..], [other] | [other, 1]) if count == other && *count > 0 => usize::try_from(*count)
                .map(|count| [count])
                .map_err(|_| self.refused(format!("`{images}` is too large"))),
            ([0, ..], _) => Err(self.refused(format!("`{images}` holds no image"))),
            (_, [_, several]) if *several != 1 => Err(self.refused(format!(
                "`{labels}` has the shape {of_labels:?}: several labels of an image; one is classified"
            ))),
            _ => Err(self.refused(format!("`{images}` has the shape {of_images:?}, `{labels}` {of_labels:?}"))),
        }
    }

    fn labels(&mut self, subset: Subset) -> Result<Vec<u32>, DataError> {
        let [count] = self.counted(subset)?;
        let key = key(subset, "labels");
        let (_, (signed, size)) = self.head(&key)?;
        let dtype = self.array(&key)?.dtype();
        let big = matches!(&dtype, DType::Plain(plain) if plain.endianness() == npyz::Endianness::Big);
        let bytes = self.bytes(&key, count * size)?;
        let mut labels = Vec::with_capacity(count);
        for (at, element) in bytes.chunks_exact(size).enumerate() {
            let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            let value = if big { element.iter().fold(0, fold) } else { element.iter().rev().fold(0, fold) };
            let negative = signed && value >> (8 * size - 1) == 1;
            match u32::try_from(value).ok().filter(|label| !negative && (*label as usize) < MOST_CLASSES) {
                Some(label) => labels.push(label),
                None => {
                    let message = format!("`{key}` has a label at {at} that is not from 0 to {}", MOST_CLASSES - 1);
                    return Err(self.refused(message));
                }
            }
        }
        Ok(labels)
    }

    /// The elements of an array as they lie there, and no more.
    fn bytes(&mut self, key: &str, count: usize) -> Result<Vec<u8>, DataError> {
        if memory::available_bytes().is_some_and(|available| count as u64 > available) {
            return Err(self.refused(format!("`{key}` takes {} MiB, which cannot be had", count >> 20)));
        }
        let path = self.path.clone();
        let mut file = self.zip.by_name(&format!("{key}.npy")).map_err(|error| DataError::Folder {
            path: path.clone(),
            message: format!("`{key}` cannot be read: {error}"),
            help: HELP.into(),
        })?;
        let wrong = |message: String| DataError::Folder { path, message, help: HELP.into() };
        let read = NpyHeader::from_reader(&mut file).and_then(|_| {
            let mut bytes = Vec::new();
            file.by_ref().take(count as u64).read_to_end(&mut bytes)?;
            // The checksum is held to at the end of the file.
            let more = std::io::copy(&mut file, &mut std::io::sink())?;
            Ok((bytes, more))
        });
        match read {
            Ok((bytes, 0)) if bytes.len() == count => Ok(bytes),
            Ok((bytes, more)) => {
                Err(wrong(format!("`{key}` holds {} bytes, its head says {count}", bytes.len() as u64 + more)))
            }
            Err(error) => Err(wrong(format!("`{key}` is damaged: {error}"))),
        }
    }

    fn split(&mut self, subset: Subset, shape: Shape) -> Result<Split, DataError> {
        let own = self.shape(subset)?;
        if own != shape {
            let message = format!("`{}` holds images of {own:?}, others of {shape:?}", key(subset, "images"));
            return Err(self.refused(message));
        }
        let labels = self.labels(subset)?;
        let bytes = labels.len().checked_mul(shape.iter().product());
        let bytes = bytes.ok_or_else(|| self.refused("is too large".into()))?;
        Ok(Split::new(self.bytes(&key(subset, "images"), bytes)?, labels))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::Path};

    use miette::Diagnostic;
    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;
    use crate::data::{describe, fingerprint, load, load_subset};

    /// An array as NumPy writes it.
    fn array(descr: &str, shape: &str, order: bool, bytes: &[u8]) -> Vec<u8> {
        let order = if order { "True" } else { "False" };
        let mut head = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (10 + head.len() + 1) % 64 != 0 {
            head.push(' ');
        }
        head.push('\n');
        [b"\x93NUMPY\x01\0".as_slice(), &(head.len() as u16).to_le_bytes(), head.as_bytes(), bytes].concat()
    }

    fn archive(path: &Path, arrays: &[(&str, Vec<u8>)]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (at, (key, bytes)) in arrays.iter().enumerate() {
            let method = if at % 2 == 0 { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
            zip.start_file(format!("{key}.npy"), SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    fn pixels(count: usize, image: usize) -> Vec<u8> {
        (0..count * image).map(|at| (at * 37 % 251) as u8).collect()
    }

    /// Images of 3 x 2, of each split others; labels of several types and shapes.
    fn arrays() -> Vec<(&'static str, Vec<u8>)> {
        let words = |labels: &[i64]| labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<u8>>();
        vec![
            ("train_images", array("|u1", "(5, 3, 2, 3)", false, &pixels(5, 18))),
            ("train_labels", array("<i8", "(5, 1)", false, &words(&[0, 2, 1, 1, 0]))),
            ("val_images", array("|u1", "(2, 3, 2, 3)", false, &pixels(2, 18)[..36])),
            ("val_labels", array("|u1", "(2,)", false, &[1, 3])),
            ("test_images", array("|u1", "(1, 3, 2, 3)", false, &[9; 18])),
            ("test_labels", array(">u2", "(1, 1)", true, &[0, 2])),
        ]
    }

    struct Made(tempfile::TempDir);

    impl Made {
        fn new(arrays: &[(&str, Vec<u8>)]) -> Self {
            let made = Self(tempfile::tempdir().unwrap());
            archive(&made.0.path().join("d.npz"), arrays);
            made
        }

        fn options(&self) -> DataOptions {
            DataOptions { path: Some(self.0.path().join("d.npz")), ..DataOptions::default() }
        }

        fn refused(&self) -> String {
            let error = load("npz", &self.options()).unwrap_err();
            let help = error.help().map(|help| help.to_string()).unwrap_or_default();
            assert!(help.contains("MedMNIST"), "{help}");
            error.to_string().replace(&self.0.path().display().to_string(), "DIR")
        }
    }

    #[test]
    fn the_keys_of_medmnist() {
        let made = Made::new(&arrays());
        let (spec, set) = (describe("npz", &made.options()).unwrap(), load("npz", &made.options()).unwrap());
        assert_eq!((spec.height, spec.width, spec.channels, spec.num_classes), (3, 2, 3, 4));
        assert_eq!((spec.train, spec.validation, spec.test), (5, Some(2), 1));
        assert_eq!(
            (set.train.labels.to_vec(), set.train.in_memory().unwrap()),
            (vec![0, 2, 1, 1, 0], &pixels(5, 18)[..])
        );
        let validation = set.validation.clone().unwrap();
        assert_eq!((validation.labels.to_vec(), set.test.labels.to_vec()), (vec![1, 3], vec![2]));
        assert_eq!(set.class_names, ["0", "1", "2", "3"]);
        let part = |classes: &[String], size| load_subset("npz", &made.options(), Subset::Test, classes, size);
        assert_eq!(part(&set.class_names, (3, 2)).unwrap().unwrap(), set.test);
        let few = part(&set.class_names[..2], (3, 2)).unwrap_err().to_string();
        assert!(few.ends_with("has the label 2; the run knows 2 classes"), "{few}");
        assert!(part(&set.class_names, (2, 3)).unwrap_err().to_string().contains("its images are 3 x 2"));
        // Grey ones have no axis for it, and another pixel is other data.
        let mut grey = arrays();
        grey.iter_mut().filter(|(key, _)| key.ends_with("images")).for_each(|(_, bytes)| {
            *bytes = array("|u1", "(1, 2, 9)", false, &bytes[bytes.len() - 18..]);
        });
        grey.iter_mut()
            .filter(|(key, _)| key.ends_with("labels"))
            .for_each(|(_, bytes)| *bytes = array("|i1", "(1,)", false, &[0]));
        let grey_set = load("npz", &Made::new(&grey).options()).unwrap();
        assert_eq!((grey_set.height, grey_set.width, grey_set.channels, grey_set.num_classes()), (2, 9, 1, 1));
        let digest = |made: &Made, subsets: &[Subset]| fingerprint("npz", &made.options(), subsets).unwrap().unwrap();
        let mut changed = arrays();
        *changed[2].1.last_mut().unwrap() ^= 1;
        let (then, now) = (digest(&made, &Subset::ALL), digest(&Made::new(&changed), &Subset::ALL));
        assert_eq!(
            then.changes(&now, &Subset::ALL).unwrap(),
            "validation: `3` has other pictures or names of files, 1 image as before"
        );
        assert_eq!(then.changes(&digest(&Made::new(&changed), &[Subset::Test]), &[Subset::Test]), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let with = |at: usize, bytes: Vec<u8>| {
            let mut arrays = arrays();
            arrays[at].1 = bytes;
            Made::new(&arrays).refused()
        };
        let without =
            |key: &str| Made::new(&arrays().into_iter().filter(|(name, _)| *name != key).collect::<Vec<_>>()).refused();
        let made = Made::new(&arrays());
        std::fs::write(made.0.path().join("d.npz"), b"no archive").unwrap();
        let all = [
            without("test_labels"),
            without("train_images"),
            with(0, array("<f4", "(5, 3, 2)", false, &[0; 120])),
            with(0, array("<u2", "(5, 3, 2)", false, &[0; 60])),
            with(0, array("|u1", "(5, 3, 2, 4)", false, &[0; 120])),
            with(0, array("|u1", "(5, 3, 2, 3)", true, &pixels(5, 18))),
            with(0, array("|u1", "(5, 3, 2, 3)", false, &pixels(5, 18)[1..])),
            with(0, array("|u1", "(5, 3, 2, 3)", false, &pixels(6, 18))),
            with(0, array("|u1", "(5, 3, 2, 3)", false, &pixels(5, 18))[..40].to_vec()),
            with(0, array("|u1", "(0, 3, 2, 3)", false, &[])),
            with(1, array("|u1", "(4,)", false, &[0; 4])),
            with(1, array("|u1", "(5, 14)", false, &[0; 70])),
            with(1, array("|i1", "(5,)", false, &[0, 1, 255, 0, 0])),
            with(4, array("|u1", "(1, 3, 2)", false, &[0; 6])),
            made.refused(),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }
}
