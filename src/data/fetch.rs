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
/// How many connections in a row may break before they have brought [`PROGRESS`].
const ATTEMPTS: usize = 5;
const PROGRESS: u64 = 1 << 20;
/// How long a server may be silent: until it is connected, until it answers, and between two pieces of the file.
const TIMEOUT: Duration = Duration::from_secs(30);
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
        let partial = open(&path)?;
        let download = Download { remote, url: &url, path: &path, file: &partial, silence };
        download.fetch(&mut |done| progress(remote.name(), done, remote.size))?;
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

/// One file on its way.
struct Download<'a> {
    remote: &'a Remote,
    url: &'a str,
    /// Of what has come so far.
    path: &'a Path,
    file: &'a File,
    silence: Duration,
}

/// Why a connection ended before the file was there.
enum Ended {
    /// Another one may bring more.
    Broken(String),
    /// It will not.
    Refused(DataError),
}

impl Download<'_> {
    /// Brings the whole file, and checks it. What an earlier process left of it is continued; where that turns out to
    /// have been another file, all of it is fetched again.
    fn fetch(&self, progress: &mut dyn FnMut(u64)) -> Result<(), DataError> {
        let continued = self.length()? > 0;
        self.complete(progress)?;
        if continued && self.digest()? != self.remote.md5 {
            self.cut(0)?;
            self.complete(progress)?;
        }
        let found = self.digest()?;
        if found == self.remote.md5 {
            return Ok(());
        }
        Err(self.other_file(format!("the checksum is {found}, not {}", self.remote.md5)))
    }

    /// Appends what is missing, by as many connections as it takes.
    fn complete(&self, progress: &mut dyn FnMut(u64)) -> Result<(), DataError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Asked for in part, and as it is.
            .accept_encoding("identity")
            .timeout_connect(Some(self.silence))
            .timeout_recv_response(Some(self.silence))
            .timeout_per_read(Some(self.silence))
            .build()
            .into();
        if self.length()? > self.remote.size {
            self.cut(0)?;
        }
        let (mut attempts, mut failure) = (0, String::new());
        while attempts < ATTEMPTS {
            let before = self.length()?;
            if before == self.remote.size {
                return self.file.sync_all().map_err(|error| DataError::io("write", self.path, error));
            }
            match self.receive(&agent, before, progress) {
                Ok(()) => {}
                Err(Ended::Broken(reason)) => failure = reason,
                Err(Ended::Refused(error)) => return Err(error),
            }
            attempts = if self.length()? >= before + PROGRESS { 0 } else { attempts + 1 };
        }
        if self.length()? == self.remote.size {
            return self.file.sync_all().map_err(|error| DataError::io("write", self.path, error));
        }
        Err(broken(self.url, failure))
    }

    /// What one connection brings from byte `have` on. A server that knows no ranges sends everything again.
    fn receive(&self, agent: &ureq::Agent, have: u64, progress: &mut dyn FnMut(u64)) -> Result<(), Ended> {
        let disk = |error| Ended::Refused(DataError::io("write", self.path, error));
        let size = self.remote.size;
        let mut request = agent.get(self.url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| Ended::Broken(self.why(&error.to_string())))?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let start = match response.status().as_u16() {
            200 => 0,
            206 => match header("content-range").map(range_start) {
                // Some servers do not say; the checksum will.
                None => have,
                Some(Some(start)) if start <= have => start,
                Some(_) => return Err(Ended::Broken("the server sends another part than was asked for".into())),
            },
            // What is here is no part of it.
            416 if have > 0 => {
                self.cut(0).map_err(Ended::Refused)?;
                return Err(Ended::Broken("the server has no such part of the file".into()));
            }
            429 | 500..=599 => return Err(Ended::Broken(format!("the server answers {}", response.status()))),
            _ => return Err(Ended::Refused(broken(self.url, format!("the server answers {}", response.status())))),
        };
        let told = header("content-length").and_then(|length| length.parse::<u64>().ok());
        let total = told.map(|length| start.saturating_add(length));
        if let Some(total) = total.filter(|total| *total != size) {
            return Err(Ended::Refused(self.other_file(format!("the server has {total} bytes, not {size}"))));
        }
        self.cut(start).map_err(Ended::Refused)?;
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let (mut buffer, mut done) = (vec![0; 1 << 16], start);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) if done == size => return Ok(()),
                Ok(0) => return Err(Ended::Broken(format!("the connection ended after {done} of {size} bytes"))),
                Ok(count) => {
                    done += count as u64;
                    if done > size {
                        return Err(Ended::Refused(
                            self.other_file(format!("the server sends more than {size} bytes")),
                        ));
                    }
                    let mut file = self.file;
                    file.write_all(&buffer[..count]).map_err(disk)?;
                    progress(done);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Ended::Broken(self.why(&error.to_string()))),
            }
        }
    }

    fn why(&self, error: &str) -> String {
        match error.contains("timeout") {
            true => format!("the server was silent for {} s ({error})", self.silence.as_secs_f64()),
            false => error.to_owned(),
        }
    }

    /// How much has come.
    fn length(&self) -> Result<u64, DataError> {
        let length = self.file.metadata().map(|data| data.len());
        length.map_err(|error| DataError::io("read", self.path, error))
    }

    /// Keeps the first bytes alone, and goes on after them.
    fn cut(&self, length: u64) -> Result<(), DataError> {
        let mut file = self.file;
        let cut = file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length)));
        cut.map(drop).map_err(|error| DataError::io("write", self.path, error))
    }

    fn digest(&self) -> Result<String, DataError> {
        let mut file = self.file;
        let (mut hash, mut buffer) = (Md5::new(), vec![0; 1 << 16]);
        let mut read = || -> io::Result<()> {
            file.seek(SeekFrom::Start(0))?;
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => hash.update(&buffer[..count]),
                }
            }
        };
        read().map_err(|error| DataError::io("read", self.path, error))?;
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn other_file(&self, message: String) -> DataError {
        // Resuming what is wrong would stay wrong; what cannot be removed is found out again.
        let _ = fs::remove_file(self.path);
        DataError::Fetch {
            url: self.url.to_owned(),
            message: format!("{message}: this is not the file that its publishers gave out"),
            help: "the download was removed; try again, or name another server with --mirror".into(),
        }
    }
}

/// The first byte of `bytes 5-9/10`.
fn range_start(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.trim().parse().ok()
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
