//! What locks depend on besides the directory: the machine, and what its file systems can do.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::process::Process;
use crate::files::{FileError, shared_by};

/// How often a holder gives a sign of life.
const BEAT: Duration = Duration::from_secs(5);

/// So many beats that are missed, and a holder on another machine counts as gone.
const MISSED: u32 = 12;

/// The surroundings of a process. Tests have several of them, as if they were several machines.
#[derive(Clone)]
pub struct Around {
    pub process: Process,
    /// Tries the system's own lock.
    pub flock: fn(&File) -> Result<(), TryLockError>,
    /// Whether the system's locks are not trusted, whatever the file system.
    pub distrust: bool,
    /// How often this process gives a sign of life.
    pub beat: Duration,
    /// What this process has seen of others.
    pub seen: Arc<Mutex<HashMap<PathBuf, Seen>>>,
}

/// A file of another process, as it was at the last look.
pub struct Seen {
    bytes: Vec<u8>,
    /// How often its owner says to count.
    beat: Duration,
    looked: Instant,
    unchanged: Duration,
}

impl Around {
    /// Those of this process: `VITX_LOCKS` says whether the system's locks are trusted, `VITX_LOCK_BEAT` how often it
    /// gives a sign of life, in seconds.
    ///
    /// # Errors
    /// A variable that has another value.
    pub fn this() -> Result<Self, FileError> {
        static SEEN: LazyLock<Arc<Mutex<HashMap<PathBuf, Seen>>>> = LazyLock::new(Arc::default);
        static PROCESS: LazyLock<Process> = LazyLock::new(Process::this);
        let refused = |name: &str, expected: &str, value: &str| {
            let cause = io::Error::new(io::ErrorKind::InvalidInput, format!("it is `{value}`, expected {expected}"));
            Err(FileError::io("use the environment variable", name)(cause))
        };
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let distrust = match variable("VITX_LOCKS").as_str() {
            "" | "auto" => false,
            "file" | "file-only" => true,
            other => return refused("VITX_LOCKS", "`auto`, `file` or `file-only`", other),
        };
        let none = |_: &File| Err(TryLockError::Error(io::ErrorKind::Unsupported.into()));
        let flock = if variable("VITX_LOCKS") == "file-only" { none } else { File::try_lock };
        let beat = match variable("VITX_LOCK_BEAT").as_str() {
            "" => BEAT,
            text => match text.parse().ok().filter(|seconds| (0.01..=600.0).contains(seconds)) {
                Some(seconds) => Duration::from_secs_f64(seconds),
                None => return refused("VITX_LOCK_BEAT", "seconds from 0.01 to 600", text),
            },
        };
        Ok(Self { process: PROCESS.clone(), flock, distrust, beat, seen: SEEN.clone() })
    }

    /// Whether a directory's holder must be told by a file, as the system's lock may be seen by this machine alone.
    pub fn wants_owner(&self, directory: &File) -> bool {
        self.distrust || shared_by(directory).is_some()
    }

    /// Whether a file of another process was looked at so recently that another look would tell nothing.
    pub fn looked(&self, path: &Path) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(path).is_some_and(|seen| seen.looked.elapsed() < seen.beat / 4)
    }

    /// For how long this process has seen a file unchanged, by its own clock. Times of files, and clocks of other machines,
    /// do not count; nor does the time in which this process did not look.
    pub fn unchanged(&self, path: &Path, bytes: &[u8], beat: Duration) -> Duration {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match all.get_mut(path).filter(|seen| seen.bytes == bytes) {
            Some(seen) => {
                seen.unchanged += now.duration_since(seen.looked).min(2 * beat);
                seen.looked = now;
                seen.unchanged
            }
            None => {
                let (bytes, unchanged) = (bytes.to_owned(), Duration::ZERO);
                all.insert(path.to_owned(), Seen { bytes, beat, looked: now, unchanged });
                Duration::ZERO
            }
        }
    }

    /// Forgets what was seen of a file.
    pub fn forget(&self, path: &Path) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

/// How long a holder that gives a sign of life every `beat` may be silent.
pub fn patience(beat: Duration) -> Duration {
    beat * MISSED
}
