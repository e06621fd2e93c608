//! Hostile surroundings: directories that vanish, leftovers of killed processes, no threads, little memory, an
//! environment that leads elsewhere.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use crate::support::{self, QUICK, shown, sweep, vitx, wait::until};

/// `vitx run` of the embedded digits into the folder `out`.
fn run(folder: &Path, arguments: &[&str]) -> Command {
    let mut command =
        vitx(folder, &["run", "digits_vit.yaml", "--output", "out", "--backend", "cpu", "--threads", "2"]);
    command.args(QUICK).args(arguments);
    command
}

fn begin(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until something is there.
fn wait_for(path: &Path) {
    until(&path.display().to_string(), || path.exists());
}

/// Ends within reason.
fn ended(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

/// Removes a folder in which others write.
fn remove(folder: &Path) {
    while fs::remove_dir_all(folder).is_err() {
        assert!(folder.exists());
    }
}

/// What a run has learnt.
fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("out/best.safetensors")).unwrap()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string())
            }
        }
    }
    found.sort();
    found
}

/// Longer than any test: it is killed, or ends by what is done to it.
const LONG: [&str; 2] = ["--set", "train.epochs=100000"];

#[test]
fn a_run_whose_directory_is_removed_ends_and_writes_to_no_other() {
    let calm = tempfile::tempdir().unwrap();
    assert!(run(calm.path(), &["--seed", "7"]).output().unwrap().status.success());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let first = begin(run(folder.path(), &LONG));
    wait_for(&out.join("metrics.jsonl"));
    remove(&out);
    // Another run, and the same, of the same name.
    let second = run(folder.path(), &["--seed", "7"]).output().unwrap();
    assert!(second.status.success(), "{}", shown(&second));
    let first = ended(first);
    assert_eq!(first.status.code(), Some(1), "{}", shown(&first));
    assert!(shown(&first).contains("the directory `out` is gone"), "{}", shown(&first));
    assert_eq!(weights(folder.path()), weights(calm.path()));
    assert_eq!(files(&out), files(&calm.path().join("out")));

    // One whose parent is moved away, and never comes back.
    let arguments = ["run", "digits_vit.yaml", "--output", "a/b", "--backend", "cpu"];
    let moved = begin(vitx(folder.path(), &[&arguments[..], &LONG].concat()));
    wait_for(&folder.path().join("a/b/metrics.jsonl"));
    fs::rename(folder.path().join("a"), folder.path().join("c")).unwrap();
    let moved = ended(moved);
    assert!(shown(&moved).contains("the directory `a/b` is gone"), "{}", shown(&moved));
    assert!(!folder.path().join("a").exists());
}

#[test]
fn a_sweep_whose_directory_is_removed_ends_and_writes_to_no_other() {
    let axis = ["-p", "train.optimizer.learning_rate=0.001,0.002", "--jobs", "2"];
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = sweep(folder.path(), &LONG);
    command.args(axis);
    let first = begin(command);
    wait_for(&out.join("trials.json"));
    let begun = |name: &str| {
        let trials = fs::read_dir(out.join("trials")).into_iter().flatten().flatten();
        trials.filter(|trial| trial.path().join(name).exists()).count()
    };
    until("two trials", || begun("metrics.jsonl") == 2);
    remove(&out);
    let mut command = sweep(folder.path(), &["--set", "train.epochs=1"]);
    command.args(axis);
    let second = command.output().unwrap();
    assert!(second.status.success(), "{}", shown(&second));
    let first = ended(first);
    assert!(!first.status.success(), "{}", shown(&first));
    assert!(shown(&first).contains("is gone"), "{}", shown(&first));
    // Those of the second sweep, and nothing of the first.
    assert_eq!((begun("config.yaml"), begun("result.json"), begun("failure.json")), (2, 2, 0));
    let report = support::learnt(folder.path());
    assert!(report.as_array().unwrap().iter().all(|trial| trial["result"]["epochs"] == 1), "{report}");
}

#[test]
fn two_processes_never_write_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("out/lock");
    let mut first = begin(run(folder.path(), &LONG));
    wait_for(&folder.path().join("out/metrics.jsonl"));
    for removed in [false, true] {
        if removed {
            // As one does with a lock that looks forgotten.
            fs::remove_file(&lock).unwrap();
        }
        let second = run(folder.path(), &["--resume"]).args(LONG).output().unwrap();
        assert!(shown(&second).contains("`out` is in use by another vitx process"), "{}", shown(&second));
        let trial = vitx(folder.path(), &["trial", "out"]).output().unwrap();
        assert_eq!(trial.status.code(), Some(75), "{}", shown(&trial));
    }
    assert!(first.try_wait().unwrap().is_none());
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn what_killed_writers_left_unfinished_is_removed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut first = begin(run(folder.path(), &LONG));
    wait_for(&out.join("tensorboard/validation"));
    first.kill().unwrap();
    first.wait().unwrap();
    let left = [".partQ3x8Zk", ".part1x2", "tensorboard/train/.partabc123"];
    for place in left {
        fs::write(out.join(place), "half a checkpoint").unwrap();
    }
    let mut second = begin({
        let mut command = run(folder.path(), &LONG);
        command.arg("--resume");
        command
    });
    // Its own come and go.
    until("they are gone", || !left.iter().any(|place| out.join(place).exists()));
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn a_relative_folder_of_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["data", "info", "mnist"][..], &["data", "fetch", "mnist", "--mirror", "http://127.0.0.1:1"]] {
        let output = vitx(folder.path(), arguments).env("VITX_DATA_DIR", "data").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(shown(&output).contains("VITX_DATA_DIR is `data`, which is no absolute path"), "{}", shown(&output));
        // Empty is unset; a home that is nowhere is no place to write to.
        let mut command = vitx(folder.path(), arguments);
        command.env("VITX_DATA_DIR", "").env("HOME", "home").env("XDG_CACHE_HOME", "cache");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(!shown(&output).contains("absolute"), "{}", shown(&output));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// `sh -c` with limits that only this command has.
fn limited(folder: &Path, limits: &str, arguments: &[&str]) -> Output {
    let script = format!("{limits}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_vitx")]).args(arguments);
    command.current_dir(folder).env("NO_COLOR", "1").output().unwrap()
}

#[test]
fn memory_that_cannot_be_had_is_told_before_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &[]).output().unwrap().status.success());
    let large = ["--param", "projection_dim=2048"];
    let refused = |arguments: &[&str]| {
        let output = limited(folder.path(), "ulimit -v 400000", arguments);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(" of memory, and ") && text.contains("(ulimit -v)"), "{text}");
    };
    let run = ["run", "digits_vit.yaml", "-o", "large", "--backend", "cpu", "--threads", "1"];
    refused(&[&run[..], &large[..]].concat());
    refused(&["trial", "large", "--backend", "cpu", "--threads", "1"]);
    refused(&[&["bench", "step", "digits_vit.yaml", "--backend", "cpu", "--threads", "1"], &large[..]].concat());
    // What fits is not refused.
    for arguments in [
        &["eval", "out", "--backend", "cpu"][..],
        &["run", "digits_vit.yaml", "-o", "small", "--set", "train.epochs=1"],
    ] {
        let output = limited(folder.path(), "ulimit -v 400000", arguments);
        assert!(output.status.success(), "{}", shown(&output));
    }
}

#[test]
fn fewer_threads_do_where_no_more_can_be_started() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &[]).output().unwrap().status.success());
    let arguments =
        [&["run", "digits_vit.yaml", "-o", "few", "--backend", "cpu", "--threads", "8"], &QUICK[..]].concat();
    // Stacks of a gigabyte: only so many fit.
    let output = limited(folder.path(), "export RUST_MIN_STACK=1073741824; ulimit -v 4000000", &arguments);
    let text = shown(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(" of 8 threads could be started") && text.contains("(ulimit -v)"), "{text}");
    assert_eq!(fs::read(folder.path().join("few/best.safetensors")).unwrap(), weights(folder.path()));
    let output = limited(folder.path(), "export RUST_MIN_STACK=8000000000; ulimit -v 4000000", &arguments);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no thread or process can be started") && !text.contains("panicked"), "{text}");
}
