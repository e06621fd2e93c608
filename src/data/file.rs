//! Whole files in memory, with a bound on their size and errors that name them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::DataError;

/// No file of a known data set comes near this; a larger one is not what its name says.
pub const LARGEST_FILE: u64 = 2 << 30;

/// Reads a file; `.gz` is decompressed.
///
/// # Errors
/// [`DataError::Io`] for files that cannot be read, [`DataError::Corrupt`] for broken gzip data
/// (the offset counts decompressed bytes) and for more than [`LARGEST_FILE`] bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    read_at_most(path, LARGEST_FILE)
}

/// [`read`] with another bound. Cut at `limit` + 1 bytes, so a decompression bomb costs no more.
pub fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(|source| DataError::io("open", path, source))?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        if let Err(error) = GzDecoder::new(file).take(limit + 1).read_to_end(&mut bytes) {
            let expected = "gzip data (the offset counts decompressed bytes)";
            return Err(DataError::corrupt(path, bytes.len(), expected, error.to_string()));
        }
    } else {
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| DataError::io("read", path, source))?;
    }
    if bytes.len() as u64 > limit {
        return Err(DataError::corrupt(path, limit as usize, format!("at most {limit} bytes"), "more"));
    }
    Ok(bytes)
}

/// Length of a file in bytes.
pub fn length(path: &Path) -> Result<u64, DataError> {
    std::fs::metadata(path).map(|data| data.len()).map_err(|source| DataError::io("read", path, source))
}
