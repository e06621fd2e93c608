//! Which classes and pictures a folder holds, and what else, before any picture is read.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::super::{
    DataError, DataOptions, Subset,
    error::bounded,
    names::{of_system, shown, shown_in},
    walk::ENDINGS,
};
use super::Files;

const TRAIN: &str = "train";
const TEST: &str = "test";
const VALIDATION: &[&str] = &["val", "valid", "validation"];

const LAYOUT: &str = "expected DIR/train/CLASS/*.png and DIR/test/CLASS/*.png; DIR/val/CLASS/*.png (or `valid`, \
                      `validation`) may hold images to validate on";
/// The kind of what is left out that is no file.
const FOLDER: &str = "folder";
const READ: &str = "PNG, JPEG, WebP, BMP, GIF and TIFF files that lie directly in their class's folder are read";

/// Files and classes. Pictures are in the order of their classes and names.
pub(super) struct Listing {
    pub folder: PathBuf,
    /// Names of the training folders.
    pub classes: Vec<OsString>,
    pub train: Files,
    /// Where the folder has images to validate on.
    pub validation: Option<Files>,
    pub test: Files,
    /// What is to be said of this folder: what was left out, which part is used for what.
    pub notes: Vec<String>,
}

/// What lies in a folder of one class.
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
    test: PathBuf,
}

impl Listing {
    pub fn new(options: &DataOptions) -> Result<Self, DataError> {
        let folder = root(options)?;
        let mut notes = Vec::new();
        let splits = Splits::of(&folder, &mut notes)?;
        let classes = folders(&splits.train)?;
        let mut others = Others::default();
        let train = training(&splits.train, &classes, &mut others)?;
        let mut other = |path: &PathBuf| held_out(path, &classes, &mut others);
        let validation = splits.validation.as_ref().map(&mut other).transpose()?;
        let test = other(&splits.test)?;
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
        Ok(Self { folder, classes, train, validation, test, notes })
    }

    /// All pictures.
    pub fn files(&self) -> Vec<&Path> {
        let all = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        all.into_iter().flatten().flatten().map(|(path, _)| path.as_path()).collect()
    }

    /// Leaves broken files out, and says so.
    ///
    /// # Errors
    /// When that leaves a class, or a split, without an image.
    pub fn leave_out(&mut self, broken: &[(PathBuf, String)]) -> Result<(), DataError> {
        if broken.is_empty() {
            return Ok(());
        }
        let total = self.files().len();
        let gone: HashSet<&PathBuf> = broken.iter().map(|(path, _)| path).collect();
        for files in [Some(&mut self.train), self.validation.as_mut(), Some(&mut self.test)].into_iter().flatten() {
            files.retain(|(path, _)| !gone.contains(path));
        }
        let mut with_images = vec![false; self.classes.len()];
        self.train.iter().for_each(|&(_, label)| with_images[label as usize] = true);
        let empty = self.classes.iter().zip(with_images).filter(|(_, fine)| !fine);
        let mut empty: Vec<String> = empty.map(|(class, _)| format!("  {TRAIN}/{}", shown(class))).collect();
        for (split, files) in [("validation", self.validation.as_ref()), (TEST, Some(&self.test))] {
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
        let named = broken.iter().take(3).map(|(path, reason)| format!("{} {reason}", shown_in(&self.folder, path)));
        let more = if broken.len() > 3 { ", ..." } else { "" };
        let named = named.collect::<Vec<_>>().join(", ");
        self.notes.push(format!("left out: {} broken of {total} pictures: {named}{more}", broken.len()));
        Ok(())
    }
}

impl Splits {
    fn of(folder: &Path, notes: &mut Vec<String>) -> Result<Self, DataError> {
        let refuse = |message: String, help: String| DataError::Folder { path: folder.to_owned(), message, help };
        let here = folders(folder)?;
        let found = |name: &str| here.iter().any(|here| here == name).then(|| folder.join(name));
        let validation = validation(folder, &here)?;
        let (train, validation, test) = match (found(TRAIN), validation, found(TEST)) {
            (Some(train), validation, Some(test)) => (train, validation, test),
            (Some(train), Some(test), None) => {
                notes.push(format!(
                    "test: the images of `{}`, for there is no `{TEST}`; a share of the training images validates",
                    shown_in(folder, &test)
                ));
                (train, None, test)
            }
            (train, validation, _) => {
                let wanting = match (train, validation) {
                    (Some(_), _) => "has no `test` folder",
                    (None, None) if found(TEST).is_none() => "has no `train` and `test` folders",
                    (None, _) => "has no `train` folder",
                };
                return Err(refuse(wanting.into(), layout_help(folder, &here)));
            }
        };
        let used = [Some(&train), validation.as_ref(), Some(&test)];
        let unused = here.iter().filter(|name| !used.iter().flatten().any(|path| path.file_name() == Some(name)));
        let unused: Vec<String> = unused.map(|name| shown(name)).take(8).collect();
        if !unused.is_empty() {
            notes.push(format!("not read: folders beside `{TRAIN}`: {}", unused.join(", ")));
        }
        Ok(Self { train, validation, test })
    }
}

/// The folder that is meant, which is there.
pub(super) fn root(options: &DataOptions) -> Result<PathBuf, DataError> {
    let Some(folder) = options.path.clone() else {
        return Err(DataError::Invalid {
            message: "`image_folder` needs to know its folder".into(),
            help: "give its `path`: DIR with DIR/train/CLASS/*.png and DIR/test/CLASS/*.png".into(),
        });
    };
    if !folder.is_dir() {
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        return Err(DataError::Invalid {
            message: format!("there is no folder {}", shown(folder.as_os_str())),
            help: "`data.path` is relative to the experiment's file; --path gives another folder".into(),
        });
    }
    Ok(folder)
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

/// Where the images of a part lie, whatever the others are. Without a test folder the validation folder is tested.
pub(super) fn of_subset(root: &Path, subset: Subset) -> Result<Option<PathBuf>, DataError> {
    let here = folders(root)?;
    let found = |name: &str| here.iter().any(|here| here == name).then(|| root.join(name));
    Ok(match (subset, found(TEST)) {
        (Subset::Train, _) => found(TRAIN),
        (Subset::Test, Some(test)) => Some(test),
        (Subset::Test, None) | (Subset::Validation, Some(_)) => validation(root, &here)?,
        (Subset::Validation, None) => None,
    })
}

/// The classes of a split's folder and its pictures.
pub(super) fn files_of(folder: &Path) -> Result<(Vec<OsString>, Files), DataError> {
    let classes = folders(folder)?;
    let (files, _) = files(folder, &classes, &mut Others::default())?;
    Ok((classes, files))
}

/// The error of a split without a picture. `holds` says what lies there.
pub(super) fn no_image(folder: &Path, holds: String) -> DataError {
    DataError::Folder { path: folder.to_owned(), message: format!("holds no image{holds}"), help: READ.into() }
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
    if classes.take(8).any(|name| held(&folder.join(name)).is_ok_and(|held| !held.pictures.is_empty())) {
        return format!(
            "its folders ({names}) hold pictures: move some of each into train/CLASS and others into test/CLASS"
        );
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

/// What lies in the folder of a class.
fn held(folder: &Path) -> Result<Held, DataError> {
    let mut held = Held::default();
    for entry in entries(folder)? {
        let path = entry.path();
        let ending = path.extension().map(|ending| shown(ending).to_lowercase());
        // Also what is no file, but is called as a picture: it is refused when it is looked at.
        if ending.as_ref().is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            held.pictures.push(path);
            continue;
        }
        let kind = match ending {
            _ if is_folder(&entry) => FOLDER.to_owned(),
            Some(ending) => format!(".{ending}"),
            None => "without an ending".to_owned(),
        };
        *held.others.0.entry(kind).or_default() += 1;
    }
    Ok(held)
}

/// The pictures of each class. What else lies there is added to `others`.
fn files(folder: &Path, classes: &[OsString], others: &mut Others) -> Result<(Files, Vec<String>), DataError> {
    let (mut files, mut empty) = (Files::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let path = folder.join(class);
        if !path.is_dir() {
            continue;
        }
        let held = held(&path)?;
        others.add(&held.others);
        if held.pictures.is_empty() {
            let holds = if held.others.0.is_empty() { "nothing".to_owned() } else { held.others.text() };
            empty.push(format!("  {} holds {holds}", shown(class)));
        }
        files.extend(held.pictures.into_iter().map(|path| (path, label as u32)));
    }
    let beside = held(folder)?;
    let others_beside =
        beside.others.0.iter().filter(|(kind, _)| *kind != FOLDER).map(|(_, count)| count).sum::<usize>();
    match beside.pictures.iter().filter(|path| !path.is_dir()).count() + others_beside {
        0 => {}
        count => *others.0.entry("beside the class folders".to_owned()).or_default() += count,
    }
    Ok((files, empty))
}

/// The training images: of every class one, at least.
fn training(folder: &Path, classes: &[OsString], others: &mut Others) -> Result<Files, DataError> {
    let refuse = |message: String| DataError::Folder { path: folder.to_owned(), message, help: READ.into() };
    let (files, empty) = files(folder, classes, others)?;
    if classes.is_empty() {
        let holds = held(folder)?;
        let pictures = match holds.pictures.len() {
            0 => String::new(),
            1 => "; a picture lies in it without a class".to_owned(),
            count => format!("; {count} pictures lie in it without a class"),
        };
        return Err(refuse(format!("holds no folder of a class{pictures}")));
    }
    if !empty.is_empty() {
        let count = match empty.len() {
            1 => "a class has".to_owned(),
            count => format!("{count} classes have"),
        };
        return Err(refuse(format!("{count} no training image:\n{}", bounded(&empty))));
    }
    let mut names: Vec<String> = classes.iter().map(|class| shown(class)).collect();
    names.sort();
    if let Some(same) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(refuse(format!("two classes would both be shown as `{}`", same[0])));
    }
    Ok(files)
}

/// The images of a folder beside that of training.
fn held_out(folder: &Path, classes: &[OsString], others: &mut Others) -> Result<Files, DataError> {
    let unknown: Vec<String> =
        folders(folder)?.iter().filter(|name| !classes.contains(name)).map(|name| shown(name)).collect();
    if !unknown.is_empty() {
        let lines: Vec<String> = unknown.iter().map(|name| format!("  {name}")).collect();
        let known: Vec<String> = classes.iter().map(|class| shown(class)).take(50).collect();
        let dots = if classes.len() > 50 { ", ..." } else { "" };
        return Err(DataError::Folder {
            path: folder.to_owned(),
            message: format!("these classes have no training folder:\n{}", bounded(&lines)),
            help: format!("classes of the training folder: {}{dots}", known.join(", ")),
        });
    }
    let (files, empty) = files(folder, classes, others)?;
    if files.is_empty() {
        let holds = if empty.is_empty() { String::new() } else { format!(":\n{}", bounded(&empty)) };
        return Err(no_image(folder, holds));
    }
    Ok(files)
}
