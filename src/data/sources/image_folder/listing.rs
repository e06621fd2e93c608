//! Which classes and pictures a user's data hold, and what else, before any picture is read: of folders
//! ([`super::layout`]), of a table ([`super::manifest`]) or of archives ([`super::shards`]).

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::super::super::{DataError, DataOptions, Place, error::bounded, names::shown, order::shuffled};

/// A picture's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub place: Place,
    /// Within its class: what tells one from another, wherever the data lie.
    pub name: OsString,
    /// The place of its class.
    pub label: u32,
}

/// Pictures in the order of their classes and names.
pub(super) type Pictures = Vec<Picture>;

/// One part alone, labelled by its own classes.
pub(super) struct Part {
    pub classes: Vec<String>,
    pub pictures: Pictures,
    /// Where they lie, for messages.
    pub place: PathBuf,
}

/// Pictures and classes.
pub(super) struct Listing {
    /// The folder in which all lie.
    pub folder: PathBuf,
    /// By label.
    pub classes: Vec<String>,
    pub train: Pictures,
    /// Where there are images to validate on.
    pub validation: Option<Pictures>,
    pub test: Pictures,
    /// What is to be said of these data: what was left out, which part is used for what.
    pub notes: Vec<String>,
}

impl Listing {
    /// All pictures.
    pub fn files(&self) -> Vec<&Place> {
        let all = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        all.into_iter().flatten().flatten().map(|picture| &picture.place).collect()
    }

    /// Leaves broken files out, and says so.
    ///
    /// # Errors
    /// When that leaves a class, or a split, without an image.
    pub fn leave_out(&mut self, broken: &[(Place, String)]) -> Result<(), DataError> {
        if broken.is_empty() {
            return Ok(());
        }
        let total = self.files().len();
        let gone: HashSet<&Place> = broken.iter().map(|(place, _)| place).collect();
        for files in [Some(&mut self.train), self.validation.as_mut(), Some(&mut self.test)].into_iter().flatten() {
            files.retain(|picture| !gone.contains(&picture.place));
        }
        let mut with_images = vec![false; self.classes.len()];
        self.train.iter().for_each(|picture| with_images[picture.label as usize] = true);
        let empty = self.classes.iter().zip(with_images).filter(|(_, fine)| !fine);
        let mut empty: Vec<String> = empty.map(|(class, _)| format!("  train/{class}")).collect();
        for (split, files) in [("validation", self.validation.as_ref()), ("test", Some(&self.test))] {
            if files.is_some_and(Vec::is_empty) {
                empty.push(format!("  the {split} images"));
            }
        }
        if !empty.is_empty() {
            return Err(DataError::Folder {
                path: self.folder.clone(),
                message: format!(
                    "without the {} broken pictures nothing is left of\n{}",
                    broken.len(),
                    bounded(&empty)
                ),
                help: "repair some of them; without `data.skip_broken` they are listed".into(),
            });
        }
        let named = broken.iter().take(3).map(|(place, reason)| format!("{} {reason}", place.shown_in(&self.folder)));
        let more = if broken.len() > 3 { ", ..." } else { "" };
        let named = named.collect::<Vec<_>>().join(", ");
        self.notes.push(format!("left out: {} broken of {total} pictures: {named}{more}", broken.len()));
        Ok(())
    }
}

/// The folder that is meant, which is there.
pub(super) fn root(options: &DataOptions) -> Result<PathBuf, DataError> {
    let beside = options.csv.as_ref().map(|csv| csv.parent().unwrap_or(Path::new("")).to_owned());
    let Some(folder) = options.path.clone().or(beside) else {
        return Err(DataError::Invalid {
            message: "`image_folder` needs to know its folder".into(),
            help: "give its `path`: DIR with DIR/train/CLASS/*.png and DIR/test/CLASS/*.png".into(),
        });
    };
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    if !folder.is_dir() {
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        return Err(DataError::Invalid {
            message: format!("there is no folder {}", shown(folder.as_os_str())),
            help: "`data.path` is relative to the experiment's file; --path gives another folder".into(),
        });
    }
    Ok(folder)
}

/// Takes the share of each class that tests: in a shuffled order that is always the same, rounded, at least one of a class
/// that has two pictures, and never all of a class. Both parts keep their order.
pub(super) fn deal(pictures: Pictures, classes: usize, share: f64) -> [Pictures; 2] {
    let mut tests = vec![false; pictures.len()];
    for label in 0..classes as u32 {
        let own: Vec<usize> = (0..pictures.len()).filter(|at| pictures[*at].label == label).collect();
        let rounded = (own.len() as f64 * share).round() as usize;
        let count = rounded.max(1).min(own.len().saturating_sub(1));
        for at in shuffled(own.len(), 0, label + 1).into_iter().take(count) {
            tests[own[at as usize]] = true;
        }
    }
    let (mut train, mut test) = (Pictures::new(), Pictures::new());
    for (picture, tests) in pictures.into_iter().zip(tests) {
        if tests { test.push(picture) } else { train.push(picture) }
    }
    [train, test]
}

/// How many of `count` images a share tests.
pub(super) fn note_of_deal(test: usize, share: f64) -> String {
    format!("test: {test} images, a share of {share} of each class; the others are to train on")
}
