//! A table of pictures: CSV with the columns `path`, `label` and, where it says which part a picture is of, `split`.

use std::{collections::HashMap, ffi::OsString, path::Path};

use super::{
    super::super::{DataError, DataOptions, Place, Subset, error::bounded},
    listing::root,
    rows::{Row, Rows},
};

const HELP: &str = "the first line names the columns: `path` and `label`, and `split` (train, val or test) unless \
                    `data.test_split` is given; paths are relative to `data.path`, or else to the table";

/// The lines of a table.
pub(super) fn read(csv: &Path, options: &DataOptions) -> Result<Rows, DataError> {
    let folder = root(options)?;
    let mut all = Rows { source: csv.to_owned(), help: HELP, without_splits: None, rows: Vec::new(), order: None };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(csv)
        .map_err(|error| all.refuse(format!("cannot be read: {}", plain(&error))))?;
    let header = reader.headers().map_err(|error| all.refuse(format!("cannot be read: {}", plain(&error))))?.clone();
    let find = |name: &str| {
        // Some programs begin a file with a mark of its encoding.
        let is = |cell: &str| cell.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name);
        header.iter().position(is)
    };
    let column = |name: &str| {
        let found = header.iter().take(12).collect::<Vec<_>>().join("`, `");
        find(name).ok_or_else(|| all.refuse(format!("has no column `{name}`; it has `{found}`")))
    };
    let (path, label, split) = (column("path")?, column("label")?, find("split"));
    all.without_splits = split.is_none().then_some("column `split`");
    let mut wrong = Vec::new();
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
        let (path, label) = (cell(path), cell(label));
        let subset = match split.map(|at| cell(at).to_lowercase()).as_deref() {
            None | Some("train" | "training") => Some(Subset::Train),
            Some("val" | "valid" | "validation") => Some(Subset::Validation),
            Some("test" | "testing") => Some(Subset::Test),
            Some(other) => {
                wrong.push(format!("  line {line}: `{other}` is no split: train, val or test"));
                None
            }
        };
        for (name, value) in [("path", &path), ("label", &label)] {
            if value.is_empty() {
                wrong.push(format!("  line {line}: there is no {name}"));
            }
        }
        if let Some(before) = seen.insert(path.clone(), line).filter(|_| !path.is_empty()) {
            wrong.push(format!("  line {line}: `{path}` stands on line {before} too"));
        }
        let place = Place::from(folder.join(&path));
        all.rows.extend(subset.map(|subset| Row { place, name: OsString::from(path), label, subset }));
    }
    if !wrong.is_empty() {
        return Err(all.refuse(format!("{} of its lines cannot be used:\n{}", wrong.len(), bounded(&wrong))));
    }
    if all.rows.is_empty() {
        return Err(all.refuse("names no picture".into()));
    }
    all.rows.sort_by(|a, b| (&a.label, &a.name).cmp(&(&b.label, &b.name)));
    Ok(all)
}

/// An error of the reader, on one line.
fn plain(error: &csv::Error) -> String {
    error.to_string().replace('\n', " ")
}
