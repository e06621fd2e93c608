use std::{
    fs::{File, TryLockError},
    path::Path,
    thread,
    time::Duration,
};

use super::{TrialError, names::LOCK};
use crate::files::{FileError, Hold, Place, remove_parts};

/// Someone who only looks whether a directory is held holds it himself for a moment: so often one that
/// wants it tries again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The hold of this process on a directory of a trial or a sweep. It is of the directory that was
/// opened, not of its name: see [`Hold`]. The system lets go of it when the process ends, however it
/// ends.
#[derive(Debug)]
pub struct Lock {
    hold: Hold,
    _file: File,
}

/// The open files that are locked: the directory itself, so that nobody can get in by removing the
/// file, and the file, for file systems that lock no directories.
struct Locked {
    directory: File,
    file: File,
}

impl Lock {
    /// Whether no process holds the lock of a folder.
    ///
    /// # Errors
    /// A lock that cannot be opened.
    pub fn is_free(folder: &Path) -> Result<bool, TrialError> {
        match lock(folder) {
            Ok(_) => Ok(true),
            Err(TrialError::Locked { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a process holds the lock of a folder, which may be read-only.
    pub fn is_held(folder: &Path) -> bool {
        let held = |path: &Path| {
            File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
        };
        held(&folder.join(LOCK)) || held(folder)
    }

    /// Takes the lock of a folder, and removes what killed processes have left there unfinished.
    ///
    /// # Errors
    /// [`TrialError::Locked`] when another process has it.
    pub fn take(folder: &Path) -> Result<Self, TrialError> {
        let mut tries = 1;
        let Locked { directory, file } = loop {
            match lock(folder) {
                Err(TrialError::Locked { .. }) if tries < TRIES => thread::sleep(PAUSE),
                other => break other?,
            }
            tries += 1;
        };
        let hold = Hold::new(folder, directory)?;
        remove_parts(folder);
        Ok(Self { hold, _file: file })
    }

    /// The directory, as it was given.
    pub fn folder(&self) -> &Path {
        self.hold.folder()
    }
}

fn lock(folder: &Path) -> Result<Locked, TrialError> {
    let path = folder.join(LOCK);
    let directory = File::open(folder).map_err(FileError::io("open", folder))?;
    let file = Place::new(&path)?.create().map_err(FileError::io("open", &path))?;
    let locked = || TrialError::Locked { folder: folder.to_owned() };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked()),
        Err(TryLockError::Error(error)) => return Err(FileError::io("lock", path)(error).into()),
    }
    match directory.try_lock() {
        Err(TryLockError::WouldBlock) => Err(locked()),
        // Some network file systems lock files only.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Locked { directory, file }),
    }
}
