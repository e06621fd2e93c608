//! What a sweep changed in a trial.

use std::path::Path;

use super::names::VARIANT;
use crate::{
    dsl::Value,
    files::{
        FileError,
        kept::{self, Kept},
        replace,
    },
};

/// What a sweep has changed: keys, and the values that they have instead.
pub type Variant = Vec<(String, Value)>;

/// The key whose values are repetitions of one variant.
pub const SEED: &str = "train.seed";

/// `patch_size=4 depth=2`: a variant as people read it. Texts stand without quotes, so two may be alike.
pub fn shown<'v>(changes: impl IntoIterator<Item = &'v (String, Value)>) -> String {
    let texts = changes.into_iter().map(|(key, value)| format!("{key}={}", value.plain()));
    texts.collect::<Vec<_>>().join(" ")
}

impl Kept for Variant {
    fn fault(&self) -> Option<String> {
        None
    }
}

/// What the sweep changed in a trial's directory; nothing in one that no sweep made.
///
/// # Errors
/// A file that cannot be read.
pub fn read(folder: &Path) -> Result<Variant, FileError> {
    Ok(kept::read(&folder.join(VARIANT))?.unwrap_or_default())
}

/// Writes what the sweep changed into a trial's directory, unless it says so already.
///
/// # Errors
/// A file that cannot be read or written.
pub fn note(folder: &Path, variant: &Variant) -> Result<(), FileError> {
    let path = folder.join(VARIANT);
    if read(folder)? != *variant || !path.exists() {
        let json = serde_json::to_string(variant).map_err(|error| FileError::io("write", &path)(error.into()))?;
        replace(&path, json.as_bytes())?;
    }
    Ok(())
}
