//! How well each class of the test images was recognised, as a trial's directory keeps it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::TEST_CLASSES;
use crate::{
    files::{
        FileError,
        kept::{Kept, read, write},
    },
    metrics::ClassTally,
};

/// `test_classes.json`: written when the best weights are tested. Trials of former versions have none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestClasses {
    /// In the order of their labels.
    pub classes: Vec<TestClass>,
}

/// One class of the test images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestClass {
    /// Its name.
    pub class: String,
    /// Of the test split.
    pub images: u64,
    /// Those of them that were taken for it.
    pub correct: u64,
}

impl TestClasses {
    /// What was counted, with the names of classes.
    pub fn new(tally: &ClassTally, names: &[String]) -> Self {
        let counted = tally.counts().iter().zip(names);
        let class =
            |(&[images, correct], name): (&[u64; 2], &String)| TestClass { class: name.clone(), images, correct };
        Self { classes: counted.map(class).collect() }
    }

    /// Those of a trial, if it has them.
    ///
    /// # Errors
    /// A file that cannot be read or is something else.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        read(&folder.join(TEST_CLASSES))
    }

    /// Writes them whole or not at all.
    ///
    /// # Errors
    /// [`FileError::Io`] names the file.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        write(&folder.join(TEST_CLASSES), self)
    }
}

impl Kept for TestClasses {
    fn fault(&self) -> Option<String> {
        let more = self.classes.iter().find(|class| class.correct > class.images)?;
        Some(format!("`{}` has {} images, and {} of them are right", more.class, more.images, more.correct))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(TestClasses::read(folder.path()).unwrap(), None);
        let mut tally = ClassTally::new(2);
        tally.add(&[1.0, 0.0, 1.0, 0.0], &[0, 1]);
        let classes = TestClasses::new(&tally, &["cat".to_owned(), "dog".to_owned()]);
        classes.write(folder.path()).unwrap();
        assert_eq!(TestClasses::read(folder.path()).unwrap(), Some(classes));
        let text = r#"{ "classes": [{ "class": "cat", "images": 1, "correct": 2 }] }"#;
        std::fs::write(folder.path().join(TEST_CLASSES), text).unwrap();
        assert!(TestClasses::read(folder.path()).is_err());
    }
}
