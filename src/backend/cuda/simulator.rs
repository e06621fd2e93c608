//! NVIDIA's libraries for tests, where there is no device: `simulator/*.cpp`, which hold whoever calls them to the driver's
//! rules and run kernels by the emulator. What is shown on them is that the driver is called as it wants to be; times mean
//! nothing.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Gives a command these libraries, and a cache of its own, in which nothing has been chosen yet.
///
/// # Panics
/// When they cannot be built.
pub fn simulated<'c>(command: &'c mut Command, cache: &Path) -> &'c mut Command {
    let libraries = libraries();
    command.env("LD_LIBRARY_PATH", libraries).env("VITX_SIMULATED_MODULES", libraries.join("modules"));
    command.env("XDG_CACHE_HOME", cache).env_remove("CUDA_VISIBLE_DEVICES").env_remove("CUDA_PATH")
}

/// Their folder beside the program that was built, by what they are made of. It stays.
fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/cuda/simulator");
        let mut texts: Vec<PathBuf> = fs::read_dir(&sources).unwrap().map(|entry| entry.unwrap().path()).collect();
        texts.sort();
        let mut hash = DefaultHasher::new();
        texts.iter().for_each(|path| fs::read(path).unwrap().hash(&mut hash));
        let tests = std::env::current_exe().unwrap();
        // Not where everybody writes, as in /tmp: what lies there is loaded.
        let folder = tests.parent().unwrap().join("vitx-simulator").join(format!("{:016x}", hash.finish()));
        if !folder.exists() {
            fs::create_dir_all(folder.parent().unwrap()).unwrap();
            let unfinished = tempfile::tempdir_in(folder.parent().unwrap()).unwrap();
            let output = Command::new(sources.join("build.sh")).arg(unfinished.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            // Whoever else has built them was as good.
            if fs::rename(unfinished.path(), &folder).is_err() {
                assert!(folder.exists());
            }
        }
        folder
    })
}
