//! Pictures of files and folders, one after the other: a folder is listed when it is reached, so that as many files as
//! there are need no room.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Broken,
    names::{of_system, shown},
};

/// Endings of the files that are taken for pictures, in lower case. What a file is, its contents tell.
pub const ENDINGS: &[&str] = &["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "gif", "tif", "tiff"];

/// What is read, in words.
pub const FORMATS: &str = "PNG, JPEG, WebP, BMP, GIF and TIFF";

/// Whether a file is called as a picture is.
pub fn is_picture(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|ending| ENDINGS.contains(&ending.to_lowercase().as_str()))
}

/// Pictures that were named one by one, whatever they are called, and those in folders and in the folders within, by
/// their names. Links are followed, but not in a circle. Hidden files and the leavings of other programs are left out.
pub struct Walk<I> {
    named: I,
    ahead: Vec<Ahead>,
    /// The folders in which the walk is, without links.
    trail: Vec<PathBuf>,
    /// The folder that was named, while no picture was found in it.
    fruitless: Option<PathBuf>,
    found: VecDeque<Result<PathBuf, Broken>>,
}

struct Ahead {
    path: PathBuf,
    depth: usize,
}

impl<I: Iterator<Item = PathBuf>> Walk<I> {
    /// Of files and folders.
    pub fn new(named: I) -> Self {
        Self { named, ahead: Vec::new(), trail: Vec::new(), fruitless: None, found: VecDeque::new() }
    }

    fn broken(&mut self, path: &Path, reason: String) {
        self.found.push_back(Err(Broken { name: shown(path.as_os_str()), reason }));
    }

    fn enter(&mut self, folder: &Path, depth: usize) {
        self.trail.truncate(depth);
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        if self.trail.contains(&real) {
            return;
        }
        self.trail.push(real);
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match entries {
            Ok(mut entries) => {
                entries.retain(|entry| !of_system(&entry.file_name()));
                entries.sort_by_key(fs::DirEntry::file_name);
                let below = entries.into_iter().rev().map(|entry| Ahead { path: entry.path(), depth: depth + 1 });
                self.ahead.extend(below.filter(|ahead| ahead.path.is_dir() || is_picture(&ahead.path)));
            }
            Err(error) => self.broken(folder, format!("cannot be listed: {error}")),
        }
    }
}

impl<I: Iterator<Item = PathBuf>> Iterator for Walk<I> {
    type Item = Result<PathBuf, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.found.pop_front() {
                self.fruitless = None;
                return Some(found);
            }
            if let Some(Ahead { path, depth }) = self.ahead.pop() {
                match path.is_dir() {
                    true => self.enter(&path, depth),
                    false => self.found.push_back(Ok(path)),
                }
                continue;
            }
            if let Some(folder) = self.fruitless.take() {
                self.broken(&folder, format!("holds no picture: none of its files ends in .{}", ENDINGS.join(", .")));
                continue;
            }
            let named = self.named.next()?;
            if named.is_dir() {
                self.fruitless = Some(named.clone());
                self.ahead.push(Ahead { path: named, depth: 0 });
            } else {
                self.found.push_back(Ok(named));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &Path, named: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = named.iter().map(|name| root.join(name)).collect();
        let shorter = |path: &str| path.replace(&format!("{}/", root.display()), "");
        let text = |found: Result<PathBuf, Broken>| match found {
            Ok(path) => shorter(&path.display().to_string()),
            Err(broken) => shorter(&broken.to_string()),
        };
        Walk::new(paths.into_iter()).map(text).collect()
    }

    #[test]
    fn folders_are_walked_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in [
            "d/b/2.PNG",
            "d/b/.hidden.png",
            "d/a.gif",
            "d/c.jpg",
            "d/notes.txt",
            "d/__MACOSX/x.png",
            "e/x.txt",
            "y.dat",
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        fs::create_dir(root.join("d/b/empty")).unwrap();
        assert_eq!(found(root, &["y.dat", "d", "gone.png"]), ["y.dat", "d/a.gif", "d/b/2.PNG", "d/c.jpg", "gone.png"]);
        let nothing = "  e holds no picture: none of its files ends in .png, .jpg, .jpeg, .jpe, .jfif, .webp, .bmp, .dib, \
                       .gif, .tif, .tiff";
        assert_eq!(found(root, &["e", "d/b"]), [nothing, "d/b/2.PNG"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_circle_of_links_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (name, other) in [("a", "b"), ("b", "a")] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("1.png"), "").unwrap();
            std::os::unix::fs::symlink(root.join(other), root.join(name).join("link")).unwrap();
        }
        assert_eq!(found(root, &["a"]), ["a/1.png", "a/link/1.png"]);
    }
}
