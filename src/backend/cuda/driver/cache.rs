//! What is expensive to find out and stays true on one machine, kept in the user's cache.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

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

    /// Keeps a value whole or not at all. A cache that cannot be written only costs time.
    pub fn put(&self, key: &[&[u8]], value: &[u8]) {
        let Some(path) = self.path(key) else { return };
        let Some(folder) = path.parent() else { return };
        let write = |folder: &Path| {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(value)?;
            file.persist(&path).map_err(|error| error.error)?;
            std::io::Result::Ok(())
        };
        // Nothing depends on it: the value is at hand.
        let _ = write(folder);
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

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::at(file.path());
        cache.put(&[b"a"], b"one");
        assert_eq!(cache.get(&[b"a"]), None);
    }
}
