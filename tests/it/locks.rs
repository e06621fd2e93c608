//! Locks by file, as machines have them that share a folder: processes that say to run on different ones.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{learnt, shown, succeed, sweep, table, vitx};

/// A process of a machine on which the system's locks are not trusted. It is given up after 0.6 s of silence.
fn on(host: &str, mut command: Command) -> Command {
    command.envs([("VITX_LOCKS", "file"), ("VITX_HOST", host), ("VITX_LOCK_BEAT", "0.05")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A sweep's trial that takes a while, not begun; `out` is the sweep's directory.
fn planned(folder: &Path, epochs: u32) -> PathBuf {
    let epochs = format!("train.epochs={epochs}");
    let mut begin = on("a", sweep(folder, &["-p", "depth=1", "--set", &epochs])).spawn().unwrap();
    let trials = folder.join("out/trials");
    let first = || fs::read_dir(&trials).ok()?.flatten().next().map(|entry| entry.path());
    wait_for("a trial", || first().is_some_and(|trial| trial.join("config.yaml").exists()));
    signal(&begin, Signal::TERM);
    begin.wait().unwrap();
    first().unwrap()
}

fn epochs(trial: &Path) -> usize {
    fs::read_to_string(trial.join("metrics.jsonl")).unwrap_or_default().lines().count()
}

#[test]
fn a_trial_that_was_suspended_for_too_long_leaves_it_to_the_one_that_took_over() {
    let (calm, stormy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&calm, &stormy] {
        planned(folder.path(), 60);
    }
    let train = |folder: &Path, host: &str| {
        let trial = fs::read_dir(folder.join("out/trials")).unwrap().next().unwrap().unwrap().path();
        let arguments = ["trial", trial.to_str().unwrap(), "--backend", "cpu", "--threads", "1"];
        (trial.clone(), on(host, vitx(folder, &arguments)))
    };
    succeed(train(calm.path(), "a").1);
    let (trial, mut first) = train(stormy.path(), "a");
    let begun = epochs(&trial);
    let first = first.spawn().unwrap();
    wait_for("epochs", || epochs(&trial) > begun + 2);
    // Nobody gets in while it lives.
    let second = train(stormy.path(), "b").1.output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{}", shown(&second));
    assert!(shown(&second).contains(&format!("process {} on a", first.id())), "{}", shown(&second));
    signal(&first, Signal::STOP);
    let second = train(stormy.path(), "b").1.spawn().unwrap();
    let taken = epochs(&trial);
    wait_for("epochs of the second", || epochs(&trial) > taken + 2);
    signal(&first, Signal::CONT);
    let first = first.wait_with_output().unwrap();
    assert_eq!(first.status.code(), Some(75), "{}", shown(&first));
    insta::with_settings!({filters => vec![(r"process \d+ on b has taken it over|another one has taken it over", "ANOTHER"), (r"`[^`]*trials/[0-9a-f]+`", "`TRIAL`")]}, {
        insta::assert_snapshot!(String::from_utf8_lossy(&first.stderr).split_once("vitx::train").map(|(_, rest)| rest.to_owned()).unwrap());
    });
    let second = second.wait_with_output().unwrap();
    assert!(second.status.success(), "{}", shown(&second));
    assert!(!trial.join("failure.json").exists() && !trial.join("lock.json").exists());
    assert_eq!((learnt(stormy.path()), table(stormy.path())), (learnt(calm.path()), table(calm.path())));
}

#[test]
fn a_machine_that_died_is_given_up_by_others_and_a_process_at_once_by_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let trial = planned(folder.path(), 4000);
    let arguments = ["trial", trial.to_str().unwrap(), "--backend", "cpu", "--threads", "1"];
    for (host, least) in [("a", 0), ("b", 300)] {
        let begun = epochs(&trial);
        let mut first = on("a", vitx(folder.path(), &arguments)).spawn().unwrap();
        wait_for("epochs", || epochs(&trial) > begun + 1);
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(trial.join("lock.json").exists());
        let begin = Instant::now();
        let begun = epochs(&trial);
        let mut second = on(host, vitx(folder.path(), &arguments)).spawn().unwrap();
        wait_for("epochs of the second", || epochs(&trial) > begun);
        assert!(begin.elapsed() > Duration::from_millis(least), "{:?}", begin.elapsed());
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
