use std::{
    fs::File,
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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".part")
        .tempfile_in(folder)
        .map_err(TrainError::io("create a file in", folder))?;
    write(file.path()).and_then(|()| file.as_file().sync_all()).map_err(TrainError::io("write", path))?;
    file.persist(path).map_err(|error| TrainError::io("replace", path)(error.error))?;
    // The rename itself is only safe from a power cut once its folder is on disk.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TrainError::io("sync", folder))
}
