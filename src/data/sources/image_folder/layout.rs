//! Folders of pictures: `DIR/train/CLASS/*.png` and its relatives.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::super::{
        DataError, DataOptions, Nested, Subset,
        error::bounded,
        names::{of_system, shown, shown_in},
        walk::is_picture,
    },
    listing::{Listing, Part, Picture, Pictures, deal, note_of_deal, root},
};

const TRAIN: &str = "train";
const TEST: &str = "test";
const VALIDATION: &[&str] = &["val", "valid", "validation"];

const LAYOUT: &str = "expected DIR/train/CLASS/*.png and DIR/test/CLASS/*.png; DIR/val/CLASS/*.png (or `valid`, \
                      `validation`) may hold images to validate on";
/// The kind of what is left out that is no file.
const FOLDER: &str = "folder";
const READ: &str = "PNG, JPEG, WebP, BMP, GIF and TIFF files that lie directly in their class's folder are read";
const NESTED: &str = "for pictures in folders within, set `data.nested`: `class`, where they belong to the class, or `path`, \
                      where each folder of pictures is a class of its own";

/// What lies in the folder of a class.
#[derive(Default)]
struct Held {
    pictures: Vec<PathBuf>,
    /// Numbers of everything else, by kind.
    others: Others,
}

#[derive(Default)]
struct Others(BTreeMap<String, usize>);

impl Others {
    fn add(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind.clone()).or_default() += count;
        }
    }

    /// "12 files .heic, 1 folder"
    fn text(&self) -> String {
        let one = |(kind, count): (&String, &usize)| match (kind == FOLDER, count) {
            (true, 1) => "1 folder".to_owned(),
            (true, count) => format!("{count} folders"),
            (false, 1) => format!("1 file {kind}"),
            (false, count) => format!("{count} files {kind}"),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// The folders of the splits.
struct Splits {
    train: PathBuf,
    validation: Option<PathBuf>,
    /// None where a share of the training images tests.
    test: Option<PathBuf>,
}

/// What folders hold.
pub(super) fn listing(options: &DataOptions) -> Result<Listing, DataError> {
    let folder = root(options)?;
    let mut notes = Vec::new();
    let splits = Splits::of(&folder, options.test_split, &mut notes)?;
    let classes = class_folders(&splits.train, options.nested)?;
    let reading = Reading { classes: &classes, nested: options.nested };
    let mut others = Others::default();
    let mut train = reading.training(&splits.train, &mut others)?;
    let mut other = |path: &PathBuf| reading.held_out(path, &mut others);
    let validation = splits.validation.as_ref().map(&mut other).transpose()?;
    let test = match &splits.test {
        Some(test) => other(test)?,
        None => {
            let share = options.test_split.unwrap_or_default();
            let [rest, test] = deal(train, classes.len(), share);
            if test.is_empty() {
                return Err(no_share(&splits.train));
            }
            notes.push(note_of_deal(test.len(), share));
            train = rest;
            test
        }
    };
    if !others.0.is_empty() {
        notes.push(format!("left out: {}", others.text()));
    }
    if let (Some(path), Some(files)) = (&splits.validation, &validation) {
        notes.push(format!(
            "validation: the {} images of `{}`; no share of the training images is taken",
            files.len(),
            shown_in(&folder, path)
        ));
    }
    let classes = classes.iter().map(|class| shown(class)).collect();
    Ok(Listing { folder, classes, train, validation, test, notes })
}

/// One part of what folders hold, whatever the others are. Without a test folder the validation folder is tested.
pub(super) fn part(options: &DataOptions, subset: Subset) -> Result<Option<Part>, DataError> {
    let root = root(options)?;
    let here = folders(&root)?;
    let found = |name: &str| here.iter().any(|here| here == name).then(|| root.join(name));
    let shared = options.test_split.filter(|_| found(TEST).is_none());
    let place = match (subset, found(TEST)) {
        (Subset::Train | Subset::Test, _) if shared.is_some() => found(TRAIN).or_else(|| Some(root.clone())),
        (Subset::Train, _) => found(TRAIN),
        (Subset::Test, Some(test)) => Some(test),
        (Subset::Validation, None) if shared.is_some() => validation(&root, &here)?,
        (Subset::Test, None) | (Subset::Validation, Some(_)) => validation(&root, &here)?,
        (Subset::Validation, None) => None,
    };
    let Some(place) = place else { return Ok(None) };
    let classes = class_folders(&place, options.nested)?;
    let reading = Reading { classes: &classes, nested: options.nested };
    let (mut pictures, _) = reading.pictures(&place, &mut Others::default())?;
    if let (Some(share), Subset::Train | Subset::Test) = (shared, subset) {
        let [train, test] = deal(pictures, classes.len(), share);
        pictures = if subset == Subset::Test { test } else { train };
    }
    Ok(Some(Part { classes: classes.iter().map(|class| shown(class)).collect(), pictures, place }))
}

impl Splits {
    fn of(folder: &Path, test_split: Option<f64>, notes: &mut Vec<String>) -> Result<Self, DataError> {
        let refuse = |message: String, help: String| DataError::Folder { path: folder.to_owned(), message, help };
        let here = folders(folder)?;
        let found = |name: &str| here.iter().any(|here| here == name).then(|| folder.join(name));
        let validation = validation(folder, &here)?;
        let (train, validation, test) = match (found(TRAIN), validation, found(TEST), test_split) {
            (_, _, Some(test), Some(_)) => {
                return Err(refuse(
                    format!("has a `{TEST}` folder, and `data.test_split` asks for a share of the training images"),
                    format!("leave `data.test_split` out, or move `{}` elsewhere", shown(test.as_os_str())),
                ));
            }
            (Some(train), validation, None, Some(_)) => (train, validation, None),
            // All folders are classes.
            (None, None, None, Some(_)) => {
                return Ok(Self { train: folder.to_owned(), validation: None, test: None });
            }
            (Some(train), validation, Some(test), None) => (train, validation, Some(test)),
            (Some(train), Some(test), None, None) => {
                notes.push(format!(
                    "test: the images of `{}`, for there is no `{TEST}`; a share of the training images validates",
                    shown_in(folder, &test)
                ));
                (train, None, Some(test))
            }
            (train, validation, ..) => {
                let wanting = match (train, validation) {
                    (Some(_), _) => "has no `test` folder",
                    (None, None) if found(TEST).is_none() => "has no `train` and `test` folders",
                    (None, _) => "has no `train` folder",
                };
                return Err(refuse(wanting.into(), layout_help(folder, &here)));
            }
        };
        let used = [Some(&train), validation.as_ref(), test.as_ref()];
        let unused = here.iter().filter(|name| !used.iter().flatten().any(|path| path.file_name() == Some(name)));
        let unused: Vec<String> = unused.map(|name| shown(name)).take(8).collect();
        if !unused.is_empty() {
            notes.push(format!("not read: folders beside `{TRAIN}`: {}", unused.join(", ")));
        }
        Ok(Self { train, validation, test })
    }
}

/// The folder of images to validate on, by whichever name.
fn validation(folder: &Path, here: &[OsString]) -> Result<Option<PathBuf>, DataError> {
    let found: Vec<&str> = VALIDATION.iter().copied().filter(|name| here.iter().any(|here| here == name)).collect();
    if let [one, other, ..] = found[..] {
        return Err(DataError::Folder {
            path: folder.to_owned(),
            message: format!("has both `{one}` and `{other}`, which mean the same"),
            help: "put the images to validate on into one of them".into(),
        });
    }
    Ok(found.first().map(|name| folder.join(name)))
}

/// The error of a split without a picture. `holds` says what lies there.
pub(super) fn no_image(folder: &Path, holds: String) -> DataError {
    DataError::Folder { path: folder.to_owned(), message: format!("holds no image{holds}"), help: READ.into() }
}

/// The error of classes that have one picture each.
fn no_share(folder: &Path) -> DataError {
    DataError::Folder {
        path: folder.to_owned(),
        message: "`data.test_split` leaves no image to test on: every class has one picture alone".into(),
        help: "a class gives a picture to the test where it has two".into(),
    }
}

/// What a user with another layout has to do.
fn layout_help(folder: &Path, here: &[OsString]) -> String {
    let names = here.iter().map(|name| shown(name)).take(8).collect::<Vec<_>>().join(", ");
    // An archive often holds one folder that holds everything.
    let without_train = here.iter().all(|name| name != TRAIN);
    if let Some(inner) = here.iter().find(|name| without_train && folder.join(name).join(TRAIN).is_dir()) {
        return format!("`{}` has a `{TRAIN}` folder: give that as the path", shown(folder.join(inner).as_os_str()));
    }
    if let Some(other) = here.iter().find(|name| name.to_ascii_lowercase() == TRAIN && *name != TRAIN) {
        return format!(
            "`{}` is there; the folders are called `train`, `test` and `val`, in small letters",
            shown(other)
        );
    }
    let classes = here.iter().filter(|name| {
        let name = name.to_string_lossy();
        name != TRAIN && name != TEST && !VALIDATION.contains(&name.as_ref())
    });
    if classes.take(8).any(|name| held(&folder.join(name), false).is_ok_and(|held| !held.pictures.is_empty())) {
        return format!(
            "its folders ({names}) hold pictures: set `data.test_split: 0.2` to test on a share of each, or move some of \
             each into train/CLASS and others into test/CLASS"
        );
    }
    if !without_train {
        return format!("set `data.test_split: 0.2` to test on a share of the training images; {LAYOUT}");
    }
    match names.is_empty() {
        true => LAYOUT.to_owned(),
        false => format!("it has {names}; {LAYOUT}"),
    }
}

/// Entries of a folder by name, without those of other programs.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, DataError> {
    let read = || -> std::io::Result<Vec<fs::DirEntry>> { fs::read_dir(folder)?.collect() };
    let mut entries = read().map_err(|cause| DataError::Folder {
        path: folder.to_owned(),
        message: format!("cannot be listed: {cause}"),
        help: "check that it is a folder, and its permissions".into(),
    })?;
    entries.retain(|entry| !of_system(&entry.file_name()));
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// True for a folder, and for a link to one.
fn is_folder(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink() && entry.path().is_dir())
}

/// Names of the folders in a folder.
fn folders(folder: &Path) -> Result<Vec<OsString>, DataError> {
    Ok(entries(folder)?.iter().filter(|entry| is_folder(entry)).map(fs::DirEntry::file_name).collect())
}

/// The folders of classes, as seen from that of a split.
fn class_folders(folder: &Path, nested: Option<Nested>) -> Result<Vec<OsString>, DataError> {
    if nested != Some(Nested::Path) {
        return folders(folder);
    }
    let mut found = Vec::new();
    descend(folder, &mut Vec::new(), &mut |path, entries| {
        let own = path.strip_prefix(folder).unwrap_or(path).as_os_str();
        let leaf = !entries.iter().any(is_folder);
        if !own.is_empty() && (leaf || entries.iter().any(|entry| is_picture(&entry.path()))) {
            found.push(own.to_owned());
        }
    })?;
    found.sort();
    Ok(found)
}

/// Shows a folder, and all folders within, with their entries. Links are followed, but not in a circle: `trail` holds the
/// folders in which it is.
fn descend(
    folder: &Path,
    trail: &mut Vec<PathBuf>,
    each: &mut dyn FnMut(&Path, &[fs::DirEntry]),
) -> Result<(), DataError> {
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    if trail.contains(&real) {
        return Ok(());
    }
    trail.push(real);
    let entries = entries(folder)?;
    each(folder, &entries);
    for entry in entries.iter().filter(|entry| is_folder(entry)) {
        descend(&entry.path(), trail, each)?;
    }
    trail.pop();
    Ok(())
}

/// What lies in the folder of a class, or in it and in the folders within.
fn held(folder: &Path, deep: bool) -> Result<Held, DataError> {
    let mut held = Held::default();
    let mut each = |_: &Path, entries: &[fs::DirEntry]| {
        for entry in entries {
            let path = entry.path();
            // Also what is no file, but is called as a picture: it is refused when it is looked at.
            if is_picture(&path) && !(deep && is_folder(entry)) {
                held.pictures.push(path);
                continue;
            }
            let kind = match path.extension().map(|ending| shown(ending).to_lowercase()) {
                _ if is_folder(entry) && deep => continue,
                _ if is_folder(entry) => FOLDER.to_owned(),
                Some(ending) => format!(".{ending}"),
                None => "without an ending".to_owned(),
            };
            *held.others.0.entry(kind).or_default() += 1;
        }
    };
    match deep {
        true => descend(folder, &mut Vec::new(), &mut each)?,
        false => each(folder, &entries(folder)?),
    }
    held.pictures.sort();
    Ok(held)
}

/// How a folder of classes is read.
struct Reading<'a> {
    classes: &'a [OsString],
    nested: Option<Nested>,
}

impl Reading<'_> {
    /// The pictures of each class, and a line for each class without one. What else lies there is added to `others`.
    fn pictures(&self, folder: &Path, others: &mut Others) -> Result<(Pictures, Vec<String>), DataError> {
        let (mut pictures, mut empty) = (Pictures::new(), Vec::new());
        for (label, class) in self.classes.iter().enumerate() {
            let path = folder.join(class);
            if !path.is_dir() {
                continue;
            }
            let mut held = held(&path, self.nested == Some(Nested::Class))?;
            if self.nested == Some(Nested::Path) {
                // They are classes themselves.
                held.others.0.remove(FOLDER);
            }
            others.add(&held.others);
            if held.pictures.is_empty() {
                let holds = if held.others.0.is_empty() { "nothing".to_owned() } else { held.others.text() };
                empty.push(format!("  {} holds {holds}", shown(class)));
            }
            pictures.extend(held.pictures.into_iter().map(|file| {
                let name = file.strip_prefix(&path).unwrap_or(&file).as_os_str().to_owned();
                Picture { place: file.into(), name, label: label as u32 }
            }));
        }
        let beside = held(folder, false)?;
        let others_beside =
            beside.others.0.iter().filter(|(kind, _)| *kind != FOLDER).map(|(_, count)| count).sum::<usize>();
        match beside.pictures.iter().filter(|path| !path.is_dir()).count() + others_beside {
            0 => {}
            count => *others.0.entry("beside the class folders".to_owned()).or_default() += count,
        }
        Ok((pictures, empty))
    }

    /// The training images: of every class one, at least.
    fn training(&self, folder: &Path, others: &mut Others) -> Result<Pictures, DataError> {
        let classes = self.classes;
        let refuse =
            |message: String, help: &str| DataError::Folder { path: folder.to_owned(), message, help: help.into() };
        let (pictures, empty) = self.pictures(folder, others)?;
        if classes.is_empty() {
            let holds = held(folder, false)?;
            let pictures = match holds.pictures.len() {
                0 => String::new(),
                1 => "; a picture lies in it without a class".to_owned(),
                count => format!("; {count} pictures lie in it without a class"),
            };
            return Err(refuse(format!("holds no folder of a class{pictures}"), READ));
        }
        if !empty.is_empty() {
            let count = match empty.len() {
                1 => "a class has".to_owned(),
                count => format!("{count} classes have"),
            };
            let within = self.nested.is_none() && empty.iter().any(|line| line.contains(FOLDER));
            let help = if within { format!("{READ}; {NESTED}") } else { READ.to_owned() };
            return Err(refuse(format!("{count} no training image:\n{}", bounded(&empty)), &help));
        }
        let mut names: Vec<String> = classes.iter().map(|class| shown(class)).collect();
        names.sort();
        if let Some(same) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(refuse(format!("two classes would both be shown as `{}`", same[0]), READ));
        }
        Ok(pictures)
    }

    /// The images of a folder beside that of training.
    fn held_out(&self, folder: &Path, others: &mut Others) -> Result<Pictures, DataError> {
        let classes: HashSet<&OsString> = self.classes.iter().collect();
        let here = class_folders(folder, self.nested)?;
        let unknown: Vec<String> =
            here.iter().filter(|name| !classes.contains(name)).map(|name| format!("  {}", shown(name))).collect();
        if !unknown.is_empty() {
            let known: Vec<String> = self.classes.iter().map(|class| shown(class)).take(50).collect();
            let dots = if self.classes.len() > 50 { ", ..." } else { "" };
            return Err(DataError::Folder {
                path: folder.to_owned(),
                message: format!("these classes have no training folder:\n{}", bounded(&unknown)),
                help: format!("classes of the training folder: {}{dots}", known.join(", ")),
            });
        }
        let (files, empty) = self.pictures(folder, others)?;
        if files.is_empty() {
            let holds = if empty.is_empty() { String::new() } else { format!(":\n{}", bounded(&empty)) };
            return Err(no_image(folder, holds));
        }
        Ok(files)
    }
}
