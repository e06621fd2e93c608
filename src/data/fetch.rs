//! Downloading data sets: resumed where it broke off, checked, unpacked whole or not at all.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Component, Path, PathBuf},
    time::Duration,
};

use flate2::read::GzDecoder;
use md5::{Digest, Md5};

use super::{DataError, file::LARGEST_FILE};

/// A file of a data set on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    pub url: &'static str,
    /// As its publishers give it, in hexadecimal.
    pub md5: &'static str,
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
/// How often a broken connection is taken up again.
const ATTEMPTS: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Downloads files into a root of data sets. Those that are there already are left alone.
/// `mirror` replaces all of a URL but its last part. `progress` gets the file's name, the bytes so
/// far and, where known, all of them.
///
/// # Errors
/// [`DataError::Fetch`] when the network fails (what has come stays for the next time), a checksum
/// is wrong, or an archive would write outside the root; [`DataError::Io`] for the disk.
pub fn fetch(
    files: &[Remote],
    root: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
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
        let partial = open(&path)?;
        download(&url, &path, &partial, &mut |done, total| progress(remote.name(), done, total))?;
        check(remote, &url, &path)?;
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

fn open(path: &Path) -> Result<File, DataError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| DataError::io("open", path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataError::Fetch {
            url: path.display().to_string(),
            message: "another process is fetching this file".into(),
            help: "wait until it has finished".into(),
        }),
        Err(TryLockError::Error(error)) => Err(DataError::io("lock", path, error)),
    }
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

/// Appends what is missing. A server that knows no ranges sends everything again.
fn download(
    url: &str,
    path: &Path,
    mut file: &File,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), DataError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_response(Some(TIMEOUT))
        .build()
        .into();
    let disk = |error| DataError::io("write", path, error);
    let mut failure = String::new();
    for _ in 0..ATTEMPTS {
        let have = file.seek(SeekFrom::End(0)).map_err(disk)?;
        let mut request = agent.get(url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => {
                failure = error.to_string();
                continue;
            }
        };
        let status = response.status().as_u16();
        let start = match status {
            200 => 0,
            206 => have,
            // Nothing is missing, or what is here is no part of it: the checksum will say.
            416 if have > 0 => return Ok(()),
            _ => return Err(broken(url, format!("the server answers {}", response.status()))),
        };
        let length =
            response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let total = length.map(|length| start + length);
        file.set_len(start).and_then(|()| file.seek(SeekFrom::Start(start))).map_err(disk)?;
        let mut reader = response.into_body().into_with_config().limit(LARGEST_FILE).reader();
        let (mut buffer, mut done) = (vec![0; 1 << 16], start);
        let finished = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break total.is_none_or(|total| done == total),
                Ok(count) => {
                    file.write_all(&buffer[..count]).map_err(disk)?;
                    done += count as u64;
                    progress(done, total);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failure = error.to_string();
                    break false;
                }
            }
        };
        if finished {
            return file.sync_all().map_err(disk);
        }
        if failure.is_empty() {
            failure = "the connection ended early".into();
        }
    }
    Err(broken(url, failure))
}

fn check(remote: &Remote, url: &str, path: &Path) -> Result<(), DataError> {
    let mut file = File::open(path).map_err(|error| DataError::io("read", path, error))?;
    let (mut hash, mut buffer) = (Md5::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(|error| DataError::io("read", path, error))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == remote.md5 {
        return Ok(());
    }
    // Resuming what is wrong would stay wrong.
    fs::remove_file(path).map_err(|error| DataError::io("remove", path, error))?;
    Err(DataError::Fetch {
        url: url.to_owned(),
        message: format!(
            "the checksum is {found}, not {}: this is not the file that its publishers gave out",
            remote.md5
        ),
        help: "the download was removed; try again, or name another server with --mirror".into(),
    })
}

/// Unpacks an archive beside its place, then renames its folder into it.
fn unpack(path: &Path, root: &Path, remote: &Remote) -> Result<(), DataError> {
    let refuse = |message: String| DataError::Fetch {
        url: path.display().to_string(),
        message,
        help: "nothing of this archive was kept; it is not what its name says".into(),
    };
    let file = File::open(path).map_err(|error| DataError::io("read", path, error))?;
    let scratch = tempfile::Builder::new()
        .prefix(".unpack")
        .tempdir_in(root)
        .map_err(|error| DataError::io("create a folder in", root, error))?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut size = 0;
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
        size += entry.size();
        if size > LARGEST_FILE {
            return Err(refuse(format!("it unpacks to more than {LARGEST_FILE} bytes")));
        }
        let target = scratch.path().join(&name);
        let folder = target.parent().unwrap_or(scratch.path());
        fs::create_dir_all(folder).map_err(|error| DataError::io("create", folder, error))?;
        let mut output = File::create_new(&target).map_err(|error| DataError::io("create", &target, error))?;
        io::copy(&mut entry, &mut output)
            .and_then(|_| output.sync_all())
            .map_err(|error| DataError::io("unpack", &target, error))?;
    }
    let unpacked = scratch.path().join(remote.folder);
    if !unpacked.is_dir() {
        return Err(refuse(format!("it has no folder `{}`", remote.folder)));
    }
    let place = remote.place(root);
    fs::rename(&unpacked, &place).map_err(|error| DataError::io("move to", &place, error))
}

#[cfg(test)]
mod tests;
