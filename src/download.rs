//! Downloading a file whose size is known: continued where it broke off, and held to its digest.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

use sha2::Digest;

/// How many connections in a row may break before they have brought [`PROGRESS`].
const ATTEMPTS: usize = 5;
const PROGRESS: u64 = 1 << 20;
/// How long a server may be silent: until it is connected, until it answers, and between two pieces of the file.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a file did not come.
#[derive(Debug)]
pub enum DownloadError {
    /// Another process is fetching it.
    Busy,
    /// The network failed, or the server has no such file; what has come stays for the next time.
    Broken(String),
    /// What came is another file; it was removed.
    OtherFile(String),
    /// The disk failed: what was tried, and what the system says.
    Io(&'static str, io::Error),
}

/// One file on its way.
#[derive(Debug)]
pub struct Download<'a> {
    /// Where it is.
    pub url: &'a str,
    /// What the server asks of those that it knows.
    pub token: Option<&'a str>,
    /// Of what has come so far.
    pub path: &'a Path,
    /// The same, as [`open`] gives it.
    pub file: &'a File,
    /// In bytes. A body of another size is refused as soon as that shows.
    pub size: u64,
    /// How long the server may be silent, usually [`TIMEOUT`].
    pub silence: Duration,
}

/// Why a connection ended before the file was there.
enum Ended {
    /// Another one may bring more.
    Broken(String),
    /// It will not.
    Refused(DownloadError),
}

/// Opens what has come of a file so far. It is held until it is closed: two processes must not write one download.
///
/// # Errors
/// [`DownloadError::Busy`], and those of the disk.
pub fn open(path: &Path) -> Result<File, DownloadError> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let file = file.map_err(|error| DownloadError::Io("open", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DownloadError::Busy),
        Err(TryLockError::Error(error)) => Err(DownloadError::Io("lock", error)),
    }
}

/// A client that waits so long for a server that is silent, and takes files as they are.
pub fn agent(silence: Duration, redirects: u32) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        // Asked for in part, and as it is.
        .accept_encoding("identity")
        .timeout_connect(Some(silence))
        .timeout_recv_response(Some(silence))
        .timeout_per_read(Some(silence))
        .build()
        .into()
}

impl Download<'_> {
    /// Brings the whole file, and holds it to a digest in hexadecimal. What an earlier process left of it is continued;
    /// where that turns out to have been another file, all of it is fetched again. `progress` gets the bytes so far.
    ///
    /// # Errors
    /// All but [`DownloadError::Busy`].
    pub fn fetch<D: Digest>(&self, digest: &str, progress: &mut dyn FnMut(u64)) -> Result<(), DownloadError> {
        let continued = self.length()? > 0;
        self.complete(progress)?;
        if continued && self.digest::<D>()? != digest {
            self.cut(0)?;
            self.complete(progress)?;
        }
        let found = self.digest::<D>()?;
        if found == digest {
            return Ok(());
        }
        Err(self.other_file(format!("the checksum is {found}, not {digest}")))
    }

    /// Appends what is missing, by as many connections as it takes.
    ///
    /// # Errors
    /// All but [`DownloadError::Busy`].
    pub fn complete(&self, progress: &mut dyn FnMut(u64)) -> Result<(), DownloadError> {
        let agent = agent(self.silence, 10);
        if self.length()? > self.size {
            self.cut(0)?;
        }
        let (mut attempts, mut failure) = (0, String::new());
        while attempts < ATTEMPTS {
            let before = self.length()?;
            if before == self.size {
                return self.file.sync_all().map_err(|error| DownloadError::Io("write", error));
            }
            match self.receive(&agent, before, progress) {
                Ok(()) => {}
                Err(Ended::Broken(reason)) => failure = reason,
                Err(Ended::Refused(error)) => return Err(error),
            }
            attempts = if self.length()? >= before + PROGRESS { 0 } else { attempts + 1 };
        }
        if self.length()? == self.size {
            return self.file.sync_all().map_err(|error| DownloadError::Io("write", error));
        }
        Err(DownloadError::Broken(failure))
    }

    /// What one connection brings from byte `have` on. A server that knows no ranges sends everything again.
    fn receive(&self, agent: &ureq::Agent, have: u64, progress: &mut dyn FnMut(u64)) -> Result<(), Ended> {
        let disk = |error| Ended::Refused(DownloadError::Io("write", error));
        let size = self.size;
        let mut request = agent.get(self.url).header("Range", format!("bytes={have}-"));
        if let Some(token) = self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
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
            _ => {
                let answer = format!("the server answers {}", response.status());
                return Err(Ended::Refused(DownloadError::Broken(answer)));
            }
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
    fn length(&self) -> Result<u64, DownloadError> {
        let length = self.file.metadata().map(|data| data.len());
        length.map_err(|error| DownloadError::Io("read", error))
    }

    /// Keeps the first bytes alone, and goes on after them.
    fn cut(&self, length: u64) -> Result<(), DownloadError> {
        let mut file = self.file;
        let cut = file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length)));
        cut.map(drop).map_err(|error| DownloadError::Io("write", error))
    }

    fn digest<D: Digest>(&self) -> Result<String, DownloadError> {
        let mut file = self.file;
        let digest = file.seek(SeekFrom::Start(0)).and_then(|_| hexadecimal::<D>(file));
        digest.map_err(|error| DownloadError::Io("read", error))
    }

    fn other_file(&self, message: String) -> DownloadError {
        // Resuming what is wrong would stay wrong; what cannot be removed is found out again.
        let _ = fs::remove_file(self.path);
        DownloadError::OtherFile(message)
    }
}

/// The digest of all that a reader gives, in hexadecimal.
///
/// # Errors
/// As the reader's.
pub fn hexadecimal<D: Digest>(mut reader: impl Read) -> io::Result<String> {
    let (mut hash, mut buffer) = (D::new(), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The first byte of `bytes 5-9/10`.
fn range_start(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.trim().parse().ok()
}
