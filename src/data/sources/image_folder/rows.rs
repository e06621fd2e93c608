//! Pictures that are named one by one, each with its label and the part of the data that it is of.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    super::super::{DataError, Place, Subset, error::bounded},
    listing::{Listing, Part, Picture, Pictures, deal, note_of_deal},
};

/// Pictures in the order of labels and names.
pub(super) struct Rows {
    /// The table or the folder that names them.
    pub source: PathBuf,
    /// What it should look like.
    pub help: &'static str,
    /// What follows "has no", where nothing says which part a picture is of.
    pub without_splits: Option<&'static str>,
    pub rows: Vec<Row>,
    /// Labels in the order of their classes, where that is known.
    pub order: Option<Vec<String>>,
}

pub(super) struct Row {
    pub place: Place,
    /// What tells one from another.
    pub name: OsString,
    pub label: String,
    pub subset: Subset,
}

impl Rows {
    pub fn refuse(&self, message: String) -> DataError {
        DataError::Folder { path: self.source.clone(), message, help: self.help.into() }
    }

    fn classes(&self, of: impl Fn(&Row) -> bool) -> Vec<String> {
        let labels: BTreeSet<&String> = self.rows.iter().filter(|row| of(row)).map(|row| &row.label).collect();
        let mut labels: Vec<String> = labels.into_iter().cloned().collect();
        if let Some(order) = &self.order {
            labels.sort_by_key(|label| order.iter().position(|known| known == label));
            return labels;
        }
        // Numbers go by what they are.
        let number = |label: &String| label.parse::<u32>().ok();
        if labels.iter().all(|label| number(label).is_some()) {
            labels.sort_by_key(number);
        }
        labels
    }

    fn pictures(&self, classes: &[String], subset: Subset) -> Pictures {
        let mut pictures = Pictures::new();
        for (class, label) in classes.iter().zip(0..) {
            let own = self.rows.iter().filter(|row| row.subset == subset && row.label == *class);
            pictures.extend(own.map(|row| Picture { place: row.place.clone(), name: row.name.clone(), label }));
        }
        pictures
    }

    fn has(&self, subset: Subset) -> bool {
        self.rows.iter().any(|row| row.subset == subset)
    }

    /// Which rows are used for a part: without a test split, the validation split is tested, unless a share is asked for.
    fn used(&self, share: Option<f64>, subset: Subset) -> Option<Subset> {
        match subset {
            Subset::Train => Some(Subset::Train),
            Subset::Test if share.is_some() => Some(Subset::Train),
            Subset::Test if self.has(Subset::Test) => Some(Subset::Test),
            Subset::Test => self.has(Subset::Validation).then_some(Subset::Validation),
            Subset::Validation if share.is_some() || self.has(Subset::Test) => {
                self.has(Subset::Validation).then_some(Subset::Validation)
            }
            Subset::Validation => None,
        }
    }

    /// All that they name; `folder` is where the pictures lie.
    pub fn listing(&self, folder: &Path, share: Option<f64>) -> Result<Listing, DataError> {
        if !self.has(Subset::Train) {
            return Err(self.refuse("names no picture to train on".into()));
        }
        if share.is_some() && self.has(Subset::Test) {
            let message =
                "has pictures of the split `test`, and `data.test_split` asks for a share of the training images";
            return Err(self.refuse(message.into()));
        }
        let classes = self.classes(|row| row.subset == Subset::Train);
        let unknown: Vec<String> = self.classes(|row| !classes.contains(&row.label));
        if !unknown.is_empty() {
            let lines: Vec<String> = unknown.iter().map(|class| format!("  {class}")).collect();
            return Err(self.refuse(format!("these labels have no picture to train on:\n{}", bounded(&lines))));
        }
        let mut train = self.pictures(&classes, Subset::Train);
        let mut notes = Vec::new();
        let validation = self.used(share, Subset::Validation).map(|subset| self.pictures(&classes, subset));
        let test = match (share, self.used(None, Subset::Test)) {
            (Some(share), _) => {
                let [rest, test] = deal(train, classes.len(), share);
                if test.is_empty() {
                    let message = "has one picture of each label: `data.test_split` leaves no image to test on";
                    return Err(self.refuse(message.into()));
                }
                notes.push(note_of_deal(test.len(), share));
                train = rest;
                test
            }
            (None, Some(subset)) => {
                if subset == Subset::Validation {
                    let what = "test: the pictures of the split `val`, for there is none `test`; a share of the \
                                training images validates";
                    notes.push(what.into());
                }
                self.pictures(&classes, subset)
            }
            (None, None) => {
                let problem = match self.without_splits {
                    Some(without) => format!("has no {without}, and `data.test_split` is not given"),
                    None => "names no picture to test on".into(),
                };
                return Err(self.refuse(problem));
            }
        };
        if let Some(files) = &validation {
            let count = files.len();
            notes.push(format!(
                "validation: the {count} images of the split `val`; no share of the training images is taken"
            ));
        }
        Ok(Listing { folder: folder.to_owned(), classes, train, validation, test, notes })
    }

    /// One part of what they name.
    pub fn part(&self, share: Option<f64>, subset: Subset) -> Option<Part> {
        let used = self.used(share, subset)?;
        let classes = self.classes(|row| row.subset == used);
        let mut pictures = self.pictures(&classes, used);
        if let (Some(share), Subset::Train | Subset::Test) = (share, subset) {
            let [train, test] = deal(pictures, classes.len(), share);
            pictures = if subset == Subset::Test { test } else { train };
        }
        Some(Part { classes, pictures, place: self.source.clone() })
    }
}
