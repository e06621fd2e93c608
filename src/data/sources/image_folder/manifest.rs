//! A table of pictures: CSV with the columns `path`, `label` and, where it says which part a picture is of, `split`.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    super::super::{DataError, DataOptions, Subset, error::bounded},
    listing::{Listing, Part, Picture, Pictures, deal, note_of_deal, root},
};

const HELP: &str = "the first line names the columns: `path` and `label`, and `split` (train, val or test) unless \
                    `data.test_split` is given; paths are relative to `data.path`, or else to the table";

/// Rows in the order of classes and paths.
struct Rows {
    rows: Vec<Row>,
    /// Whether there is a column of splits.
    split: bool,
}

struct Row {
    path: String,
    label: String,
    subset: Subset,
}

fn refuse(csv: &Path, message: String) -> DataError {
    DataError::Folder { path: csv.to_owned(), message, help: HELP.into() }
}

impl Rows {
    fn read(csv: &Path) -> Result<Self, DataError> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_path(csv)
            .map_err(|error| refuse(csv, format!("cannot be read: {}", plain(&error))))?;
        let header =
            reader.headers().map_err(|error| refuse(csv, format!("cannot be read: {}", plain(&error))))?.clone();
        let find = |name: &str| {
            // Some programs begin a file with a mark of its encoding.
            let is = |cell: &str| cell.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name);
            header.iter().position(is)
        };
        let column = |name: &str| {
            let found = header.iter().take(12).collect::<Vec<_>>().join("`, `");
            find(name).ok_or_else(|| refuse(csv, format!("has no column `{name}`; it has `{found}`")))
        };
        let (path, label, split) = (column("path")?, column("label")?, find("split"));
        let (mut rows, mut wrong) = (Vec::new(), Vec::new());
        let mut seen: HashMap<String, u64> = HashMap::new();
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    wrong.push(format!("  {}", plain(&error)));
                    continue;
                }
            };
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |at: usize| record.get(at).unwrap_or_default().to_owned();
            let row = Row { path: cell(path), label: cell(label), subset: Subset::Train };
            let subset = match split.map(|at| cell(at).to_lowercase()).as_deref() {
                None | Some("train" | "training") => Some(Subset::Train),
                Some("val" | "valid" | "validation") => Some(Subset::Validation),
                Some("test" | "testing") => Some(Subset::Test),
                Some(other) => {
                    wrong.push(format!("  line {line}: `{other}` is no split: train, val or test"));
                    None
                }
            };
            for (name, value) in [("path", &row.path), ("label", &row.label)] {
                if value.is_empty() {
                    wrong.push(format!("  line {line}: there is no {name}"));
                }
            }
            if let Some(before) = seen.insert(row.path.clone(), line).filter(|_| !row.path.is_empty()) {
                wrong.push(format!("  line {line}: `{}` stands on line {before} too", row.path));
            }
            rows.extend(subset.map(|subset| Row { subset, ..row }));
        }
        if !wrong.is_empty() {
            return Err(refuse(csv, format!("{} of its lines cannot be used:\n{}", wrong.len(), bounded(&wrong))));
        }
        if rows.is_empty() {
            return Err(refuse(csv, "names no picture".into()));
        }
        rows.sort_by(|a, b| (&a.label, &a.path).cmp(&(&b.label, &b.path)));
        Ok(Self { rows, split: split.is_some() })
    }

    fn classes(&self, of: impl Fn(&Row) -> bool) -> Vec<String> {
        let labels: BTreeSet<&String> = self.rows.iter().filter(|row| of(row)).map(|row| &row.label).collect();
        labels.into_iter().cloned().collect()
    }

    fn pictures(&self, root: &Path, classes: &[String], subset: Subset) -> Pictures {
        let label = |name: &String| classes.binary_search(name).unwrap_or_default() as u32;
        let own = self.rows.iter().filter(|row| row.subset == subset);
        own.map(|row| Picture { path: root.join(&row.path), name: OsString::from(&row.path), label: label(&row.label) })
            .collect()
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
}

/// An error of the reader, on one line.
fn plain(error: &csv::Error) -> String {
    error.to_string().replace('\n', " ")
}

/// What a table names.
pub(super) fn listing(csv: &Path, options: &DataOptions) -> Result<Listing, DataError> {
    let (folder, rows, share) = (root(options)?, Rows::read(csv)?, options.test_split);
    if !rows.has(Subset::Train) {
        return Err(refuse(csv, "names no picture to train on".into()));
    }
    if share.is_some() && rows.has(Subset::Test) {
        let message = "has pictures of the split `test`, and `data.test_split` asks for a share of the training images";
        return Err(refuse(csv, message.into()));
    }
    let classes = rows.classes(|row| row.subset == Subset::Train);
    let unknown: Vec<String> =
        rows.classes(|_| true).into_iter().filter(|class| classes.binary_search(class).is_err()).collect();
    if !unknown.is_empty() {
        let lines: Vec<String> = unknown.iter().map(|class| format!("  {class}")).collect();
        return Err(refuse(csv, format!("these labels have no picture to train on:\n{}", bounded(&lines))));
    }
    let mut train = rows.pictures(&folder, &classes, Subset::Train);
    let mut notes = Vec::new();
    let validation = rows.used(share, Subset::Validation).map(|subset| rows.pictures(&folder, &classes, subset));
    let test = match (share, rows.used(None, Subset::Test)) {
        (Some(share), _) => {
            let [rest, test] = deal(train, classes.len(), share);
            if test.is_empty() {
                let message = "has one picture of each label: `data.test_split` leaves no image to test on";
                return Err(refuse(csv, message.into()));
            }
            notes.push(note_of_deal(test.len(), share));
            train = rest;
            test
        }
        (None, Some(subset)) => {
            if subset == Subset::Validation {
                let what = "test: the pictures of the split `val`, for there is none `test`; a share of the training images validates";
                notes.push(what.into());
            }
            rows.pictures(&folder, &classes, subset)
        }
        (None, None) if rows.split => return Err(refuse(csv, "names no picture to test on".into())),
        (None, None) => return Err(refuse(csv, "has no column `split`, and `data.test_split` is not given".into())),
    };
    if let Some(files) = &validation {
        let count = files.len();
        notes.push(format!(
            "validation: the {count} images of the split `val`; no share of the training images is taken"
        ));
    }
    Ok(Listing { folder, classes, train, validation, test, notes })
}

/// One part of what a table names.
pub(super) fn part(csv: &Path, options: &DataOptions, subset: Subset) -> Result<Option<Part>, DataError> {
    let (folder, rows, share) = (root(options)?, Rows::read(csv)?, options.test_split);
    let Some(used) = rows.used(share, subset) else { return Ok(None) };
    let classes = rows.classes(|row| row.subset == used);
    let mut pictures = rows.pictures(&folder, &classes, used);
    if let (Some(share), Subset::Train | Subset::Test) = (share, subset) {
        let [train, test] = deal(pictures, classes.len(), share);
        pictures = if subset == Subset::Test { test } else { train };
    }
    let place: PathBuf = csv.to_owned();
    Ok(Some(Part { classes, pictures, place }))
}
