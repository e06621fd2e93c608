//! Where the file of a picture lies: by itself, or within another file.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::names::{shown, shown_in};

/// A file, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Which part of it; none for all of it.
    pub part: Option<Part>,
}

/// A file within an archive that does not compress.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    /// As the archive calls it.
    pub name: String,
    /// Of its first byte.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self { path, part: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.named(shown(self.path.as_os_str())))
    }
}

impl Place {
    /// As messages show it, without the folder that it lies in.
    pub fn shown_in(&self, folder: &Path) -> String {
        self.named(shown_in(folder, &self.path))
    }

    fn named(&self, file: String) -> String {
        match &self.part {
            Some(Part { name, .. }) => format!("{file}: {}", shown(name.as_ref())),
            None => file,
        }
    }

    /// What its file is.
    ///
    /// # Errors
    /// As the system's.
    pub fn metadata(&self) -> io::Result<fs::Metadata> {
        fs::metadata(&self.path)
    }

    /// Its bytes, from the first.
    ///
    /// # Errors
    /// As the system's.
    pub fn open(&self) -> io::Result<impl Read + use<>> {
        let mut file = File::open(&self.path)?;
        let length = match &self.part {
            Some(Part { offset, length, .. }) => {
                file.seek(SeekFrom::Start(*offset))?;
                *length
            }
            None => u64::MAX,
        };
        Ok(file.take(length))
    }
}
