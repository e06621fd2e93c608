//! What goes wrong in a sweep: trials that fail, memory and disks that are full, two sweeps at once.
#![cfg(unix)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{self, QUICK, learnt, shown, succeed, sweep, vitx, wait::until};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_trial_that_meets_nan_is_shown_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-p", "depth=1", "-p", "train.optimizer.learning_rate=1e30,1e-3", "--retries", "1"];
    let output = sweep(folder.path(), &arguments).output().unwrap();
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("failed   depth=1 train.optimizer.learning_rate=1e30: the loss is"), "{text}");
    assert!(text.contains("finished depth=1 train.optimizer.learning_rate=0.001"), "{text}");
    assert!(succeed(vitx(folder.path(), &["report", "out"])).contains("failed: the loss is"));
    // It would come again, and is not tried again.
    let again = sweep(folder.path(), &arguments).output().unwrap();
    let text = shown(&again);
    assert!(again.status.code() == Some(1) && text.contains("failed   depth=1"), "{text}");
    assert!(!text.contains("started"), "{text}");
}

#[test]
fn the_first_failure_can_end_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-p", "train.optimizer.learning_rate=1e30,1e-3,2e-3", "--fail-fast"];
    let output = sweep(folder.path(), &arguments).output().unwrap();
    let text = shown(&output);
    assert!(output.status.code() == Some(1) && !text.contains("finished"), "{text}");
    assert!(text.contains("not begun"), "{text}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_does_not_fit_is_foretold_and_then_fails_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let script = "ulimit -v 1500000; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_vitx"), "sweep", "digits_vit.yaml", "--output", "out"]);
    command.args(QUICK).args(["--threads", "1", "-p", "projection_dim=32,4096"]);
    let output = command.current_dir(folder.path()).env("NO_COLOR", "1").output().unwrap();
    let text = shown(&output);
    assert!(text.contains("will not fit: projection_dim=4096: it needs"), "{text}");
    assert!(text.contains("finished projection_dim=32"), "{text}");
    let line = text.lines().find(|line| line.starts_with("failed   projection_dim=4096")).unwrap_or(&text);
    assert!(line.contains("memory"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    let trials = learnt(folder.path());
    assert_eq!(trials[1]["failure"]["kind"], "memory", "{trials:#}");
}

#[test]
fn a_folder_of_another_sweep_is_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    succeed(sweep(folder.path(), &["-p", "depth=1"]));
    for (arguments, difference) in [
        (&["-p", "depth=1", "--set", "train.batch_size=8"][..], "it has `batch_size: 32`, not `batch_size: 8`"),
        (&["-p", "depth=1,2"], "it lacks `- 2`"),
        (&["-p", "depth=1", "--stop", "asha"], "rule: asha"),
    ] {
        let other = sweep(folder.path(), arguments).output().unwrap();
        let text = shown(&other).replace("\n  │ ", " ");
        assert!(other.status.code() == Some(1) && text.contains("another sweep"), "{text}");
        assert!(text.contains(difference), "{text}");
    }
    // Each has a folder of its own unless it is told otherwise.
    let list = |depth: &str| {
        let parameter = format!("depth={depth}");
        let arguments = ["sweep", "digits_vit.yaml", "--threads", "1", "-p", &parameter];
        let mut command = vitx(folder.path(), &arguments);
        command.args(QUICK);
        succeed(command);
        fs::read_dir(folder.path().join("runs/sweeps")).unwrap().count()
    };
    assert_eq!([list("1"), list("1"), list("1,2")], [1, 1, 2]);
}

#[test]
fn two_processes_cannot_have_one_sweep() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than the test.
    let arguments = ["-p", "depth=3", "--set", "train.epochs=100000"];
    let mut first = sweep(folder.path(), &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("an epoch", || !learnt_epochs(folder.path()).is_empty());
    let second = sweep(folder.path(), &arguments).output().unwrap();
    assert!(second.status.code() == Some(1) && shown(&second).contains("in use by another"), "{}", shown(&second));
    // The lock of one that is killed is free; its trial is waited for, not trained twice.
    first.kill().unwrap();
    first.wait().unwrap();
    let mut third = sweep(folder.path(), &arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = std::io::BufReader::new(third.stdout.take().unwrap());
    until("word of the trial that is left over", || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        line.starts_with("waiting  depth=3")
    });
    // Ctrl-C, twice: it leaves at once.
    let pid = Pid::from_child(&third);
    kill_process(pid, Signal::INT).unwrap();
    third.wait().unwrap();
    // The trial itself is asked to end, saves, and the last run continues it.
    let trial = only(&folder.path().join("out/trials"));
    until("end", || {
        end_trials(folder.path());
        succeed_lock(&trial)
    });
    let epochs = learnt_epochs(folder.path());
    assert!(!epochs.is_empty() && epochs[0] < 100_000, "{epochs:?}");
}

/// Whether nobody has the lock of a trial.
fn succeed_lock(trial: &Path) -> bool {
    let file = fs::File::options().write(true).open(trial.join("lock")).unwrap();
    file.try_lock().is_ok()
}

fn only(folder: &Path) -> std::path::PathBuf {
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Ends the trials of a folder, and of no other.
fn end_trials(folder: &Path) {
    let folder = folder.canonicalize().unwrap();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if let (Some(pid), true, true) = (pid, here, line.split(|byte| *byte == 0).nth(1) == Some(b"trial")) {
            // It may have ended since.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// Epochs of each trial so far, while it is trained.
fn learnt_epochs(folder: &Path) -> Vec<usize> {
    let Ok(trials) = fs::read_dir(folder.join("out/trials")) else { return Vec::new() };
    let records = trials.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("metrics.jsonl")).ok());
    records.map(|text| text.lines().count()).filter(|epochs| *epochs > 0).collect()
}

#[test]
fn ctrl_c_saves_and_the_same_command_continues() {
    // It is as long as it must be to be interrupted in time.
    let (folder, text, epochs) = [4, 25, 200, 1600]
        .into_iter()
        .find_map(|epochs| {
            let folder = tempfile::tempdir().unwrap();
            let set = format!("train.epochs={epochs}");
            let mut command = sweep(folder.path(), &["-p", "depth=2,3", "--jobs", "2", "--set", &set]);
            // The sweep alone gets the signal, as from a batch system; its trials do not.
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            until("an epoch", || !learnt_epochs(folder.path()).is_empty());
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            let output = child.wait_with_output().unwrap();
            let text = shown(&output);
            if learnt_epochs(folder.path()).contains(&epochs) {
                return None;
            }
            assert_eq!(output.status.code(), Some(130), "{text}");
            Some((folder, text, set))
        })
        .expect("one of them is interrupted before a trial has ended");
    assert!(text.contains("Interrupted, and saved. The same command continues."), "{text}");
    assert!(text.contains("interrupted after epoch"), "{text}");
    let arguments = ["-p", "depth=2,3", "--jobs", "2", "--set", &epochs];
    let calm = tempfile::tempdir().unwrap();
    succeed(sweep(calm.path(), &arguments));
    for trial in fs::read_dir(folder.path().join("out/trials")).unwrap() {
        assert!(succeed_lock(&trial.unwrap().path()), "a trial was left running");
    }
    succeed(sweep(folder.path(), &arguments));
    assert_eq!(learnt(folder.path()), learnt(calm.path()));
}

/// Runs a script as root of a mount namespace of its own; `None`, with a word, where the system does
/// not allow it.
fn mounted(folder: &Path, script: &str) -> Option<std::process::Output> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-ec", script, env!("CARGO_BIN_EXE_vitx")]);
        command.current_dir(folder).env("NO_COLOR", "1");
        command.output().ok()
    };
    if !unshare("mount -t tmpfs -o size=64k none .").is_some_and(|output| output.status.success()) {
        support::skipped("no mounting here, so disks that are full or read-only are not tested");
        return None;
    }
    unshare(script)
}

#[test]
fn a_full_disk_gives_a_clear_error_and_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    // Filled when one trial has finished; afterwards there is room again, and the sweep goes on.
    let script = r#"
        mkdir disk
        mount -t tmpfs -o size=3m none disk
        cd disk
        sweep() { "$0" sweep digits_vit.yaml --output out --threads 1 --set train.epochs=3 --set data.train_limit=300 \
            --set data.test_limit=100 "$@"; }
        sweep -p depth=1
        rm -r out
        sweep -p depth=1,2 --dry-run > /dev/null
        head -c 2200k /dev/zero > ballast
        cp -r . ../before
        sweep -p depth=1,2,3,4 > ../full.txt 2>&1 && exit 9
        cp -r out ../full
        rm ballast
        sweep -p depth=1,2,3,4 > ../after.txt 2>&1
        cp -r out ../out
    "#;
    let Some(output) = mounted(folder.path(), script) else { return };
    assert!(output.status.success(), "{}", shown(&output));
    let full = fs::read_to_string(folder.path().join("full.txt")).unwrap();
    assert!(full.contains("No space left on device"), "{full}");
    assert!(!full.contains("panicked"), "{full}");
    let calm = tempfile::tempdir().unwrap();
    succeed(sweep(calm.path(), &["-p", "depth=1,2,3,4"]));
    assert_eq!(learnt(folder.path()), learnt(calm.path()), "{full}");
}

#[test]
fn a_read_only_folder_gives_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    succeed(sweep(folder.path(), &["-p", "depth=1"]));
    let script = r#"
        mount --bind out out
        mount -o remount,ro,bind out
        "$0" report out > report.txt
        "$0" sweep digits_vit.yaml --output out -p depth=1 > error.txt 2>&1 && exit 9
        "$0" sweep digits_vit.yaml --output out/new -p depth=1 >> error.txt 2>&1 && exit 9
        true
    "#;
    let before = learnt(folder.path());
    let Some(output) = mounted(folder.path(), script) else { return };
    assert!(output.status.success(), "{}", shown(&output));
    let text = fs::read_to_string(folder.path().join("error.txt")).unwrap();
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
    assert!(text.contains("lock") && text.contains("out/new") && !text.contains("panicked"), "{text}");
    assert!(fs::read_to_string(folder.path().join("report.txt")).unwrap().contains("finished"));
    assert_eq!(learnt(folder.path()), before);
}
