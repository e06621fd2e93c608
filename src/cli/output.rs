//! Files that a user names for output. What stands there keeps its kind: a file is replaced whole, with its mode and
//! owner, through links; a pipe or a device is written into.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use miette::miette;

use super::out;
use crate::files::{FileError, replace, replace_like};

/// More links than any path has: these go round in a circle.
const MOST_LINKS: usize = 40;

/// What a path leads to.
#[derive(Debug)]
enum Place {
    /// `-`, `/dev/stdout`
    StandardOutput,
    /// A pipe, a device, or a file that this process has open.
    Stream(PathBuf),
    File(PathBuf, Metadata),
    Nothing(PathBuf),
    Folder,
}

/// Whether a path is standard output: then that has no room for remarks.
pub fn is_standard(path: &Path) -> bool {
    matches!(place(path), Ok(Place::StandardOutput))
}

/// Writes bytes to a path that a user has named.
///
/// # Errors
/// A folder, a file that is read-only, and what cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> miette::Result<()> {
    let refuse = |help: &str, message: String| Err(miette!(code = "vitx::output", help = help.to_owned(), "{message}"));
    let name = path.display();
    let written = match place(path) {
        Ok(Place::StandardOutput) => {
            out::exact(bytes);
            Ok(())
        }
        Ok(Place::Folder) => {
            return refuse("name a file in it", format!("cannot write `{name}`: it is a folder"));
        }
        Ok(Place::File(_, metadata)) if metadata.permissions().readonly() => {
            return refuse("make it writable, or name another file", format!("cannot write `{name}`: it is read-only"));
        }
        Ok(Place::File(file, metadata)) => file_again(&file, bytes, &metadata),
        Ok(Place::Nothing(file)) => {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
            if let Some(folder) = folder {
                let message = format!("cannot write `{name}`: there is no folder `{}`", folder.display());
                return refuse("make the folder first", message);
            }
            replace(&file, bytes).map_err(cause)
        }
        Ok(Place::Stream(file)) => stream(&file, bytes),
        Err(error) => Err(error),
    };
    written.or_else(|error| {
        let help = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "name a file where you may write",
            _ => "what was there before is as it was, unless it is a pipe or a device",
        };
        // The name of the temporary file beside it means nothing to anybody.
        let error = error.to_string();
        let error = error.split(" at path ").next().unwrap_or(&error);
        refuse(help, format!("cannot write `{name}`: {error}"))
    })
}

fn cause(error: FileError) -> io::Error {
    match error {
        FileError::Io { cause, .. } => cause,
        other => io::Error::other(other),
    }
}

/// Follows links to what is there, or would be.
fn place(path: &Path) -> io::Result<Place> {
    if path == Path::new("-") {
        return Ok(Place::StandardOutput);
    }
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Some(stream) = open_file(&at) {
            return Ok(stream);
        }
        match fs::symlink_metadata(&at) {
            Ok(metadata) if metadata.is_symlink() => {
                let link = fs::read_link(&at)?;
                at = at.parent().unwrap_or(Path::new("")).join(link);
            }
            Ok(metadata) if metadata.is_dir() => return Ok(Place::Folder),
            Ok(metadata) if metadata.is_file() => return Ok(Place::File(at, metadata)),
            Ok(_) => return Ok(Place::Stream(at)),
            // A name with a separator behind it is a folder's.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = at.as_os_str().as_encoded_bytes().last().is_some_and(|byte| *byte == b'/');
                return Ok(if folder { Place::Folder } else { Place::Nothing(at) });
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("its links go round in a circle"))
}

/// `/dev/fd/N`, `/proc/self/fd/N`: what it is open on is written into, wherever its link leads.
fn open_file(path: &Path) -> Option<Place> {
    let folder = path.parent()?;
    let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
    let real = fs::canonicalize(folder).ok()?;
    let own = real == Path::new(&format!("/proc/{}/fd", std::process::id())) || folder == Path::new("/dev/fd");
    match number {
        1 if own => Some(Place::StandardOutput),
        _ if own || real.starts_with("/proc") => Some(Place::Stream(path.to_owned())),
        _ => None,
    }
}

/// Replaces a file whole. Where its folder does not let that be, as with a file that is mounted by itself, it is
/// written as it stands.
fn file_again(path: &Path, bytes: &[u8], metadata: &Metadata) -> io::Result<()> {
    let refused = |error: &io::Error| {
        matches!(
            error.kind(),
            ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::ResourceBusy
                | ErrorKind::CrossesDevices
        )
    };
    match replace_like(path, bytes, metadata).map_err(cause) {
        Err(error) if refused(&error) => File::options().write(true).truncate(true).open(path)?.write_all(bytes),
        written => written,
    }
}

/// Writes into what is no file of its own. A reader that goes away is no error.
fn stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let regular = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut file = OpenOptions::new().write(true).append(regular).open(path)?;
    match file.write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refused(path: &Path) -> String {
        let report = write(path, b"new").unwrap_err();
        format!("{report}; {}", report.help().map(|help| help.to_string()).unwrap_or_default())
    }

    #[test]
    fn files_keep_their_mode_and_links_their_targets() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("inner")).unwrap();
        fs::write(at("inner/private"), "old").unwrap();
        fs::set_permissions(at("inner/private"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("inner/private", at("link")).unwrap();
        symlink(at("link"), at("link to link")).unwrap();
        symlink("inner/none yet", at("dangling")).unwrap();
        write(&at("link to link"), b"new").unwrap();
        write(&at("dangling"), b"made").unwrap();
        write(&at("plain"), b"plain").unwrap();
        for link in ["link", "link to link", "dangling"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        let text = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!([text("inner/private"), text("inner/none yet"), text("plain")], ["new", "made", "plain"]);
        assert_eq!(fs::metadata(at("inner/private")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }

    #[test]
    fn folders_and_what_is_read_only_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("inner")).unwrap();
        fs::write(at("kept"), "old").unwrap();
        fs::set_permissions(at("kept"), fs::Permissions::from_mode(0o444)).unwrap();
        symlink("circle", at("circle")).unwrap();
        let all: Vec<String> =
            ["inner", "kept", "circle", "none/file", "none/"].iter().map(|n| refused(&at(n))).collect();
        insta::assert_snapshot!(all.join("\n").replace(&folder.path().display().to_string(), "FOLDER"));
        assert_eq!(fs::read_to_string(at("kept")).unwrap(), "old");
    }

    #[test]
    fn pipes_and_devices_are_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        use std::os::unix::fs::FileTypeExt;
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(is_standard(Path::new("-")) && !is_standard(&pipe));
        #[cfg(target_os = "linux")]
        {
            assert!(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().all(|path| is_standard(Path::new(path))));
            assert!(refused(Path::new("/dev/full")).contains("No space left"), "{}", refused(Path::new("/dev/full")));
        }
    }
}
/// A picture as the bytes of a PNG file.
///
/// # Errors
/// A picture that is too large for the format.
pub fn png(picture: &image::RgbImage) -> miette::Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|error| miette::miette!("cannot encode a PNG: {error}"))?;
    Ok(bytes.into_inner())
}
