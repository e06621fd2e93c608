//! Experiments by name: of files, and of what the binary carries.

use std::path::{Path, PathBuf};

use super::out;
use crate::experiment::{
    ExperimentError,
    builtin::{self, Named},
};

/// The file that an argument stands for; without one, the experiment of the working directory, or else `otherwise`. Says so where
/// a file goes before what the binary carries by that name.
///
/// # Errors
/// As [`builtin::named`] and [`builtin::unnamed`].
pub fn experiment(given: Option<&Path>, otherwise: Option<&str>) -> Result<PathBuf, ExperimentError> {
    let Named { path, note } = match (given, otherwise) {
        (Some(word), _) => builtin::named(word)?,
        (None, Some(otherwise)) => builtin::unnamed().or_else(|_| builtin::named(Path::new(otherwise)))?,
        (None, None) => builtin::unnamed()?,
    };
    note.iter().for_each(|note| out::note(note));
    Ok(path)
}
