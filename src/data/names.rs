//! Names of files that are shown, and those that are of no interest.

use std::ffi::OsStr;
use std::path::Path;

/// Folders and files that other programs and systems leave behind, in lower case. Hidden ones, which
/// begin with a dot, are left out anyway: `.DS_Store`, `.ipynb_checkpoints`, the `._x.png` of AppleDouble.
const SYSTEM: &[&str] = &[
    "__macosx",
    "@eadir",
    "@recycle",
    "@recently-snapshot",
    "@tmp",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "recycled",
    "system volume information",
    "found.000",
    "lost+found",
    "network trash folder",
    "temporary items",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
];

/// True for what no user means by a class or a picture.
pub fn of_system(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_lowercase();
    name.starts_with('.') || SYSTEM.contains(&name.as_str())
}

/// A name to show and to tell classes apart by: bytes that are no UTF-8, and characters that would
/// spoil a table, as `\xE9` and `\n`.
pub fn shown(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

/// A path as [`shown`], without the folder that it lies in.
pub fn shown_in(folder: &Path, path: &Path) -> String {
    shown(path.strip_prefix(folder).unwrap_or(path).as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_told_apart() {
        assert_eq!(shown(OsStr::new("chien été")), "chien été");
        assert_eq!(shown(OsStr::new("a\nb")), "a\\nb");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(shown(OsStr::from_bytes(b"caf\xE9")), "caf\\xE9");
            assert_eq!(shown(OsStr::from_bytes(b"\xE8\xE9t")), "\\xE8\\xE9t");
        }
    }

    #[test]
    fn leavings_of_other_programs() {
        for name in ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", "Thumbs.db", "._x.png", "lost+found"] {
            assert!(of_system(OsStr::new(name)), "{name}");
        }
        for name in ["macosx", "eaDir", "_red", "recycle", "thumbs.png", "x.png"] {
            assert!(!of_system(OsStr::new(name)), "{name}");
        }
    }
}
