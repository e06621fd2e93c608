//! Where data sets lie on this machine.

use std::path::{Path, PathBuf};

use directories::ProjectDirs;

use super::{DataError, DataOptions};

/// The environment variable that names the folder of data sets.
pub const DATA_DIR_VARIABLE: &str = "VITX_DATA_DIR";

/// The folders that may hold data sets, in the order in which they are searched: `--data-dir`,
/// `VITX_DATA_DIR`, the user's cache.
pub fn roots(options: &DataOptions) -> Vec<PathBuf> {
    let variable = std::env::var_os(DATA_DIR_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = ProjectDirs::from("", "", "vitx").map(|dirs| dirs.cache_dir().join("data"));
    let mut roots: Vec<PathBuf> = Vec::new();
    for root in [options.data_dir.clone(), variable, cache].into_iter().flatten() {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots
}

/// Searches every root for a data set. `folders` are the names it usually goes by below a root
/// ("" is the root itself); `probe` recognises it in a folder.
pub fn find<T>(
    name: &str,
    options: &DataOptions,
    folders: &[&str],
    probe: impl Fn(&Path) -> Option<T>,
) -> Result<T, DataError> {
    let roots = roots(options);
    for root in &roots {
        for folder in folders {
            if let Some(found) = probe(&root.join(folder)) {
                return Ok(found);
            }
        }
    }
    let named: Vec<&str> = folders.iter().copied().filter(|folder| !folder.is_empty()).collect();
    Err(DataError::NotFound {
        name: name.to_owned(),
        searched: roots,
        help: format!(
            "fetch it: vitx data fetch {name}; or name the folder that holds {} with --data-dir or {DATA_DIR_VARIABLE}",
            named.join(" or ")
        ),
    })
}
