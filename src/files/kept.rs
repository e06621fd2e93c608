//! The JSON files of a trial's directory. Anyone may have written to them since: what is read is
//! checked like a user's file, and refused with its name.

use std::{fs, io::ErrorKind, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use super::{FileError, replace};

/// No file of a trial comes near this; one that is longer is something else.
const LARGEST: u64 = 256 << 20;

/// What is kept in a file of its own.
pub trait Kept: Serialize + DeserializeOwned {
    /// What cannot be, although its type is right.
    fn fault(&self) -> Option<String>;
}

/// Reads a file; `None` where there is none.
///
/// # Errors
/// [`FileError::Broken`] for a file that is something else, [`FileError::Io`] for one that cannot be read.
pub fn read<T: Kept>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(text) = text(path)? else { return Ok(None) };
    let broken = |problem: String| FileError::Broken { path: path.to_owned(), problem };
    let kept: T = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    match kept.fault() {
        Some(fault) => Err(broken(fault)),
        None => Ok(Some(kept)),
    }
}

/// The text of a file; `None` where there is none. Pipes and devices are not waited for.
///
/// # Errors
/// As [`read`].
pub fn text(path: &Path) -> Result<Option<String>, FileError> {
    let broken = |problem: &str| FileError::Broken { path: path.to_owned(), problem: problem.to_owned() };
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io("read", path)(error)),
    };
    if !about.is_file() {
        return Err(broken("this is no file"));
    }
    if about.len() > LARGEST {
        return Err(broken(&format!("{} bytes, of at most {LARGEST}", about.len())));
    }
    let bytes = fs::read(path).map_err(FileError::io("read", path))?;
    String::from_utf8(bytes).map(Some).map_err(|_| broken("this is no UTF-8 text"))
}

/// Writes a file whole or not at all.
///
/// # Errors
/// [`FileError::Io`] names the file.
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| FileError::io("write", path)(error.into()))?;
    replace(path, text.as_bytes())
}

/// A fault unless a number is a share: from 0 to 1.
pub fn share(name: &str, value: f64) -> Option<String> {
    (!(0.0..=1.0).contains(&value)).then(|| format!("`{name}` is {value:?}, expected 0 to 1"))
}

/// A fault where a number that is a loss is below 0.
pub fn loss(name: &str, value: f64) -> Option<String> {
    (value.is_nan() || value < 0.0).then(|| format!("`{name}` is {value:?}, expected at least 0"))
}

/// A fault unless a number may be a time in seconds or a speed.
pub fn amount(name: &str, value: f64) -> Option<String> {
    const MOST: f64 = 1e15;
    (!(0.0..=MOST).contains(&value)).then(|| format!("`{name}` is {value:?}, expected 0 to {MOST:e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Share {
        share: f64,
    }

    impl Kept for Share {
        fn fault(&self) -> Option<String> {
            share("share", self.share)
        }
    }

    #[test]
    fn what_is_read_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("share.json");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let error = read::<Share>(&path).unwrap_err().to_string();
            error.replace(&folder.path().display().to_string(), "")
        };
        assert_eq!(read::<Share>(&path).unwrap(), None);
        assert_eq!(refused(b"{\"share\": 1.5}"), "`/share.json` is damaged: `share` is 1.5, expected 0 to 1");
        assert!(refused(b"{\"share\": 0.").contains("EOF while parsing"));
        assert!(refused(b"{\"share\": 1e999}").contains("number out of range"));
        assert!(refused(b"\xff").contains("no UTF-8 text"));
        write(&path, &Share { share: 0.25 }).unwrap();
        assert_eq!(read(&path).unwrap(), Some(Share { share: 0.25 }));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(read::<Share>(&path).unwrap_err().to_string().contains("this is no file"));
    }
}
