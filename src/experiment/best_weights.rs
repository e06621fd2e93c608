//! The best weights of a trial, where it has them still.

use std::path::{Path, PathBuf};

use super::{ExperimentError, sweep::About};
use crate::trial::{Directory, Stopped};

/// The file of a trial's best weights. Whether it is there, whoever reads it sees.
///
/// # Errors
/// [`ExperimentError::NotKept`] where the trial's sweep has removed them (`--keep-best`).
pub fn best_weights(folder: &Path) -> Result<PathBuf, ExperimentError> {
    let directory = Directory::new(folder);
    let path = directory.best();
    if path.exists() || !(directory.has_result() || Stopped::read(folder)?.is_some()) {
        return Ok(path);
    }
    let whole = std::path::absolute(folder).map_err(ExperimentError::io("find", folder))?;
    let kept = match whole.parent().and_then(Path::parent) {
        Some(sweep) => About::read(sweep)?.keep_best,
        None => None,
    };
    match kept {
        Some(count) => Err(ExperimentError::NotKept { folder: folder.to_owned(), count }),
        None => Ok(path),
    }
}
