//! Downloading data sets: resumed where it broke off, checked, unpacked whole or not at all.

use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use flate2::read::GzDecoder;
use md5::Md5;

use super::{DataError, file::LARGEST_FILE};
use crate::download::{self, Download, DownloadError, TIMEOUT};

/// A file of a data set on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Where it is fetched from.
    pub url: &'static str,
    /// As its publishers give it, in hexadecimal.
    pub md5: &'static str,
    /// In bytes. A body of another size is refused as soon as that shows.
    pub size: u64,
    /// Folder below the root of data sets in which the file is put. An archive (`.tar.gz`) is
    /// unpacked into the root, and has this folder in it.
    pub folder: &'static str,
}

impl Remote {
    fn name(&self) -> &'static str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }

    fn is_archive(&self) -> bool {
        self.url.ends_with(".tar.gz")
    }

    /// What stands there when the file was fetched.
    fn place(&self, root: &Path) -> PathBuf {
        let folder = root.join(self.folder);
        if self.is_archive() { folder } else { folder.join(self.name()) }
    }
}

/// Where partial downloads are kept, below the root.
const PARTIAL: &str = ".fetch";
/// A checked archive may unpack to so many times its size, or to [`LARGEST_FILE`].
const MOST_EXPANSION: u64 = 32;

/// Downloads files into a root of data sets. Those that are there already are left alone.
/// `mirror` replaces all of a URL but its last part. `progress` gets the file's name, the bytes so
/// far and all of them.
///
/// # Errors
/// [`DataError::Fetch`] when the network fails (what has come stays for the next time), a checksum
/// is wrong, or an archive would write outside the root; [`DataError::Io`] for the disk.
pub fn fetch(
    files: &[Remote],
    root: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), DataError> {
    fetch_within(TIMEOUT, files, root, mirror, progress)
}

/// [`fetch`] with another limit on a server's silence.
fn fetch_within(
    silence: Duration,
    files: &[Remote],
    root: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), DataError> {
    let partial_folder = root.join(PARTIAL);
    fs::create_dir_all(&partial_folder).map_err(|error| DataError::io("create", &partial_folder, error))?;
    for remote in files {
        let place = remote.place(root);
        if place.exists() {
            continue;
        }
        let url = match mirror {
            Some(mirror) => format!("{}/{}", mirror.trim_end_matches('/'), remote.name()),
            None => remote.url.to_owned(),
        };
        let path = partial_folder.join(remote.name());
        // Held until the file is in its place: two processes must not write one download.
        let explain = |error| explained(&url, &path, error);
        let partial = download::open(&path).map_err(explain)?;
        let Remote { md5, size, .. } = *remote;
        let download = Download { url: &url, token: None, path: &path, file: &partial, size, silence };
        download.fetch::<Md5>(md5, &mut |done| progress(remote.name(), done, size)).map_err(explain)?;
        if remote.is_archive() {
            unpack(&path, root, remote)?;
            fs::remove_file(&path).map_err(|error| DataError::io("remove", &path, error))?;
        } else {
            let folder = root.join(remote.folder);
            fs::create_dir_all(&folder).map_err(|error| DataError::io("create", &folder, error))?;
            fs::rename(&path, &place).map_err(|error| DataError::io("move", &path, error))?;
        }
    }
    // Another download may be using it.
    let _ = fs::remove_dir(&partial_folder);
    Ok(())
}

fn broken(url: &str, message: impl Into<String>) -> DataError {
    DataError::Fetch {
        url: url.to_owned(),
        message: message.into(),
        help: "run the same command again to continue where it stopped; --mirror names another server, and files \
               fetched by other means are found by --data-dir"
            .into(),
    }
}

/// What a download's end means to who fetches data.
fn explained(url: &str, path: &Path, error: DownloadError) -> DataError {
    match error {
        DownloadError::Busy => DataError::Fetch {
            url: path.display().to_string(),
            message: "another process is fetching this file".into(),
            help: "wait until it has finished".into(),
        },
        DownloadError::Broken(message) => broken(url, message),
        DownloadError::OtherFile(message) => DataError::Fetch {
            url: url.to_owned(),
            message: format!("{message}: this is not the file that its publishers gave out"),
            help: "the download was removed; try again, or name another server with --mirror".into(),
        },
        DownloadError::Io(action, error) => DataError::io(action, path, error),
    }
}

/// Unpacks an archive beside its place, then renames its folder into it.
fn unpack(path: &Path, root: &Path, remote: &Remote) -> Result<(), DataError> {
    let refuse = |message: String| DataError::Fetch {
        url: path.display().to_string(),
        message,
        help: "nothing of this archive was kept; it is not what its name says".into(),
    };
    let file = File::open(path).map_err(|error| DataError::io("read", path, error))?;
    let scratch = Scratch::new(path)?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let (mut size, largest) = (0_u64, LARGEST_FILE.max(remote.size.saturating_mul(MOST_EXPANSION)));
    let entries = archive.entries().map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| refuse(format!("it cannot be read: {error}")))?;
        let name = entry.path().map_err(|error| refuse(format!("a name in it cannot be read: {error}")))?.into_owned();
        let inside = name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(refuse(format!("it would write `{}`, outside its folder", name.display())));
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(refuse(format!("`{}` in it is neither a file nor a folder", name.display())));
        }
        size = size.saturating_add(entry.size());
        if size > largest {
            return Err(refuse(format!("it unpacks to more than {largest} bytes")));
        }
        let target = scratch.0.join(&name);
        let folder = target.parent().unwrap_or(&scratch.0);
        fs::create_dir_all(folder).map_err(|error| DataError::io("create", folder, error))?;
        let mut output = File::create_new(&target).map_err(|error| DataError::io("create", &target, error))?;
        io::copy(&mut entry, &mut output)
            .and_then(|_| output.sync_all())
            .map_err(|error| DataError::io("unpack", &target, error))?;
    }
    let unpacked = scratch.0.join(remote.folder);
    if !unpacked.is_dir() {
        return Err(refuse(format!("it has no folder `{}`", remote.folder)));
    }
    let place = remote.place(root);
    fs::rename(&unpacked, &place).map_err(|error| DataError::io("move to", &place, error))
}

/// The folder that an archive is unpacked into: one for each, so that whoever holds the archive removes what a killed
/// process left there.
struct Scratch(PathBuf);

impl Scratch {
    fn new(archive: &Path) -> Result<Self, DataError> {
        let folder = archive.with_extension("unpacked");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DataError::io("remove", &folder, error));
            }
            _ => {}
        }
        fs::create_dir(&folder).map_err(|error| DataError::io("create", &folder, error))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next one that fetches this archive tries again.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests;
