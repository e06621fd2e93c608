#![cfg(unix)]

use std::io::Write;

use super::*;
use crate::files::replace;

fn hold(folder: &Path) -> Hold {
    Hold::new(folder, File::open(folder).unwrap()).unwrap()
}

fn write_to(path: &Path) -> Result<(), FileError> {
    let place = Place::new(path)?;
    place.write().map(drop).map_err(place.failed("open"))
}

fn everything(folder: &Path) -> [Result<(), FileError>; 6] {
    [
        replace(&folder.join("a"), b"mine"),
        replace(&folder.join("deep/a"), b"mine"),
        append_to(&folder.join("b")).map(drop),
        make_folder(&folder.join("c/d")),
        remove(&folder.join("a")),
        write_to(&folder.join("e")),
    ]
}

#[test]
fn nothing_is_written_into_a_directory_that_has_taken_the_name_of_the_held_one() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    let fill = || {
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(folder.join("a"), "theirs").unwrap();
        fs::write(folder.join("e"), "theirs").unwrap();
    };
    fill();
    let held = hold(&folder);
    replace(&folder.join("deep/a"), b"mine").unwrap();
    append_to(&folder.join("b")).unwrap().write_all(b"mine").unwrap();
    make_folder(&folder.join("c/d")).unwrap();
    assert_eq!(fs::read(folder.join("deep/a")).unwrap(), b"mine");
    assert!(folder.join("c/d").is_dir());

    let gone = |results: [Result<(), FileError>; 6]| {
        results.iter().all(|result| matches!(result, Err(FileError::Gone { folder }) if folder.ends_with("run")))
    };
    fs::remove_dir_all(&folder).unwrap();
    assert!(gone(everything(&folder)));
    assert!(!folder.exists());
    fill();
    assert!(gone(everything(&folder)));
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    // The name is free again once nobody holds it.
    drop(held);
    everything(&folder).into_iter().for_each(|result| result.unwrap());
}

#[test]
fn a_directory_inside_a_held_one_can_be_held_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let (sweep, trial) = (root.path().join("s"), root.path().join("s/trials/t"));
    fs::create_dir_all(&trial).unwrap();
    let _holds = (hold(&sweep), hold(&trial));
    fs::remove_dir_all(&trial).unwrap();
    fs::create_dir_all(&trial).unwrap();
    let error = replace(&trial.join("a"), b"mine").unwrap_err();
    assert!(error.to_string().contains("s/trials/t` is gone"), "{error}");
    replace(&sweep.join("a"), b"mine").unwrap();
}
