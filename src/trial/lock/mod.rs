//! Who may write to a directory of a trial or a sweep: one process.
//!
//! Where a file system belongs to one machine, its locks say so, and end with the process. Where it may be shared, or has
//! no locks, a file tells the owner as well.
//!
//! | file | holds |
//! |---|---|
//! | `around.rs` | what it depends on: the machine, and what was seen of others |
//! | `process.rs` | processes that others can tell from each other, and from dead ones |
//! | `owner.rs` | `lock.json`: the owner's sign of life, and how a dead one's is taken away |

mod around;
mod owner;
mod process;

use std::{
    fmt,
    fs::{File, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

use self::{
    around::Around,
    owner::{Owned, Refused},
};
use super::{TrialError, names::LOCK};
use crate::files::{FileError, Guard, Hold, Place, remove_parts};

/// Someone who only looks whether a directory is held holds it himself for a moment: so often one that
/// wants it tries again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The hold of this process on a directory of a trial or a sweep. It is of the directory that was
/// opened, not of its name: see [`Hold`]. The system lets go of it when the process ends, however it
/// ends.
pub struct Lock {
    // Dropped in this order: the owner's file last but the system's locks.
    hold: Hold,
    owned: Option<Owned>,
    _system: Locked,
}

/// The open files that are locked: the directory itself, so that nobody can get in by removing the
/// file, and the file, for file systems that lock no directories.
struct Locked {
    directory: File,
    _file: File,
    /// Whether the file system knows locks.
    known: bool,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Lock").field("folder", &self.folder()).field("by_file", &self.owned.is_some()).finish()
    }
}

impl Lock {
    /// Whether no process holds the lock of a folder. What one has left that is known to be gone is removed. Does not wait:
    /// whether a process of another machine is gone, is seen over many calls.
    ///
    /// # Errors
    /// A lock that cannot be opened.
    pub fn is_free(folder: &Path) -> Result<bool, TrialError> {
        Self::is_free_in(folder, &Around::this()?)
    }

    fn is_free_in(folder: &Path, around: &Around) -> Result<bool, TrialError> {
        match lock(folder, around) {
            Ok(_) => Ok(owner::is_free(folder, around)?),
            Err(TrialError::Locked { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a process holds the lock of a folder, which may be read-only.
    pub fn is_held(folder: &Path) -> bool {
        let held = |path: &Path| {
            File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
        };
        held(&folder.join(LOCK)) || held(folder) || Around::this().is_ok_and(|around| owner::is_held(folder, &around))
    }

    /// Takes the lock of a folder, and removes what killed processes have left there unfinished. Where a file tells of a
    /// holder on another machine, that one is waited for until it has shown to live, or was silent for too long.
    ///
    /// # Errors
    /// [`TrialError::Locked`] when another process has it.
    pub fn take(folder: &Path) -> Result<Self, TrialError> {
        Self::take_in(folder, &Around::this()?)
    }

    fn take_in(folder: &Path, around: &Around) -> Result<Self, TrialError> {
        let mut tries = 1;
        let system = loop {
            match lock(folder, around) {
                Err(TrialError::Locked { .. }) if tries < TRIES => thread::sleep(PAUSE),
                Err(TrialError::Locked { folder, .. }) => {
                    return Err(TrialError::Locked { by: owner::name(&folder), folder });
                }
                other => break other?,
            }
            tries += 1;
        };
        let refused = |refused: Refused| match refused {
            Refused::Held(by) => TrialError::Locked { folder: folder.to_owned(), by: by.map(|owner| owner.name()) },
            Refused::File(error) => error.into(),
        };
        let owned = if !system.known || around.wants_owner(&system.directory) {
            Some(Owned::take(folder, around).map_err(refused)?)
        } else {
            // Another machine may see the same folder as a shared one.
            owner::wait(folder, around).map_err(refused)?;
            None
        };
        let guard = owned.as_ref().map(|owned| {
            let held = owned.held();
            Box::new(move || held.check()) as Guard
        });
        let directory = system.directory.try_clone().map_err(FileError::io("open", folder))?;
        let hold = Hold::guarded(folder, directory, guard)?;
        remove_parts(folder);
        Ok(Self { hold, owned, _system: system })
    }

    /// The directory, as it was given.
    pub fn folder(&self) -> &Path {
        self.hold.folder()
    }

    /// Has something done once it is noticed that another process has taken the directory over, as this one was silent
    /// for too long. From then on nothing can be written there: see [`FileError::Lost`].
    pub fn when_lost(&self, done: impl Fn() + Send + 'static) {
        if let Some(owned) = &self.owned {
            owned.when_lost(Box::new(done));
        }
    }
}

/// Whether a file system, or the server behind it, has no locks.
fn has_none(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let unknown = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOLCK, Errno::INVAL];
        error.raw_os_error().is_some_and(|code| unknown.iter().any(|errno| errno.raw_os_error() == code))
            || error.kind() == io::ErrorKind::Unsupported
    }
    #[cfg(not(unix))]
    {
        error.kind() == io::ErrorKind::Unsupported
    }
}

/// Takes the system's own locks.
fn lock(folder: &Path, around: &Around) -> Result<Locked, TrialError> {
    let path = folder.join(LOCK);
    let directory = File::open(folder).map_err(FileError::io("open", folder))?;
    let file = Place::new(&path)?.create().map_err(FileError::io("open", &path))?;
    let locked = || TrialError::Locked { folder: folder.to_owned(), by: None };
    let known = match (around.flock)(&file) {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => return Err(locked()),
        Err(TryLockError::Error(error)) if has_none(&error) => false,
        Err(TryLockError::Error(error)) => return Err(FileError::io("lock", path)(error).into()),
    };
    match (around.flock)(&directory) {
        Err(TryLockError::WouldBlock) => Err(locked()),
        // Some network file systems lock files only.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Locked { directory, _file: file, known }),
    }
}

#[cfg(test)]
mod tests;
