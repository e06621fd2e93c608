use std::{
    collections::HashSet,
    fs::{self, File, Metadata, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{FileError, held::Place};

/// How the names of unfinished files begin.
pub const PART: &str = ".part";

/// Writes a file whole or not at all, see [`replace_by`].
///
/// # Errors
/// [`FileError`] names the file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_by(path, |file| file.write_all(bytes))
}

/// As [`replace`], with the mode of the file that is replaced, and its owner where that may be given away.
///
/// # Errors
/// [`FileError`] names the file.
pub fn replace_like(path: &Path, bytes: &[u8], old: &Metadata) -> Result<(), FileError> {
    replace_as(path, Some(old), |file| file.write_all(bytes))
}

/// Has a file written whole or not at all: `write` fills a temporary file beside it, which is synced
/// and then renamed over the old one. A crash or a full disk leaves the old one as it was.
///
/// # Errors
/// [`FileError::Io`] names the file; [`FileError::Gone`] when the directory is held, and no longer there.
pub fn replace_by(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), FileError> {
    replace_as(path, None, write)
}

fn replace_as(
    path: &Path,
    old: Option<&Metadata>,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), FileError> {
    let place = Place::new(path)?;
    remove_parts_once(place.folder());
    let (part, mut file) = part(&place, old.is_some()).map_err(|error| {
        let folder = place.folder().to_owned();
        match place.failed("create a file in")(error) {
            FileError::Io { action, cause, help, .. } => FileError::Io { action, path: folder, cause, help },
            other => other,
        }
    })?;
    let finish = |file: &File| {
        if let Some(old) = old {
            #[cfg(unix)]
            {
                use std::os::unix::fs::{MetadataExt, fchown};
                // Only root may give a file away; others replace their own.
                let _ = fchown(file, Some(old.uid()), Some(old.gid()));
            }
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()
    };
    let written = write(&mut file).and_then(|()| finish(&file)).map_err(place.failed("write"));
    // Writing may have taken long: whose directory it is, is asked again at the last moment.
    let written = written.and_then(|()| place.check());
    if let Err(error) = written.and_then(|()| part.rename_to(&place).map_err(place.failed("replace"))) {
        // What failed is what the caller must see; the next writer here removes what stays.
        let _ = part.remove();
        return Err(error);
    }
    // The rename itself is only safe from a power cut once its folder is on disk.
    place.sync_folder().map_err(place.failed("sync the folder of"))
}

/// A new file beside `place`, locked for as long as it is open: so others see that it is being written.
fn part(place: &Place, private: bool) -> io::Result<(Place, File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let part = place.beside(&format!("{PART}{:x}x{number:x}", std::process::id()));
        let file = match part.create_new(private) {
            // Of a process that had the same number.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            made => made?,
        };
        match file.try_lock() {
            // Between the two lines above, someone may have taken it for a leftover.
            Ok(()) if is_linked(&file)? => return Ok((part, file)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            // A file system without locks: then nobody removes anything either.
            Err(TryLockError::Error(_)) => return Ok((part, file)),
        }
    }
}

#[cfg(unix)]
fn is_linked(file: &File) -> io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 0)
}

#[cfg(not(unix))]
fn is_linked(_file: &File) -> io::Result<bool> {
    Ok(true)
}

/// [`remove_parts`], the first time that this process writes to a folder.
fn remove_parts_once(folder: &Path) {
    static DONE: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(absolute) = std::path::absolute(folder) else { return };
    if done.get_or_insert_default().insert(absolute) {
        drop(done);
        remove_parts(folder);
    }
}

/// Removes what writers that were killed have left unfinished in a folder. Files that a living process
/// writes are locked, and stay.
pub fn remove_parts(folder: &Path) {
    // Leftovers only take room: one that cannot be removed is no reason to stop.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PART));
        let ours = random.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = File::options().write(true).open(entry.path()) else { continue };
        if file.try_lock().is_ok() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_as_readable_as_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        fs::write(folder.path().join("plain"), "a").unwrap();
        replace(&folder.path().join("replaced"), b"b").unwrap();
        assert_eq!(mode("replaced"), mode("plain"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        replace(&path, b"old").unwrap();
        let error = replace_by(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::from(ErrorKind::StorageFull))
        });
        assert!(error.unwrap_err().to_string().contains("kept"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_killed_writers_left_is_removed_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        for name in [".partXk3f9A", ".part12ax0", ".part.vitx", ".party-hats", "a"] {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        fs::create_dir(folder.path().join(".partfolder")).unwrap();
        replace_by(&folder.path().join("b"), |_| {
            // Gone before the first write; what is written here is in use.
            assert_eq!(names().len(), 5, "{:?}", names());
            remove_parts(folder.path());
            assert_eq!(names().len(), 5, "{:?}", names());
            Ok(())
        })
        .unwrap();
        assert_eq!(names(), [".part.vitx", ".partfolder", ".party-hats", "a", "b"]);
        // Another process may be killed later: whoever takes the folder looks again.
        fs::write(folder.path().join(".part12ax0"), "half").unwrap();
        replace(&folder.path().join("b"), b"").unwrap();
        assert!(folder.path().join(".part12ax0").exists());
        remove_parts(folder.path());
        assert!(!folder.path().join(".part12ax0").exists());
    }
}
