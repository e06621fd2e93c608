//! What is expensive to find out and stays true on one machine, kept in the user's cache.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, PersistError};

use crate::folders;

/// A folder of small files, named by a hash of what they were made from.
#[derive(Debug, Clone)]
pub struct Cache {
    /// `None` where the user has no cache folder: then nothing is kept.
    folder: Option<PathBuf>,
}

impl Cache {
    /// `NAME` in the folder `cuda` of the user's cache.
    pub fn new(name: &str) -> Self {
        Self { folder: folders::cache().map(|folder| folder.join("cuda").join(name)) }
    }

    /// In a folder of the caller's.
    #[cfg(test)]
    pub fn at(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()) }
    }

    fn path(&self, key: &[&[u8]]) -> Option<PathBuf> {
        let mut hash = Sha256::new();
        for part in key {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.folder.as_ref()?.join(name))
    }

    /// What was kept under a key.
    pub fn get(&self, key: &[&[u8]]) -> Option<Vec<u8>> {
        fs::read(self.path(key)?).ok()
    }

    /// Keeps a value whole or not at all, instead of one that was there. A cache that cannot be written only costs time.
    pub fn put(&self, key: &[&[u8]], value: &[u8]) {
        // Nothing depends on it: the value is at hand.
        let _ = self.write(key, value, |file, path| file.persist(path));
    }

    /// Keeps a value, unless another process was faster: its value, as it is read, then counts for all. One that cannot be read is
    /// replaced.
    pub fn settle<T>(&self, key: &[&[u8]], value: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let there = self.write(key, value, |file, path| file.persist_noclobber(path));
        let faster = there.is_err_and(|error| error.kind() == ErrorKind::AlreadyExists);
        let theirs = faster.then(|| self.get(key).and_then(|bytes| read(&bytes)))?;
        if theirs.is_none() {
            self.put(key, value);
        }
        theirs
    }

    fn write(
        &self,
        key: &[&[u8]],
        value: &[u8],
        persist: impl FnOnce(NamedTempFile, &Path) -> Result<fs::File, PersistError>,
    ) -> std::io::Result<()> {
        let Some(path) = self.path(key) else { return Ok(()) };
        let Some(folder) = path.parent() else { return Ok(()) };
        fs::create_dir_all(folder)?;
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(value)?;
        persist(file, &path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_values_apart_by_key_and_replaces_them() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("new"));
        assert_eq!(cache.get(&[b"a"]), None);
        cache.put(&[b"a", b"bc"], b"one");
        cache.put(&[b"ab", b"c"], b"two");
        assert_eq!(cache.get(&[b"a", b"bc"]).unwrap(), b"one");
        assert_eq!(cache.get(&[b"ab", b"c"]).unwrap(), b"two");
        cache.put(&[b"a", b"bc"], b"three");
        assert_eq!(cache.get(&[b"a", b"bc"]).unwrap(), b"three");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 2);
    }

    /// Two processes that time the same may choose otherwise: both then go by the choice that was kept first.
    #[test]
    fn the_first_of_two_choices_counts_for_both() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let settle = |cache: &Cache, value: &[u8]| {
            let read = |bytes: &[u8]| (bytes != b"broken").then(|| bytes.to_owned());
            cache.settle(&[b"a"], value, read).unwrap_or_else(|| value.to_owned())
        };
        assert_eq!(settle(&cache, b"one"), b"one");
        assert_eq!(settle(&cache, b"two"), b"one");
        assert_eq!(cache.get(&[b"a"]).unwrap(), b"one");
        cache.put(&[b"a"], b"broken");
        assert_eq!(settle(&cache, b"two"), b"two");
        assert_eq!(cache.get(&[b"a"]).unwrap(), b"two");
        let none = Cache { folder: None };
        assert_eq!(settle(&none, b"two"), b"two");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::at(file.path());
        cache.put(&[b"a"], b"one");
        assert_eq!(cache.get(&[b"a"]), None);
    }
}
