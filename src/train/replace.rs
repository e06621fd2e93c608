use std::{
    fs::{File, Metadata},
    io::{self, Write},
    path::Path,
};

use super::TrainError;

/// Writes a file whole or not at all, see [`replace_by`].
///
/// # Errors
/// [`TrainError::Io`] names the file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    replace_by(path, |temporary| File::options().write(true).open(temporary)?.write_all(bytes))
}

/// Has a file written whole or not at all: `write` fills a temporary file beside it, which is synced
/// and then renamed over the old one. A crash or a full disk leaves the old one as it was.
///
/// # Errors
/// [`TrainError::Io`] names the file.
pub fn replace_by(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), TrainError> {
    replace_as(path, None, write)
}

/// As [`replace`], with the mode of the file that is replaced, and its owner where that may be given away.
///
/// # Errors
/// [`TrainError::Io`] names the file.
pub fn replace_like(path: &Path, bytes: &[u8], old: &Metadata) -> Result<(), TrainError> {
    replace_as(path, Some(old), |temporary| File::options().write(true).open(temporary)?.write_all(bytes))
}

fn replace_as(
    path: &Path,
    old: Option<&Metadata>,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), TrainError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".part");
    // Readable by whom the user's mask allows, as any other file: temporary ones are private.
    #[cfg(unix)]
    if old.is_none() {
        temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    }
    let file = temporary.tempfile_in(folder).map_err(TrainError::io("create a file in", folder))?;
    let own = file.as_file().metadata().map_err(TrainError::io("write", path))?;
    let permissions = old.unwrap_or(&own).permissions();
    // Opened again: `write` may have put another file in its place.
    let sync = |()| {
        let written = File::open(file.path())?;
        #[cfg(unix)]
        if let Some(old) = old {
            use std::os::unix::fs::{MetadataExt, fchown};
            // Only root may give a file away; others replace their own.
            let _ = fchown(&written, Some(old.uid()), Some(old.gid()));
        }
        written.set_permissions(permissions)?;
        written.sync_all()
    };
    write(file.path()).and_then(sync).map_err(TrainError::io("write", path))?;
    file.persist(path).map_err(|error| TrainError::io("replace", path)(error.error))?;
    // The rename itself is only safe from a power cut once its folder is on disk.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TrainError::io("sync", folder))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn the_file_is_as_readable_as_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        fs::write(folder.path().join("plain"), "a").unwrap();
        replace(&folder.path().join("replaced"), b"b").unwrap();
        // As some writers do, which have temporary files of their own.
        replace_by(&folder.path().join("renamed"), |temporary| {
            let other = tempfile::NamedTempFile::new_in(folder.path())?;
            fs::write(other.path(), "c")?;
            other.persist(temporary).map(drop).map_err(|error| error.error)
        })
        .unwrap();
        assert_eq!([mode("replaced"), mode("renamed")], [mode("plain"); 2]);
        assert_eq!(fs::read(folder.path().join("renamed")).unwrap(), b"c");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        replace(&path, b"old").unwrap();
        let error = replace_by(&path, |temporary| {
            fs::write(temporary, "half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(error.unwrap_err().to_string().contains("kept"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
