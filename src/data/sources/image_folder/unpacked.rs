//! The folder of pictures that were unpacked, of which those go that nobody has used for long: nothing else would ever
//! remove them, as a file of pictures that has changed is unpacked beside the old one.

use std::{
    fs::{self, File, Metadata},
    path::Path,
    time::{Duration, SystemTime},
};

/// How long pictures are kept since they were last used. No training takes so long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a file that is being written may stand still: its process was killed.
const WRITTEN: Duration = Duration::from_secs(24 * 3600);

/// The endings of what is kept.
pub const IMAGES: &str = "images";
pub const ENDS: &str = "ends";

/// Notes that a file is used now. Where it is another user's, the system notes when it is read.
pub fn touch(path: &Path) {
    // What cannot be noted is no reason not to train.
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes from the folder what nobody has used for long, by the clock of this machine: pictures with their ends, and what a
/// killed process was writing. Anything else is let alone.
pub fn clean(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (name, Ok(about)) = (entry.file_name(), entry.metadata()) else { continue };
        let name = name.to_string_lossy();
        let most = match name.split_once('.') {
            Some(("", rest)) if rest.starts_with("tmp") => WRITTEN,
            Some((key, IMAGES | ENDS)) if key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()) => KEPT,
            _ => continue,
        };
        if about.is_file() && used(&about).is_some_and(|used| used.elapsed().is_ok_and(|since| since > most)) {
            // Another process may do the same.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// When a file was last written or read. Systems note readings once a day.
fn used(about: &Metadata) -> Option<SystemTime> {
    Some(about.modified().ok()?.max(about.accessed().unwrap_or(SystemTime::UNIX_EPOCH)))
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;

    #[test]
    fn only_what_nobody_has_used_for_long_goes() {
        let folder = tempfile::tempdir().unwrap();
        let days = |name: &str, days: u64| {
            let path = folder.path().join(name);
            fs::write(&path, "x").unwrap();
            let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            let file = File::options().append(true).open(&path).unwrap();
            file.set_times(FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
        };
        let key = |digit: &str| digit.repeat(64);
        for (digit, age) in [("a", 31), ("b", 29), ("c", 31)] {
            days(&format!("{}.images", key(digit)), age);
            days(&format!("{}.ends", key(digit)), age);
        }
        touch(&folder.path().join(format!("{}.images", key("c"))));
        touch(&folder.path().join(format!("{}.ends", key("c"))));
        days(".tmpAbc", 2);
        days(".tmpNew", 0);
        // What is none of ours.
        days("notes.txt", 400);
        days("short.images", 400);
        fs::create_dir(folder.path().join("folder.images")).unwrap();
        clean(folder.path());
        let mut left: Vec<String> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let [b, c] = ["b", "c"].map(key);
        let expected =
            [".tmpNew".into(), format!("{b}.ends"), format!("{b}.images"), format!("{c}.ends"), format!("{c}.images")];
        assert_eq!(left[..5], expected);
        assert_eq!(left[5..], ["folder.images", "notes.txt", "short.images"]);
    }
}
