//! Directories that this process holds. What is written below one goes into the very directory that was
//! opened: when it is removed, or another one gets its name, writing ends with [`FileError::Gone`]
//! instead of going on in what belongs to someone else.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::FileError;

/// A directory that is held until this is dropped.
#[derive(Debug)]
pub struct Hold(Arc<Held>);

/// What else must hold before anything is written into a held directory.
pub type Guard = Box<dyn Fn() -> Result<(), FileError> + Send + Sync>;

struct Held {
    /// Absolute.
    absolute: PathBuf,
    /// As it was given: what errors name.
    folder: PathBuf,
    /// Keeps the directory's inode from being given to another one.
    #[cfg_attr(not(unix), allow(dead_code))]
    directory: File,
    guard: Option<Guard>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.folder.fmt(f)
    }
}

/// How long the removal of a directory may take, from the first file that is missed.
const REMOVAL: Duration = Duration::from_millis(500);

static HELD: Mutex<Vec<Arc<Held>>> = Mutex::new(Vec::new());

/// Nothing panics while the list is changed.
fn list() -> MutexGuard<'static, Vec<Arc<Held>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hold {
    /// Holds a directory that was opened as `directory`.
    ///
    /// # Errors
    /// [`FileError::Gone`] when it no longer has its name.
    pub fn new(folder: &Path, directory: File) -> Result<Self, FileError> {
        Self::guarded(folder, directory, None)
    }

    /// As [`Hold::new`]; where there is a `guard`, nothing is written that it refuses.
    ///
    /// # Errors
    /// As [`Hold::new`], and those of the guard.
    pub fn guarded(folder: &Path, directory: File, guard: Option<Guard>) -> Result<Self, FileError> {
        let absolute = std::path::absolute(folder).map_err(FileError::io("find", folder))?;
        let held = Arc::new(Held { absolute, folder: folder.to_owned(), directory, guard });
        held.check()?;
        list().push(held.clone());
        Ok(Self(held))
    }

    /// As it was given.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        list().retain(|held| !Arc::ptr_eq(held, &self.0));
    }
}

impl Held {
    #[cfg(unix)]
    fn is_in_place(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let same =
            |named: fs::Metadata, opened: fs::Metadata| named.dev() == opened.dev() && named.ino() == opened.ino();
        fs::metadata(&self.absolute).and_then(|named| Ok(same(named, self.directory.metadata()?))).unwrap_or(false)
    }

    /// Where a directory that is open cannot be removed.
    #[cfg(not(unix))]
    fn is_in_place(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), FileError> {
        if !self.is_in_place() {
            return Err(FileError::Gone { folder: self.folder.clone() });
        }
        self.guard.as_ref().map_or(Ok(()), |guard| guard())
    }
}

/// A place to write to.
pub struct Place {
    /// As it was given.
    path: PathBuf,
    held: Option<Arc<Held>>,
    /// From the held directory, or else as it was given.
    #[cfg_attr(not(unix), allow(dead_code))]
    relative: PathBuf,
}

impl Place {
    /// The place of a path: in the innermost held directory that it lies in, if any.
    ///
    /// # Errors
    /// [`FileError::Gone`] when that directory no longer has its name.
    pub fn new(path: &Path) -> Result<Self, FileError> {
        let absolute = std::path::absolute(path).map_err(FileError::io("find", path))?;
        let held = list()
            .iter()
            .filter(|held| absolute.starts_with(&held.absolute))
            .max_by_key(|held| held.absolute.components().count())
            .cloned();
        let inside = held.as_ref().and_then(|held| absolute.strip_prefix(&held.absolute).ok());
        // `..` would lead out of the directory again.
        let inside = inside.filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))));
        let Some(inside) = inside.map(Path::to_owned) else {
            return Ok(Self { path: path.to_owned(), held: None, relative: path.to_owned() });
        };
        let place = Self { path: path.to_owned(), held, relative: inside };
        place.check()?;
        Ok(place)
    }

    /// Whether what it lies in is still held.
    ///
    /// # Errors
    /// [`FileError::Gone`] and [`FileError::Lost`].
    pub fn check(&self) -> Result<(), FileError> {
        self.held.as_ref().map_or(Ok(()), |held| held.check())
    }

    /// A file of another name in the same folder.
    pub fn beside(&self, name: &str) -> Self {
        let (path, relative) = (self.path.with_file_name(name), self.relative.with_file_name(name));
        Self { path, held: self.held.clone(), relative }
    }

    /// Its name for people; writing goes by the directory that is held.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Wraps an error of the file system: what is missing may be all of the held directory.
    pub fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> FileError {
        let (path, held) = (self.path.clone(), self.held.clone());
        move |cause| {
            if let (Some(held), ErrorKind::NotFound) = (held, cause.kind()) {
                // Who removes a directory begins with what is in it.
                let begin = Instant::now();
                while held.is_in_place() && begin.elapsed() < REMOVAL {
                    thread::sleep(Duration::from_millis(10));
                }
                if let Err(gone) = held.check() {
                    return gone;
                }
            }
            FileError::io(action, path)(cause)
        }
    }

    /// Makes the folder itself, and those above it.
    pub fn make_folders(&self) -> Result<(), FileError> {
        self.make_all().map_err(self.failed("create"))
    }
}

#[cfg(unix)]
mod relative {
    //! By the handle of the held directory.

    use std::os::fd::{AsFd, BorrowedFd};

    use rustix::{
        fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat},
        io::Errno,
    };

    use super::*;

    impl Place {
        fn base(&self) -> BorrowedFd<'_> {
            self.held.as_ref().map_or(CWD, |held| held.directory.as_fd())
        }

        fn open(&self, flags: OFlags) -> io::Result<File> {
            // Readable by whom the user's mask allows, as any other file.
            self.open_as(flags, 0o666)
        }

        fn open_as(&self, flags: OFlags, mode: u32) -> io::Result<File> {
            let mode = Mode::from_raw_mode(mode);
            Ok(openat(self.base(), &self.relative, flags | OFlags::CLOEXEC, mode)?.into())
        }

        /// A file that was not there, to be written; `private` ones are nobody else's.
        pub fn create_new(&self, private: bool) -> io::Result<File> {
            self.open_as(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, if private { 0o600 } else { 0o666 })
        }

        /// The file, made if need be, to be written at its end.
        pub fn append(&self) -> io::Result<File> {
            self.open(OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)
        }

        /// The file that is there, to be written.
        pub fn write(&self) -> io::Result<File> {
            self.open(OFlags::WRONLY)
        }

        /// The file, made if need be, with what it has.
        pub fn create(&self) -> io::Result<File> {
            self.open(OFlags::RDWR | OFlags::CREATE)
        }

        /// Takes the place of `other`.
        pub fn rename_to(&self, other: &Self) -> io::Result<()> {
            Ok(renameat(self.base(), &self.relative, other.base(), &other.relative)?)
        }

        /// Removes the file; a directory is refused.
        pub fn remove(&self) -> io::Result<()> {
            Ok(unlinkat(self.base(), &self.relative, AtFlags::empty())?)
        }

        /// Waits until names in its folder are on disk.
        pub fn sync_folder(&self) -> io::Result<()> {
            let folder = self.relative.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            File::from(openat(self.base(), folder, flags, Mode::empty())?).sync_all()
        }

        pub(super) fn make_all(&self) -> io::Result<()> {
            if self.held.is_none() {
                return fs::create_dir_all(&self.path);
            }
            let mut folder = PathBuf::new();
            for part in self.relative.components() {
                folder.push(part);
                match mkdirat(self.base(), &folder, Mode::from_raw_mode(0o777)) {
                    Err(error) if error != Errno::EXIST => return Err(error.into()),
                    _ => {}
                }
            }
            Ok(())
        }
    }
}

#[cfg(not(unix))]
mod relative {
    //! By name: a directory that is open cannot be removed.

    use super::*;

    impl Place {
        pub fn create_new(&self, _private: bool) -> io::Result<File> {
            File::create_new(&self.path)
        }

        pub fn append(&self) -> io::Result<File> {
            File::options().create(true).append(true).open(&self.path)
        }

        pub fn write(&self) -> io::Result<File> {
            File::options().write(true).open(&self.path)
        }

        pub fn create(&self) -> io::Result<File> {
            File::options().create(true).truncate(false).read(true).write(true).open(&self.path)
        }

        pub fn rename_to(&self, other: &Self) -> io::Result<()> {
            fs::rename(&self.path, &other.path)
        }

        /// Removes the file; a directory is refused.
        pub fn remove(&self) -> io::Result<()> {
            fs::remove_file(&self.path)
        }

        pub fn sync_folder(&self) -> io::Result<()> {
            Ok(())
        }

        pub(super) fn make_all(&self) -> io::Result<()> {
            fs::create_dir_all(&self.path)
        }
    }
}

/// Makes a folder and those above it.
///
/// # Errors
/// [`FileError`] names the folder.
pub fn make_folder(folder: &Path) -> Result<(), FileError> {
    Place::new(folder)?.make_folders()
}

/// Opens a file to be written at its end; makes it if need be.
///
/// # Errors
/// [`FileError`] names the file.
pub fn append_to(path: &Path) -> Result<File, FileError> {
    let place = Place::new(path)?;
    place.append().map_err(place.failed("open"))
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`FileError`] names the file.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let place = Place::new(path)?;
    match place.remove() {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(place.failed("remove")(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
