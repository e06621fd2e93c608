//! The owner of a directory, told by a file: for file systems on which the system's locks are missing, or are seen by one
//! machine alone.
//!
//! The file is linked into its place whole, so only one of those who try succeeds. Its owner counts in it while it
//! lives, in place: what it writes after it lost the name reaches nobody. One whose count stands still is given up, see
//! [`Around::unchanged`]; breaking has a claim of its own, so that two who break do not take each other's new lock away.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    around::{Around, patience},
    process::Process,
};
use crate::{
    files::{FileError, PART},
    trial::names::{CLAIM, OWNER},
};

/// `lock.json`: who holds a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    #[serde(flatten)]
    pub process: Process,
    /// Of this hold alone.
    token: String,
    /// How often it counts, in milliseconds.
    every: u64,
    /// Counts while it lives.
    beat: u64,
}

/// Why a directory is not to be had.
pub enum Refused {
    /// Somebody has it, as far as is known.
    Held(Option<Owner>),
    File(FileError),
}

impl From<FileError> for Refused {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// What a look at a file of an owner tells.
enum Look {
    /// There is none.
    Free,
    Held(Option<Owner>),
    /// Its owner is gone; with what stands in the file.
    Stale(Vec<u8>),
}

/// What calls of the system fail with that a file system does not know.
fn is_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let unknown = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::PERM, Errno::MLINK, Errno::XDEV];
        error.raw_os_error().is_some_and(|code| unknown.iter().any(|errno| errno.raw_os_error() == code))
    }
    #[cfg(not(unix))]
    {
        error.kind() == ErrorKind::Unsupported
    }
}

impl Owner {
    fn new(around: &Around) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let host =
            around.process.host.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let token = format!("{host:x}x{:x}x{nanoseconds:x}x{count:x}", around.process.pid);
        Self { process: around.process.clone(), token, every: around.beat.as_millis() as u64, beat: 0 }
    }

    /// As it stands in the file: always as long, so that it can be written over.
    fn record(&self) -> Vec<u8> {
        let longest = Self { beat: u64::MAX, ..self.clone() };
        let json = |owner: &Self| serde_json::to_string(owner).unwrap_or_default();
        format!("{:<width$}\n", json(self), width = json(&longest).len()).into_bytes()
    }

    /// Whether bytes of a file are of this hold.
    fn is_in(&self, bytes: &[u8]) -> bool {
        parse(bytes).is_some_and(|owner| owner.token == self.token)
    }

    /// `process 42 on node7`
    pub fn name(&self) -> String {
        format!("process {} on {}", self.process.pid, self.process.host)
    }
}

fn parse(bytes: &[u8]) -> Option<Owner> {
    serde_json::from_slice(bytes).ok()
}

/// Reads a file; `None` where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        // Another machine has removed it while it was open here.
        Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::StaleNetworkFileHandle => {
            Ok(None)
        }
        Err(error) => Err(FileError::io("read", path)(error)),
    }
}

fn look(path: &Path, around: &Around) -> Result<Look, FileError> {
    let Some(bytes) = read(path)? else {
        around.forget(path);
        return Ok(Look::Free);
    };
    let owner = parse(&bytes);
    if let Some(owner) = owner.as_ref().filter(|owner| owner.process.is_near(&around.process)) {
        return Ok(match owner.process.is_dead(&around.process) {
            true => Look::Stale(bytes),
            false => Look::Held(Some(owner.clone())),
        });
    }
    let beat = owner.as_ref().map_or(around.beat, |owner| Duration::from_millis(owner.every.clamp(1, 600_000)));
    Ok(match around.unchanged(path, &bytes, beat) >= patience(beat) {
        true => Look::Stale(bytes),
        false => Look::Held(owner),
    })
}

/// Who holds a folder, where a file tells.
pub fn name(folder: &Path) -> Option<String> {
    let bytes = read(&folder.join(OWNER)).ok()??;
    parse(&bytes).map(|owner| owner.name())
}

/// Whether nobody holds a folder by a file. One whose owner is gone is removed. Does not wait.
///
/// # Errors
/// A file that cannot be read or removed.
pub fn is_free(folder: &Path, around: &Around) -> Result<bool, FileError> {
    let path = folder.join(OWNER);
    if around.looked(&path) && path.exists() {
        return Ok(false);
    }
    Ok(match look(&path, around)? {
        Look::Free => true,
        Look::Held(_) => false,
        Look::Stale(bytes) => remove_stale(folder, &bytes, around)?,
    })
}

/// Whether somebody holds a folder by a file, as far as is known. Nothing is written.
pub fn is_held(folder: &Path, around: &Around) -> bool {
    matches!(look(&folder.join(OWNER), around), Ok(Look::Held(_)))
}

/// Waits until a folder is free, or somebody else has shown to hold it.
///
/// # Errors
/// [`Refused::Held`] where somebody does.
pub fn wait(folder: &Path, around: &Around) -> Result<(), Refused> {
    let path = folder.join(OWNER);
    let mut first: Option<Vec<u8>> = None;
    let pause = || thread::sleep((around.beat / 8).min(Duration::from_millis(500)));
    loop {
        match look(&path, around)? {
            Look::Free => return Ok(()),
            Look::Stale(bytes) => {
                // Another one is about to, which may itself stand still.
                if !remove_stale(folder, &bytes, around)? {
                    pause();
                }
            }
            Look::Held(owner) => {
                let near = owner.as_ref().is_some_and(|owner| owner.process.is_near(&around.process));
                let bytes = read(&path)?;
                if near || first.as_ref().is_some_and(|first| bytes.as_ref().is_some_and(|bytes| bytes != first)) {
                    return Err(Refused::Held(owner));
                }
                first = first.or(bytes);
                pause();
            }
        }
    }
}

/// Takes away a file whose owner is gone; false where another process is about to.
fn remove_stale(folder: &Path, stale: &[u8], around: &Around) -> Result<bool, FileError> {
    let (path, claim) = (folder.join(OWNER), folder.join(CLAIM));
    let own = Owner::new(around);
    if !place(&claim, &own, folder)? {
        // Who has the claim needs a moment for it: one that stands is of a process that died meanwhile.
        if let Look::Stale(bytes) = look(&claim, around)? {
            displace(&claim, &own, &|found| found == bytes)?;
        }
        return Ok(false);
    }
    let removed = match read(&path)? {
        Some(bytes) if bytes == stale => displace(&path, &own, &|found| found == stale),
        Some(_) => Ok(false),
        None => Ok(true),
    };
    around.forget(&path);
    displace(&claim, &own, &|found| own.is_in(found))?;
    removed
}

/// Takes a file away, unless it is not the one that was meant.
fn displace(path: &Path, by: &Owner, meant: &dyn Fn(&[u8]) -> bool) -> Result<bool, FileError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let aside = path.with_file_name(format!("{PART}{}y{:x}", by.token, COUNT.fetch_add(1, Ordering::Relaxed)));
    match fs::rename(path, &aside) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        renamed => renamed.map_err(FileError::io("rename", path))?,
    }
    let right = read(&aside)?.is_none_or(|found| meant(&found));
    if !right && fs::hard_link(&aside, path).is_err_and(|error| error.kind() != ErrorKind::AlreadyExists) {
        // Where there are no links: should another one have its place since, its owner notices at its next beat.
        return fs::rename(&aside, path).map(|()| false).map_err(FileError::io("rename", path));
    }
    // What stays is removed as any unfinished file is.
    let _ = fs::remove_file(&aside);
    Ok(right)
}

/// Puts a file of an owner into its place, whole, if there is none. False where there is.
fn place(path: &Path, owner: &Owner, folder: &Path) -> Result<bool, FileError> {
    let part = folder.join(format!("{PART}{}", owner.token));
    let result = write_new(&part, owner).and_then(|()| match fs::hard_link(&part, path) {
        Err(error) if is_missing(&error) => write_new(path, owner),
        linked => linked,
    });
    let _ = fs::remove_file(&part);
    match result {
        Ok(()) => Ok(true),
        // The server may have done it, and its answer was lost.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(read(path)?.is_some_and(|bytes| owner.is_in(&bytes)))
        }
        // Somebody took the part for a leftover.
        Err(error) if error.kind() == ErrorKind::NotFound && folder.exists() => Ok(false),
        Err(error) => Err(FileError::io("create", path)(error)),
    }
}

fn write_new(path: &Path, owner: &Owner) -> io::Result<()> {
    use std::io::Write;
    let mut file = File::create_new(path)?;
    file.write_all(&owner.record())?;
    file.sync_all()
}

/// What is done when a hold is lost.
type WhenLost = Box<dyn Fn() + Send>;

/// A folder that this process holds by a file.
pub struct Owned {
    held: Arc<Held>,
    /// Dropped at the end, which ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread that counts shares with the others.
pub struct Held {
    /// As it was given.
    folder: PathBuf,
    /// Absolute.
    path: PathBuf,
    owner: Owner,
    lost: AtomicBool,
    when_lost: Mutex<Vec<WhenLost>>,
}

impl Owned {
    /// Takes a folder.
    ///
    /// # Errors
    /// [`Refused::Held`] where somebody else has it.
    pub fn take(folder: &Path, around: &Around) -> Result<Self, Refused> {
        loop {
            wait(folder, around)?;
            if let Some(owned) = Self::try_take(folder, around)? {
                return Ok(owned);
            }
        }
    }

    /// Takes a folder that has no owner; `None` where it has one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn try_take(folder: &Path, around: &Around) -> Result<Option<Self>, FileError> {
        let path = std::path::absolute(folder.join(OWNER)).map_err(FileError::io("find", folder))?;
        let owner = Owner::new(around);
        if !place(&path, &owner, folder)? {
            return Ok(None);
        }
        let file = File::options().write(true).open(&path).map_err(FileError::io("open", &path))?;
        let (lost, when_lost) = (AtomicBool::new(false), Mutex::default());
        let held = Arc::new(Held { folder: folder.to_owned(), path, owner, lost, when_lost });
        // One who was late to break the last owner's may have taken this one for it.
        held.check()?;
        let (end, ended) = mpsc::channel();
        let (counting, beat) = (held.clone(), around.beat);
        let thread = thread::Builder::new().name("vitx-lock".into()).spawn(move || {
            let mut owner = counting.owner.clone();
            while ended.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                owner.beat += 1;
                // What cannot be written now may be the next time; others tell by what they see.
                let _ = write_at_begin(&file, &owner.record());
                if matches!(counting.check(), Err(FileError::Lost { .. })) {
                    let all = counting.when_lost.lock().unwrap_or_else(PoisonError::into_inner);
                    all.iter().for_each(|done| done());
                    return;
                }
            }
        });
        let thread = thread.map_err(|error| {
            held.release();
            FileError::io("start the thread that keeps the lock of", folder)(error)
        })?;
        Ok(Some(Self { held, end: Some(end), thread: Some(thread) }))
    }

    /// What tells whether it is still held.
    pub fn held(&self) -> Arc<Held> {
        self.held.clone()
    }

    /// Has something done once it is noticed that somebody else has taken the folder over.
    pub fn when_lost(&self, done: WhenLost) {
        self.held.when_lost.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    }
}

fn write_at_begin(file: &File, record: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    std::os::unix::fs::FileExt::write_all_at(file, record, 0)?;
    #[cfg(not(unix))]
    {
        use std::io::{Seek, Write};
        let mut file = file;
        file.rewind()?;
        file.write_all(record)?;
    }
    file.sync_data()
}

impl Held {
    /// Whether the folder is still this process's.
    ///
    /// # Errors
    /// [`FileError::Lost`] once it is not.
    pub fn check(&self) -> Result<(), FileError> {
        let lost = |by: String| Err(FileError::Lost { folder: self.folder.clone(), by });
        if self.lost.load(Ordering::Relaxed) {
            return lost("another one has taken it over".into());
        }
        let bytes = read(&self.path)?;
        if bytes.as_ref().is_some_and(|bytes| self.owner.is_in(bytes)) {
            return Ok(());
        }
        self.lost.store(true, Ordering::Relaxed);
        lost(match bytes.as_deref().and_then(parse) {
            Some(other) => format!("{} has taken it over", other.name()),
            None => "another one has taken it over".into(),
        })
    }

    fn release(&self) {
        if self.check().is_ok() {
            // One that cannot be removed is given up by others in time.
            let _ = displace(&self.path, &self.owner, &|found| self.owner.is_in(found));
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.end = None;
        // A thread that has panicked has nothing more to tell.
        let _ = self.thread.take().map(JoinHandle::join);
        self.held.release();
    }
}
