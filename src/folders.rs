//! Folders that the environment names: code is loaded from some, files are written to others. Only absolute ones count,
//! for what a relative one means depends on where a program happens to be started, and that folder may be
//! anybody's. An empty variable is one that is not set.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;

/// What a variable holds, if it is set and not empty.
pub fn variable(name: &str) -> Option<PathBuf> {
    set(std::env::var_os(name))
}

/// As [`variable`], if it is absolute.
pub fn absolute(name: &str) -> Option<PathBuf> {
    variable(name).filter(|path| path.is_absolute())
}

fn set(value: Option<OsString>) -> Option<PathBuf> {
    value.filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The user's cache of this program, by `XDG_CACHE_HOME` and `HOME` where these are absolute.
pub fn cache() -> Option<PathBuf> {
    let folders = ProjectDirs::from("", "", "vitx")?;
    Some(folders.cache_dir()).filter(|path| path.is_absolute()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_not_set() {
        assert_eq!(set(Some("".into())), None);
        assert_eq!(set(None), None);
        assert_eq!(set(Some("a".into())), Some("a".into()));
        assert_eq!(variable("VITX_THAT_NOBODY_SETS"), None);
        // Cargo sets it, to an absolute path.
        assert_eq!(absolute("CARGO_MANIFEST_DIR"), Some(env!("CARGO_MANIFEST_DIR").into()));
        assert_eq!(absolute("CARGO_PKG_NAME"), None);
        assert!(cache().is_none_or(|folder| folder.is_absolute()));
    }
}
