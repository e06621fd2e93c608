//! Locks by file, as machines have them that share a folder: processes that say to run on different ones.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{shown, suspended::suspend, sweep, vitx, wait::until};

/// A process of a machine whose file systems have no locks. It is given up after 6 s of silence.
fn on(host: &str, mut command: Command) -> Command {
    command.envs([("VITX_LOCKS", "file-only"), ("VITX_HOST", host), ("VITX_LOCK_BEAT", "0.5")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A sweep's trial that takes longer than any test, not begun; `out` is the sweep's directory.
fn planned(folder: &Path) -> PathBuf {
    let arguments = ["-p", "depth=1", "--set", "train.epochs=100000", "--set", "data.train_limit=64"];
    let mut begin = on("a", sweep(folder, &arguments)).spawn().unwrap();
    let trials = folder.join("out/trials");
    let first = || fs::read_dir(&trials).ok()?.flatten().next().map(|entry| entry.path());
    until("a trial", || first().is_some_and(|trial| trial.join("config.yaml").exists()));
    signal(&begin, Signal::TERM);
    begin.wait().unwrap();
    first().unwrap()
}

fn epochs(trial: &Path) -> usize {
    fs::read_to_string(trial.join("metrics.jsonl")).unwrap_or_default().lines().count()
}

#[test]
fn a_trial_that_was_suspended_for_too_long_leaves_it_to_the_one_that_took_over() {
    let folder = tempfile::tempdir().unwrap();
    let trial = planned(folder.path());
    let train = |host: &str| {
        let arguments = ["trial", trial.to_str().unwrap(), "--backend", "cpu", "--threads", "1"];
        on(host, vitx(folder.path(), &arguments))
    };
    let begun = epochs(&trial);
    let first = train("a").spawn().unwrap();
    until("epochs", || epochs(&trial) > begun + 1);
    // Nobody gets in while it lives.
    let second = train("b").output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{}", shown(&second));
    assert!(shown(&second).contains(&format!("process {} on a", first.id())), "{}", shown(&second));
    suspend(Pid::from_child(&first));
    let mut second = train("b").spawn().unwrap();
    let taken = epochs(&trial);
    until("epochs of the second, or its end", || epochs(&trial) > taken + 1 || second.try_wait().unwrap().is_some());
    if second.try_wait().unwrap().is_some() {
        panic!("{}", shown(&second.wait_with_output().unwrap()));
    }
    signal(&first, Signal::CONT);
    let first = first.wait_with_output().unwrap();
    assert_eq!(first.status.code(), Some(75), "{}", shown(&first));
    let error = String::from_utf8_lossy(&first.stderr).into_owned();
    let error = error.split_once("vitx::train").map_or(error.clone(), |(_, rest)| rest.to_owned());
    assert!(error.contains("gave no sign of life") && error.contains("taken it over"), "{error}");
    // The other one goes on as if nothing had been; it wrote every epoch once.
    let taken = epochs(&trial);
    until("more epochs of the second", || epochs(&trial) > taken);
    signal(&second, Signal::TERM);
    let second = second.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(130), "{}", shown(&second));
    assert!(!trial.join("failure.json").exists() && !trial.join("lock.json").exists());
    let text = fs::read_to_string(trial.join("metrics.jsonl")).unwrap();
    let numbers: Vec<String> = text.lines().map(|line| line.split(&[':', ','][..]).nth(1).unwrap().into()).collect();
    let expected: Vec<String> = (1..=numbers.len()).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_machine_that_died_is_given_up_by_others_and_a_process_at_once_by_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let trial = planned(folder.path());
    let arguments = ["trial", trial.to_str().unwrap(), "--backend", "cpu", "--threads", "1"];
    for (host, least) in [("a", 0), ("b", 5)] {
        let begun = epochs(&trial);
        let mut first = on("a", vitx(folder.path(), &arguments)).spawn().unwrap();
        until("epochs", || epochs(&trial) > begun + 1);
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(trial.join("lock.json").exists());
        let begin = Instant::now();
        let begun = epochs(&trial);
        let mut second = on(host, vitx(folder.path(), &arguments)).spawn().unwrap();
        until("epochs of the second", || epochs(&trial) > begun);
        assert!(begin.elapsed() > Duration::from_secs(least), "{:?}", begin.elapsed());
        signal(&second, Signal::TERM);
        assert_eq!(second.wait().unwrap().code(), Some(130));
        assert!(!trial.join("lock.json").exists());
    }
    let refused = |name: &str, value: &str| {
        let output = vitx(folder.path(), &arguments).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        shown(&output)
    };
    insta::assert_snapshot!([refused("VITX_LOCKS", "flie"), refused("VITX_LOCK_BEAT", "5s")].join("\n"));
}
