//! Shards of WebDataset: tar archives of pictures, `KEY.jpg`, with their labels, `KEY.cls`.
//!
//! Format: <https://github.com/webdataset/webdataset>. Files of one sample have one name up to the first dot.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use tar::{Archive, EntryType};

use super::{
    super::super::{
        DataError, DataOptions, Place, Subset,
        error::bounded,
        names::{of_system, shown, shown_in},
        place,
        walk::is_picture,
    },
    listing::root,
    rows::{Row, Rows},
};

const HELP: &str = "expected DIR/train-*.tar and DIR/test-*.tar, or DIR/train/*.tar and DIR/test/*.tar (`val` to validate on), \
                    with KEY.jpg, or a picture of another kind, and KEY.cls for each, which is its label";

/// Names of classes whose labels are numbers, one on each line.
const NAMES: &str = "classnames.txt";

/// Longest label.
const MOST_LABEL: u64 = 1 << 12;

/// The words by which shards tell their part, and folders of shards.
const WORDS: &[(&str, Subset)] = &[
    ("train", Subset::Train),
    ("training", Subset::Train),
    ("val", Subset::Validation),
    ("valid", Subset::Validation),
    ("validation", Subset::Validation),
    ("test", Subset::Test),
];

/// All samples of a folder's shards.
pub(super) fn read(options: &DataOptions) -> Result<Rows, DataError> {
    let folder = root(options)?;
    let mut all = Rows { source: folder.clone(), help: HELP, without_splits: None, rows: Vec::new(), order: None };
    let shards = shards(&folder, "tar")?;
    if shards.is_empty() {
        return Err(all.refuse("holds no shard, `train-*.tar` or `train/*.tar`".into()));
    }
    let names = class_names(&folder)?;
    let mut wrong = Vec::new();
    for (path, subset) in shards {
        samples(&folder, &path, subset, &mut all.rows, &mut wrong)?;
    }
    for row in &mut all.rows {
        if let Some(names) = &names {
            match row.label.parse::<usize>().ok().and_then(|label| names.get(label)) {
                Some(name) => row.label.clone_from(name),
                None => wrong.push(format!("  {}: `{}` is no line of {NAMES}", row.place.shown_in(&folder), row.label)),
            }
        }
    }
    if !wrong.is_empty() {
        return Err(all.refuse(format!("{} of its samples cannot be used:\n{}", wrong.len(), bounded(&wrong))));
    }
    if all.rows.is_empty() {
        return Err(all.refuse("has shards without a picture".into()));
    }
    all.rows.sort_by(|a, b| (&a.label, &a.name).cmp(&(&b.label, &b.name)));
    Ok(all)
}

/// The part that a name tells by one of its words.
fn part_of(name: &Path) -> Option<Subset> {
    let name = name.file_stem()?.to_str()?.to_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphabetic());
    words.find_map(|word| WORDS.iter().find(|(known, _)| *known == word)).map(|(_, subset)| *subset)
}

/// Shards by name, with their parts. Others are not read.
pub(super) fn shards(folder: &Path, ending: &str) -> Result<Vec<(PathBuf, Subset)>, DataError> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, DataError> {
        let read = || -> std::io::Result<Vec<fs::DirEntry>> { fs::read_dir(folder)?.collect() };
        let entries = read().map_err(|cause| DataError::io("list", folder, cause))?;
        let mut paths: Vec<PathBuf> =
            entries.iter().filter(|entry| !of_system(&entry.file_name())).map(fs::DirEntry::path).collect();
        paths.sort();
        Ok(paths)
    };
    let is_shard = |path: &Path| path.extension().is_some_and(|own| own == ending);
    let mut found = Vec::new();
    for path in list(folder)? {
        let Some(subset) = part_of(&path) else { continue };
        match path.is_dir() {
            true => found.extend(list(&path)?.into_iter().filter(|path| is_shard(path)).map(|path| (path, subset))),
            false if is_shard(&path) => found.push((path, subset)),
            false => {}
        }
    }
    Ok(found)
}

/// The lines of `classnames.txt`, if there is one.
fn class_names(folder: &Path) -> Result<Option<Vec<String>>, DataError> {
    let path = folder.join(NAMES);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(|cause| DataError::io("read", &path, cause))?;
    Ok(Some(text.lines().map(|line| line.trim().to_owned()).collect()))
}

/// What stands before the first dot of a file's name, with the folders, and what behind it.
fn key(name: &str) -> (&str, &str) {
    let file = name.rfind('/').map_or(0, |at| at + 1);
    match name[file..].find('.') {
        Some(dot) => (&name[..file + dot], &name[file + dot + 1..]),
        None => (name, ""),
    }
}

/// Adds the samples of a shard.
fn samples(
    folder: &Path,
    path: &Path,
    subset: Subset,
    rows: &mut Vec<Row>,
    wrong: &mut Vec<String>,
) -> Result<(), DataError> {
    let broken = |cause: std::io::Error| DataError::Folder {
        path: path.to_owned(),
        message: format!("is no tar archive, or damaged: {cause}"),
        help: HELP.into(),
    };
    let file = File::open(path).map_err(|cause| DataError::io("open", path, cause))?;
    let length = file.metadata().map_err(|cause| DataError::io("read", path, cause))?.len();
    let mut archive = Archive::new(BufReader::new(file));
    let (mut pictures, mut labels) = (Vec::new(), BTreeMap::new());
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // `seg.png` and its like are more of a sample than its picture.
        let (sample, ending) = key(&name);
        if ending == "cls" {
            let mut text = String::new();
            entry.by_ref().take(MOST_LABEL).read_to_string(&mut text).map_err(broken)?;
            labels.insert(sample.to_owned(), text.trim().to_owned());
        } else if !ending.contains('.') && is_picture(Path::new(&format!("x.{ending}"))) {
            let part = place::Part { name: name.clone(), offset: entry.raw_file_position(), length: entry.size() };
            if part.offset.checked_add(part.length).is_none_or(|end| end > length) {
                wrong.push(format!("  {}: {} is cut off", shown_in(folder, path), shown(name.as_ref())));
                continue;
            }
            pictures.push((sample.to_owned(), part));
        }
    }
    for (sample, part) in pictures {
        let place = Place { path: path.to_owned(), part: Some(part) };
        match labels.get(&sample).filter(|label| !label.is_empty()) {
            Some(label) => {
                let name = format!("{}/{sample}", shown(path.file_name().unwrap_or_default()));
                rows.push(Row { place, name: OsString::from(name), label: label.clone(), subset });
            }
            None => wrong.push(format!("  {}: there is no {sample}.cls", place.shown_in(folder))),
        }
    }
    Ok(())
}
