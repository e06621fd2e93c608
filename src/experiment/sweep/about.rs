//! What is said of a sweep, and defines nothing: `about.json` in its directory. It can be changed at any time.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{is_sweep, space::refuse};
use crate::{
    experiment::ExperimentError,
    files::kept::{Kept, read, write},
};

/// Tags and a note of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of so many trials the weights are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<usize>,
}

const ABOUT: &str = "about.json";

impl Kept for About {
    fn fault(&self) -> Option<String> {
        (self.keep_best == Some(0)).then(|| "`keep_best` is 0".to_owned())
    }
}

impl About {
    /// What is said of the sweep of a directory.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, ExperimentError> {
        Ok(read(&folder.join(ABOUT))?.unwrap_or_default())
    }

    /// Changes what is said: tags and note are replaced where they are given, and removed by an empty text.
    ///
    /// # Errors
    /// A directory that is no sweep's; a file that cannot be read or written.
    pub fn change(folder: &Path, tags: &[String], note: Option<&str>) -> Result<(), ExperimentError> {
        if tags.is_empty() && note.is_none() {
            return Ok(());
        }
        if !is_sweep(folder) {
            let message = format!("`{}` is no sweep that could have tags or a note", folder.display());
            return Err(refuse(message, "give the directory of a sweep"));
        }
        let mut about = Self::read(folder)?;
        if !tags.is_empty() {
            about.tags.clear();
            for tag in tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()) {
                if !about.tags.iter().any(|known| known == tag) {
                    about.tags.push(tag.to_owned());
                }
            }
        }
        if let Some(note) = note {
            about.note = Some(note.trim().to_owned()).filter(|note| !note.is_empty());
        }
        about.write(folder)
    }

    /// Has the weights of so many trials kept, and no others.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn keep_best(folder: &Path, count: Option<usize>) -> Result<(), ExperimentError> {
        match Self::read(folder)? {
            known if count.is_none() || known.keep_best == count => Ok(()),
            known => Self { keep_best: count, ..known }.write(folder),
        }
    }

    /// What the experiment says of a sweep, unless something was said of it before.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn begin(&self, folder: &Path) -> Result<(), ExperimentError> {
        match folder.join(ABOUT).exists() || *self == Self::default() {
            true => Self::keep_best(folder, self.keep_best),
            false => self.write(folder),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), ExperimentError> {
        match Self::read(folder)? == *self {
            true => Ok(()),
            false => Ok(write(&folder.join(ABOUT), self)?),
        }
    }

    /// In one line, for people: "[baseline, digits] narrower than last week". `None` where nothing is said.
    pub fn line(&self) -> Option<String> {
        let tags = (!self.tags.is_empty()).then(|| format!("[{}]", self.tags.join(", ")));
        let parts: Vec<String> = tags.into_iter().chain(self.note.clone()).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_said_can_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let refused = About::change(folder, &tags(&["a"]), None).unwrap_err();
        assert!(refused.to_string().contains("is no sweep that could have tags"), "{refused}");
        fs::write(folder.join("trials.json"), "{\"trials\": []}").unwrap();
        assert_eq!(About::read(folder).unwrap().line(), None);
        About::change(folder, &tags(&["a", "b ", "a"]), Some("a first try")).unwrap();
        assert_eq!(About::read(folder).unwrap().line().unwrap(), "[a, b] a first try");
        About::keep_best(folder, Some(3)).unwrap();
        About::change(folder, &[], Some("another")).unwrap();
        About::change(folder, &tags(&[""]), None).unwrap();
        let about = About::read(folder).unwrap();
        assert_eq!((about.line().as_deref(), about.keep_best), (Some("another"), Some(3)));
    }
}
