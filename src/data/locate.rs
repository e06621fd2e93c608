//! Where data sets lie on this machine.

use std::path::{Path, PathBuf};

use super::{DataError, DataOptions};
use crate::folders;

/// The environment variable that names the folder of data sets.
pub const DATA_DIR_VARIABLE: &str = "VITX_DATA_DIR";

/// The folders that may hold data sets, in the order in which they are searched: `--data-dir`,
/// `VITX_DATA_DIR`, the user's cache.
///
/// # Errors
/// A variable that is no absolute path: data would be looked for, and fetched into, wherever the program is started.
pub fn roots(options: &DataOptions) -> Result<Vec<PathBuf>, DataError> {
    let variable = folders::variable(DATA_DIR_VARIABLE);
    if let Some(relative) = variable.as_ref().filter(|folder| !folder.is_absolute()) {
        return Err(DataError::Invalid {
            message: format!("{DATA_DIR_VARIABLE} is `{}`, which is no absolute path", relative.display()),
            help: "set it to a path that begins with `/`, unset it, or name the folder with --data-dir".into(),
        });
    }
    let cache = folders::cache().map(|folder| folder.join("data"));
    let mut roots: Vec<PathBuf> = Vec::new();
    for root in [options.data_dir.clone(), variable, cache].into_iter().flatten() {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    Ok(roots)
}

/// Searches every root for a data set. `folders` are the names it usually goes by below a root
/// ("" is the root itself); `probe` recognises it in a folder.
pub fn find<T>(
    name: &str,
    options: &DataOptions,
    folders: &[&str],
    probe: impl Fn(&Path) -> Option<T>,
) -> Result<T, DataError> {
    let roots = roots(options)?;
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
