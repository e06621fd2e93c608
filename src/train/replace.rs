use std::{fs::File, io::Write, path::Path};

use super::TrainError;

/// Writes a file whole or not at all: to a temporary file beside it, synced, then renamed over the
/// old one. A crash or a full disk leaves the old one as it was.
///
/// # Errors
/// [`TrainError::Io`] names the file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".part")
        .tempfile_in(folder)
        .map_err(TrainError::io("create a file in", folder))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(TrainError::io("write", path))?;
    file.persist(path).map_err(|error| TrainError::io("replace", path)(error.error))?;
    // The rename itself is only safe from a power cut once its folder is on disk.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TrainError::io("sync", folder))
}
