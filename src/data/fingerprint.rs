//! What lies in a data set, in a few words and a digest: the same wherever it lies and whenever its
//! files were touched, another as soon as a picture, its name or its class is another.

use std::{
    ffi::OsString,
    fmt::Write,
    io::{self, Read},
};

use rayon::prelude::*;

use crate::{choice::Choice, threads};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DataError, Dataset, Place, Split};

/// Bytes of a digest that are kept.
const DIGEST: usize = 16;

/// How many differences are named.
const MOST_DIFFERENCES: usize = 6;

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subset {
    /// What is trained on.
    Train,
    /// What is evaluated after each epoch.
    Validation,
    /// What is evaluated once, in the end.
    Test,
}

impl Choice for Subset {
    const CHOICES: &[(Self, &str, &str)] =
        &[(Self::Train, "train", ""), (Self::Validation, "validation", ""), (Self::Test, "test", "")];
}

impl Subset {
    /// In the order in which they are used.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// As in "the training images".
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// A picture's file in a user's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// By the folder that it lies in.
    pub subset: Subset,
    /// The name of the folder that it lies in.
    pub class: String,
    /// Within the class: what counts, wherever the folder lies.
    pub name: OsString,
    /// Of the file.
    pub place: Place,
}

/// All images of a data set, before any limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Name of the data set.
    pub set: String,
    /// Of everything; 32 hexadecimal digits.
    pub digest: String,
    /// Of training, by class.
    pub train: Vec<Class>,
    /// Of a data set that has validation images of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<Class>,
    /// Of the test, by class.
    pub test: Vec<Class>,
}

/// The images of a class in one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// As the data set calls it.
    pub name: String,
    /// How many.
    pub images: usize,
    /// Of names and bytes, in order; 32 hexadecimal digits.
    pub digest: String,
}

impl Fingerprint {
    /// Reads the files of a folder. `classes` have the order of their indices, as far as they are trained.
    ///
    /// # Errors
    /// [`DataError::Io`] for a file that cannot be read.
    pub fn of_files(set: &str, files: &[ImageFile]) -> Result<Self, DataError> {
        let digests: Vec<[u8; 32]> =
            threads::together(|| files.par_iter().map(|file| of_file(&file.place)).collect::<Result<_, _>>())?;
        let classes = |subset: Subset| {
            let mut own: Vec<(&str, OsString, [u8; 32])> = files
                .iter()
                .zip(&digests)
                .filter(|(file, _)| file.subset == subset)
                .map(|(file, digest)| (file.class.as_str(), file.name.clone(), *digest))
                .collect();
            own.sort();
            let chunks = own.chunk_by(|a, b| a.0 == b.0);
            let class = |images: &[(&str, OsString, [u8; 32])]| {
                let mut hash = Sha256::new();
                for (_, name, digest) in images {
                    part(&mut hash, name.as_encoded_bytes());
                    part(&mut hash, digest);
                }
                Class { name: images[0].0.to_owned(), images: images.len(), digest: hexadecimal(hash) }
            };
            chunks.map(class).collect()
        };
        let [train, validation, test] = Subset::ALL.map(classes);
        Ok(Self::new(set, [train, validation, test], |class| class.name.clone()))
    }

    /// Of a data set that is in memory, whole. Its classes go by number: their names are no part of the digest.
    ///
    /// # Errors
    /// As [`Split::image`].
    pub fn of_loaded(set: &Dataset) -> Result<Self, DataError> {
        let image = set.image_bytes();
        let classes = |split: &Split| -> Result<Vec<Class>, DataError> {
            let class = |(number, name): (usize, &String)| {
                let (mut hash, mut images, mut decoded) = (Sha256::new(), 0, Vec::new());
                for (index, _) in split.labels.iter().enumerate().filter(|(_, label)| **label as usize == number) {
                    part(&mut hash, &index.to_le_bytes());
                    part(&mut hash, split.image(index, image, &mut decoded)?);
                    images += 1;
                }
                Ok(Class { name: name.clone(), images, digest: hexadecimal(hash) })
            };
            threads::together(|| set.class_names.par_iter().enumerate().map(class).collect())
        };
        let validation = set.validation.as_ref().map(classes).transpose()?.unwrap_or_default();
        Ok(Self::new(&set.name, [classes(&set.train)?, validation, classes(&set.test)?], |_| String::new()))
    }

    fn new(set: &str, subsets: [Vec<Class>; 3], name: impl Fn(&Class) -> String) -> Self {
        let mut hash = Sha256::new();
        for (subset, classes) in Subset::ALL.iter().zip(&subsets) {
            part(&mut hash, subset.adjective().as_bytes());
            for class in classes {
                part(&mut hash, name(class).as_bytes());
                part(&mut hash, class.digest.as_bytes());
            }
        }
        let [train, validation, test] = subsets;
        Self { set: set.to_owned(), digest: hexadecimal(hash), train, validation, test }
    }

    /// The classes of a part.
    pub fn of(&self, subset: Subset) -> &[Class] {
        match subset {
            Subset::Train => &self.train,
            Subset::Validation => &self.validation,
            Subset::Test => &self.test,
        }
    }

    /// How parts of it have changed: "training: `red` is gone (12 images)", and so on; `None` where they are the same.
    pub fn changes(&self, now: &Self, subsets: &[Subset]) -> Option<String> {
        let mut all = Vec::new();
        if self.set != now.set {
            all.push(format!("`{}` then, `{}` now", self.set, now.set));
        }
        for &subset in subsets {
            let changes = changes(self.of(subset), now.of(subset));
            all.extend(changes.into_iter().map(|change| format!("{}: {change}", subset.adjective())));
        }
        let more = all.len().saturating_sub(MOST_DIFFERENCES);
        all.truncate(MOST_DIFFERENCES);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!all.is_empty()).then(|| all.join("; ") + &more)
    }
}

/// How the classes of a part have changed, by name.
fn changes(then: &[Class], now: &[Class]) -> Vec<String> {
    let find = |classes: &'_ [Class], name: &str| classes.iter().position(|class| class.name == name);
    let mut new: Vec<&Class> = now.iter().filter(|class| find(then, &class.name).is_none()).collect();
    let mut changes = Vec::new();
    for class in then {
        let name = &class.name;
        let Some(at) = find(now, name) else {
            // What has the same pictures under another name was renamed.
            changes.push(match new.iter().position(|other| other.digest == class.digest) {
                Some(at) => format!("`{name}` is called `{}` now", new.remove(at).name),
                None => format!("`{name}` is gone ({})", images(class.images)),
            });
            continue;
        };
        let other = &now[at];
        if other.images != class.images {
            changes.push(format!("`{name}` had {}, has {}", images(class.images), other.images));
        } else if other.digest != class.digest {
            changes.push(format!("`{name}` has other pictures or names of files, {} as before", images(class.images)));
        }
    }
    changes.extend(new.iter().map(|class| format!("`{}` is new ({})", class.name, images(class.images))));
    changes
}

fn images(count: usize) -> String {
    if count == 1 { "1 image".into() } else { format!("{count} images") }
}

/// Adds a text so that no two rows of texts come out alike.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// The first half of a digest.
pub(super) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().take(DIGEST).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn of_file(place: &Place) -> Result<[u8; 32], DataError> {
    let read = || -> io::Result<[u8; 32]> {
        // A pipe would be waited for without end.
        if !place.metadata()?.is_file() {
            return Err(io::Error::other("this is no file"));
        }
        let mut file = place.open()?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hash.finalize().into()),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    read().map_err(|error| DataError::io("read", &place.path, error))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::data::{DataOptions, load};

    /// Files by part, class and name, with their text.
    fn fingerprint(root: &Path, files: &[(Subset, &str, &str, &str)]) -> Fingerprint {
        let list: Vec<ImageFile> = files
            .iter()
            .map(|(subset, class, name, text)| {
                let folder = root.join(subset.adjective()).join(class);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(name), text).unwrap();
                ImageFile {
                    subset: *subset,
                    class: (*class).to_owned(),
                    name: name.into(),
                    place: folder.join(name).into(),
                }
            })
            .collect();
        Fingerprint::of_files("image_folder", &list).unwrap()
    }

    #[test]
    fn a_digest_is_of_names_and_pictures_and_of_nothing_else() {
        use Subset::{Test, Train};
        let files = [(Train, "red", "0.png", "r"), (Train, "blue", "1.png", "b"), (Test, "red", "0.png", "t")];
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = fingerprint(one.path(), &files);
        let mut turned = files;
        turned.reverse();
        assert_eq!(fingerprint(other.path(), &turned), first);
        assert_eq!(first.digest.len(), 32);
        let changed = [
            [(Train, "red", "0.png", "b"), (Train, "blue", "1.png", "r"), files[2]],
            [(Train, "apple", "0.png", "r"), files[1], files[2]],
            [(Train, "red", "9.png", "r"), files[1], files[2]],
            [(Train, "red", "1.png", "b"), (Train, "red", "0.png", "r"), files[2]],
            [files[0], files[1], (Test, "blue", "0.png", "t")],
        ];
        let said = changed.map(|files| {
            let now = fingerprint(other.path(), &files);
            assert_ne!(now.digest, first.digest);
            first.changes(&now, &Subset::ALL).unwrap()
        });
        insta::assert_snapshot!(said.join("\n"));
        assert_eq!(first.changes(&first, &Subset::ALL), None);
        let now = fingerprint(other.path(), &changed[4]);
        assert_eq!(first.changes(&now, &[Train]), None);
    }

    #[test]
    fn what_is_loaded_has_a_digest_too() {
        let digits = load("digits", &DataOptions::default()).unwrap();
        let fingerprint = Fingerprint::of_loaded(&digits).unwrap();
        assert_eq!(fingerprint.train.iter().map(|class| class.images).sum::<usize>(), 1438);
        let mut relabelled = digits.clone();
        let mut labels = relabelled.test.labels.to_vec();
        labels.swap(0, 1);
        relabelled.test.labels = labels.into();
        let now = Fingerprint::of_loaded(&relabelled).unwrap();
        assert!(
            fingerprint.changes(&now, &Subset::ALL).unwrap().starts_with("test: `4` has other pictures"),
            "{now:?}"
        );
        let mut renamed = digits;
        renamed.class_names[3] = "three".into();
        assert_eq!(Fingerprint::of_loaded(&renamed).unwrap().digest, fingerprint.digest);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (class, name, place) = ("a".into(), "b".into(), folder.path().to_owned().into());
        let files = [ImageFile { subset: Subset::Train, class, name, place }];
        let error = Fingerprint::of_files("image_folder", &files).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /") && error.ends_with("this is no file"), "{error}");
    }
}
