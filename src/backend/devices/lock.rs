use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::Device;
use crate::folders;

/// Names another folder of locks, for all processes that are to respect each other.
const VARIABLE: &str = "VITX_DEVICE_LOCKS";

/// Longest note on who has a device.
const LONGEST: u64 = 500;

/// Where the processes of a machine, whoever started them, tell each other which devices they use: a file for each
/// device, locked by whoever uses it.
#[derive(Debug, Clone)]
pub struct DeviceLocks {
    folder: PathBuf,
}

/// A device that is held. The system lets go of it with the last process that has the file open.
#[derive(Debug)]
pub struct DeviceLock {
    file: File,
}

impl DeviceLocks {
    /// Those of this machine. The folder is the same whatever `TMPDIR` says, for it is shared by all users.
    pub fn of_machine() -> Self {
        let shared = if cfg!(unix) { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        Self { folder: folders::absolute(VARIABLE).unwrap_or_else(|| shared.join("vitx-devices")) }
    }

    /// Those in a folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Takes a device, and notes who has it; nothing where it is taken.
    ///
    /// # Errors
    /// A folder in which nothing can be locked.
    pub fn take(&self, device: &Device, owner: &str) -> io::Result<Option<DeviceLock>> {
        let path = self.path(device);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let (mut file, writable) = self.open(&path).map_err(named)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(named(error)),
        }
        if writable {
            // Only who asks for a device that is taken would miss it.
            let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| {
                let process = std::process::id();
                write!(file, "{owner} (process {process})")
            });
        }
        Ok(Some(DeviceLock { file }))
    }

    /// Who has a device, as it was noted: one line.
    pub fn holder(&self, device: &Device) -> Option<String> {
        let mut text = String::new();
        File::open(self.path(device)).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        let line: String = text.lines().next()?.chars().filter(|c| !c.is_control()).collect();
        (!line.is_empty()).then_some(line)
    }

    fn path(&self, device: &Device) -> PathBuf {
        self.folder.join(&device.uuid)
    }

    /// The file of a device, and whether it can be written: that of another user may be only readable, which locks as
    /// well.
    fn open(&self, path: &Path) -> io::Result<(File, bool)> {
        let known = |write: bool| options(write).open(path);
        let created = || -> io::Result<File> {
            make_shared_folder(&self.folder)?;
            // Not by `create`: in folders of all users, systems refuse that for files which another user has made.
            let file = options(true).create_new(true).open(path)?;
            let _ = shared(&file, 0o666);
            Ok(file)
        };
        for _ in 0..2 {
            match known(true) {
                Ok(file) => return Ok((file, true)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok((known(false)?, false)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            match created() {
                Ok(file) => return Ok((file, true)),
                // Another process was a moment faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok((known(false)?, false))
    }
}

impl DeviceLock {
    /// The lock for another process, which then holds the device as well: it is to keep the file open.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub fn shared(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

fn make_shared_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => File::open(folder).and_then(|folder| shared(&folder, 0o1777)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn options(write: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    // Another user may have put a link there.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

/// Opens a file or folder to all users, whatever the umask says.
#[cfg(unix)]
fn shared(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
}

#[cfg(not(unix))]
fn shared(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::until_some;

    fn device() -> Device {
        let uuid = "GPU-00000001-0000-0000-0000-000000000000".into();
        Device { ordinal: 0, name: "A100".into(), uuid, compute_capability: (8, 0), bytes: 1 }
    }

    #[test]
    fn a_device_is_held_once_and_by_whoever_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let locks = DeviceLocks::in_folder(&folder.path().join("locks"));
        assert_eq!(locks.holder(&device()), None);
        let held = locks.take(&device(), "a sweep").unwrap().unwrap();
        assert!(locks.take(&device(), "another").unwrap().is_none());
        assert_eq!(locks.holder(&device()), Some(format!("a sweep (process {})", std::process::id())));
        // The file of a process that was started with it.
        let theirs = held.shared().unwrap();
        drop(held);
        assert!(locks.take(&device(), "another").unwrap().is_none());
        drop(theirs);
        // A program that another test starts has a copy of each open file until it runs.
        let again = until_some("the device", || locks.take(&device(), "b").unwrap());
        assert!(locks.holder(&device()).unwrap().starts_with("b (process "));
        drop(again);
    }

    #[test]
    #[cfg(unix)]
    fn all_users_can_lock_and_links_are_not_followed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks");
        let locks = DeviceLocks::in_folder(&path);
        drop(locks.take(&device(), "a").unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&locks.path(&device()))), (0o1777, 0o666));
        fs::remove_file(locks.path(&device())).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&other, locks.path(&device())).unwrap();
        assert!(locks.take(&device(), "a").is_err());
        assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
    }

    #[test]
    fn a_folder_that_cannot_be_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DeviceLocks::in_folder(&file).take(&device(), "a").unwrap_err().to_string();
        assert!(error.contains("file/GPU-00000001"), "{error}");
    }
}
